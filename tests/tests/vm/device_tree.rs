//! A board of ARM that names itself in a device tree and has no SMBIOS tables: the agent's package is installed on
//! it, and from power-on it becomes managed.

use super::common::{SERIAL, is_managed, policy, wait_device, wait_managed};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};
use unbox_tests::{
    architecture::Architecture,
    dist::{self, Product},
    host,
    scene::Scene,
    swtpm::{Certified, Manufacturer},
    vm::{BOOT, DeviceTree, Image, Machine, SERVER_NAME, SOON},
};

/// By what the board's own tree says of it.
const CLAIMS: &str = "serial_number,manufacturer,model\nAC-7001,acme,Acme Edge Gateway 3 Rev B\n";

/// A DPC for any processor.
const DPC: &str = "#!/bin/sh\necho \"$(cat $CREDENTIALS_DIRECTORY/unbox.extras)\"\nexec sleep infinity\n";

/// Asks the server for news, whose address the firmware told to services only.
const CHECK_IN: &str = "systemd-run --quiet --wait --pipe --property=User=unbox \
    --property=LoadCredential=unbox.server unbox-agent check-in";

#[test]
#[ignore = "needs QEMU and swtpm: run tests/run"]
fn a_board_without_smbios_enrolls_by_its_device_tree_and_its_tpm() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("tpm.sock");
    let manufacturer = Manufacturer::new(&folder.path().join("maker"))?;
    let mut tpm = manufacturer.make(&folder.path().join("tpm"), Certified::Rsa)?;
    let roots = format!("{:?}", manufacturer.roots()?.to_string_lossy());
    let scene = Scene::create_with(folder.path(), &[("roots", &roots)])?;
    let program = folder.path().join("dpc");
    host::write(&program, DPC.as_bytes(), 0o755)?;
    scene.configure(Some(&scene.dpc(&program, "1.0.0", 0)?), &policy("first"))?;
    scene.claim(CLAIMS, &["--proof", "tpm"])?;
    tpm.attach(&socket)?;

    // In the factory: Debian is there, and the package is installed on the board itself.
    let bundle = scene.server.bundle();
    let package = dist::path(Product::Deb, Architecture::Arm64);
    let mut vm = Machine::new(&Image::arm()?)
        .device_tree(DeviceTree::from_label("acme,edge-gw3", "Acme Edge Gateway 3 Rev B", SERIAL))
        .tpm(&socket)
        .guest_forward(443, scene.server.address)
        .credential("unbox.server", &format!("https://{SERVER_NAME}"))
        .file("/root/agent.deb", fs::read(package).context("make it with cargo dist")?, 0o644)
        .file("/etc/unbox/trust/anchors.pem", fs::read(bundle.join("anchors.pem"))?, 0o644)
        .file("/etc/unbox/trust/root.json", fs::read(bundle.join("root.json"))?, 0o644)
        .start()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.succeed("uname -m")?, "aarch64");
    vm.succeed("dpkg --install /root/agent.deb && rm /root/agent.deb")?;
    assert_eq!(vm.succeed("dpkg --audit")?, "");
    vm.succeed("systemctl poweroff --no-block")?;
    vm.wait_off(SOON)?;

    // In the field. The TPM went off with the board, as it does not when the power is cut.
    tpm.attach(&socket)?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    wait_device(&scene, |device| is_managed(device, 1))?;
    let key = vm.succeed("cat /var/lib/unbox/exchange/device.key")?;
    assert!(key.contains("\"held_in\": \"tpm\""), "the key is in the TPM: {key}");
    assert!(vm.succeed("journalctl -o cat -u demo-dpc.service")?.contains("zurich-1"));
    let shown = vm.succeed("unbox-agent identity --json")?;
    assert_shows_its_tree(&serde_json::from_str(&shown)?);
    vm.succeed("cd /root; unbox-agent identity --json --capture unit >direct.json")?;
    vm.succeed("cd /root; unbox-agent --root unit identity --json | cmp - direct.json")?;

    vm.cut_power();
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until(CHECK_IN, SOON)?;
    Ok(())
}

/// Every identifier comes from where such a board has it, and what it does not have is said to be absent.
fn assert_shows_its_tree(shown: &Value) {
    let list = |name: &str| shown[name].as_array().cloned().unwrap_or_default();
    let found: BTreeSet<String> = list("identifiers")
        .iter()
        .filter(|one| one["kind"] != "tpm_key")
        .map(|one| format!("{} {} {}", one["kind"], one["value"], one["source"]))
        .collect();
    let expected = [
        r#""serial_number" "AC-7001" "device_tree""#,
        r#""manufacturer" "acme" "device_tree""#,
        r#""model" "Acme Edge Gateway 3 Rev B" "device_tree""#,
        r#""mac_address" "00:00:5e:00:53:01" "network""#,
    ];
    assert_eq!(found, expected.map(str::to_owned).into(), "{shown:#}");
    let sources: BTreeSet<String> = list("sources")
        .iter()
        .map(|one| format!("{} {} {}", one["place"], one["state"], one["reason"]))
        .collect();
    let expected = [
        r#""smbios_tables" "absent" "the firmware of this machine has none""#,
        r#""smbios_fields" "absent" "the kernel of this machine has none""#,
        r#""device_tree" "read" null"#,
        r#""vpd" "absent" "this machine has none""#,
        r#""vpd_partition" "absent" "this machine has none""#,
        r#""cpu" "absent" "it shows none""#,
        r#""tpm" "read" null"#,
        r#""network" "read" null"#,
        r#""modem" "absent" "this machine shows none""#,
    ];
    assert_eq!(sources, expected.map(str::to_owned).into(), "{shown:#}");
    assert_eq!(shown["register"].get("serial_number"), Some(&json!(SERIAL)));
    assert_eq!((&shown["refused"], &shown["warnings"]), (&json!([]), &json!([])), "{shown:#}");
}
