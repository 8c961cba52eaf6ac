//! Machines of several makers, and of none: what each shows to the agent under a real kernel.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use unbox_tests::vm::{BOOT, Image, Machine, SOON, Smbios, Vm};

/// What `identity` says, once every interface is there.
fn identity(vm: &mut Vm) -> Result<Value> {
    vm.wait_until("test -s /run/unbox/identity.json", SOON)?;
    // A machine that shows nothing to identify it exits with another status, and still says what it shows.
    let shown = vm.shell("unbox-agent identity --json")?;
    serde_json::from_str(&shown.text).with_context(|| shown.text)
}

/// The identifiers, each as `kind value`.
fn identifiers(identity: &Value) -> BTreeSet<String> {
    let all = identity["identifiers"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|one| format!("{} {}", text(&one["kind"]), text(&one["value"]))).collect()
}

/// What became of looking at a source.
fn state<'a>(identity: &'a Value, place: &str) -> &'a str {
    let mut sources = identity["sources"].as_array().into_iter().flatten();
    sources.find(|one| one["place"] == place).and_then(|one| one["state"].as_str()).unwrap_or("not listed")
}

fn assert_shows(identity: &Value, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|one| (*one).to_owned()).collect();
    assert_eq!(identifiers(identity), expected, "{identity:#}");
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_dell_shows_its_service_tag_and_a_capture_of_it_the_same_without_secrets() -> Result<()> {
    let smbios = Smbios {
        sku: Some("SKU=0A6B;ModelName=PowerEdge R650".to_owned()),
        board_manufacturer: Some("Dell Inc.".to_owned()),
        board_product: Some("0PYXKY".to_owned()),
        chassis_manufacturer: Some("Dell Inc.".to_owned()),
        chassis_serial: Some("7XK9Q13".to_owned()),
        oem_strings: vec!["Dell System".to_owned(), "1[0A6B]".to_owned()],
        ..Smbios::from_label("Dell Inc.", "PowerEdge R650", "7XK9Q13")
    };
    let smbios = smbios.with_board(".7XK9Q13.CNIVC0011T00AB.", "4c4c4544-0058-4b10-8039-b7c04f513133");
    let machine = Machine::new(&Image::agent()?).smbios(smbios).credential("unbox.token", "open-sesame");
    let mut vm = machine.start()?;
    vm.wait_ready(BOOT)?;
    let shown = identity(&mut vm)?;
    assert_shows(
        &shown,
        &[
            "serial_number 7XK9Q13",
            "service_tag 7XK9Q13",
            "board_serial .7XK9Q13.CNIVC0011T00AB.",
            "chassis_serial 7XK9Q13",
            "mac_address 00:00:5e:00:53:01",
            "system_uuid 4c4c4544-0058-4b10-8039-b7c04f513133",
            "manufacturer Dell Inc.",
            "model PowerEdge R650",
            "sku SKU=0A6B;ModelName=PowerEdge R650",
        ],
    );
    assert_eq!(shown["disagreements"], serde_json::json!([]), "tables and sysfs say the same");
    assert_eq!(shown["warnings"], serde_json::json!([]));
    assert_eq!(shown["facts"]["oem_strings"], serde_json::json!(["Dell System", "1[0A6B]"]));
    assert_eq!(shown["register"]["service_tag"], "7XK9Q13");
    for (place, expected) in [
        ("smbios_tables", "read"),
        ("smbios_fields", "read"),
        ("network", "read"),
        ("device_tree", "absent"),
        ("vpd", "absent"),
        ("modem", "absent"),
    ] {
        assert_eq!(state(&shown, place), expected, "{place}: {shown:#}");
    }

    vm.succeed("cd /root; unbox-agent identity --json --capture unit >direct.json")?;
    vm.succeed("cd /root; unbox-agent --root unit identity --json | cmp - direct.json")?;
    vm.succeed("grep -q sesame /sys/firmware/dmi/tables/DMI && ! grep -rq sesame /root/unit")?;
    // What one may not read is not what there is not.
    let other = vm.shell("runuser -u nobody -- unbox-agent identity --json")?;
    let other: Value = serde_json::from_str(&other.text).with_context(|| other.text)?;
    assert_eq!(state(&other, "smbios_tables"), "not_permitted");
    assert_eq!(state(&other, "smbios_fields"), "not_permitted");
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_lenovo_with_vital_product_data_shows_both_and_the_partition_agrees() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let smbios = Smbios {
        version: Some("C13 Yoga Gen 1".to_owned()),
        ..Smbios::from_label("LENOVO", "Morphius", "PF0ABCDE")
    };
    let read_only = [
        ("serial_number", "PF0ABCDE"),
        ("attested_device_id", "1S20UX000AUSPF0ABCDE"),
        ("mlb_serial_number", "MLB-778"),
        ("mfg_date", "2023-04-17"),
        ("rlz_brand_code", "ZZAB"),
        ("model_name", "Lenovo C13 Yoga Chromebook"),
        ("stable_device_secret_DO_NOT_SHARE", "open-sesame"),
    ];
    let machine = Machine::new(&Image::agent()?).smbios(smbios).vital_product_data(
        &read_only,
        &[("gbind_attribute", "open-sesame")],
        folder.path(),
    )?;
    let mut vm = machine.start()?;
    vm.wait_ready(BOOT)?;
    let shown = identity(&mut vm)?;
    let found = identifiers(&shown);
    for expected in [
        "certified_device_id 1S20UX000AUSPF0ABCDE",
        "serial_number PF0ABCDE",
        "board_serial MLB-778",
        "model Morphius",
        "model C13 Yoga Gen 1",
        "model Lenovo C13 Yoga Chromebook",
    ] {
        assert!(found.contains(expected), "{expected}: {shown:#}");
    }
    assert_eq!(shown["rank"], "certified_device_id");
    assert_eq!(shown["facts"]["manufactured"], "2023-04-17");
    assert_eq!(shown["facts"]["brand_code"], "ZZAB");
    assert_eq!(state(&shown, "vpd"), "read", "{shown:#}");
    assert_eq!(state(&shown, "vpd_partition"), "read", "{shown:#}");
    assert_eq!(shown["disagreements"], serde_json::json!([]));
    vm.succeed("cd /root; unbox-agent identity --json --capture unit >direct.json")?;
    vm.succeed("cd /root; unbox-agent --root unit identity --json | cmp - direct.json")?;
    vm.succeed("grep -q sesame /sys/firmware/vpd/ro_raw && ! grep -rq sesame /root/unit")?;
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn without_a_makers_name_the_permanent_addresses_of_the_cards_are_left_whatever_is_built_on_them()
-> Result<()> {
    let mut vm = Machine::new(&Image::agent()?)
        .smbios(Smbios::placeholders())
        .network_card("00:00:5e:00:53:02")
        .network_card("52:54:00:00:00:03")
        .start()?;
    vm.wait_ready(BOOT)?;
    let expected = ["mac_address 00:00:5e:00:53:01", "mac_address 00:00:5e:00:53:02"];
    let shown = identity(&mut vm)?;
    assert_shows(&shown, &expected);
    assert_eq!(shown["rank"], "mac_address");
    let warnings = shown["warnings"].to_string();
    assert!(warnings.contains("MAC addresses") && warnings.contains("placeholders"), "{warnings}");
    assert!(shown["refused"].to_string().contains("locally administered"), "{shown:#}");

    // Of a bond's members, one wears the address of the other; the bond, what is on it and a bridge have their own.
    vm.succeed(
        "modprobe -a bonding 8021q bridge dummy
         systemctl stop systemd-networkd.socket systemd-networkd
         ip link add bond0 type bond mode active-backup
         cards=$(for card in /sys/class/net/*/device; do basename $(dirname $card); done)
         for card in $cards; do ip link set $card down; ip link set $card master bond0; done
         ip link add link bond0 name vlan7 type vlan id 7
         ip link add br0 type bridge
         ip link set br0 address 00:00:5e:00:53:77
         ip link add dummy7 address 00:00:5e:00:53:78 type dummy
         test $(cat /sys/class/net/*/address | grep -c 00:00:5e:00:53:02) = 0",
    )?;
    assert_shows(&identity(&mut vm)?, &expected);
    vm.succeed("cd /root; unbox-agent identity --json --capture unit >direct.json")?;
    vm.succeed("cd /root; unbox-agent --root unit identity --json | cmp - direct.json")?;
    Ok(())
}
