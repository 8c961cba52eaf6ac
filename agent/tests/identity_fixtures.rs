//! Machines as fixtures: what each shows, what it refuses, and what its owner registers.
//!
//! A fixture is a directory below `fixtures/machines` that looks like the root of that machine.
//! Serial numbers are in the makers' published forms, and belong to no machine.

use std::{io::Write as _, path::Path};
use unbox_agent::{
    boot::Layout,
    identity::{Place, State, Survey, SurveyReport, Verdict, io::survey, registration_row, warnings},
};
use unbox_common::models::Models;

struct Machine {
    fixture: &'static str,
    identifiers: &'static [&'static str],
    refused: &'static [&'static str],
    registered: Option<(&'static str, &'static str)>,
}

const MACHINES: &[Machine] = &[
    Machine {
        fixture: "dell-latitude",
        identifiers: &[
            "serial_number 7XK9Q13",
            "service_tag 7XK9Q13",
            "board_serial /7XK9Q13/CNWS20042A00AB/",
            "chassis_serial 7XK9Q13",
            "mac_address a4:bb:6d:00:00:01",
            "system_uuid 4c4c4544-0058-4b10-8039-b7c04f513133",
            "manufacturer Dell Inc.",
            "model Latitude 7450",
            "sku 0CB5",
        ],
        refused: &["mac_address enx001122334455 belongs to an interface that can be unplugged"],
        registered: Some(("service_tag,manufacturer,model", "7XK9Q13,Dell Inc.,Latitude 7450")),
    },
    Machine {
        fixture: "lenovo-thinkpad",
        identifiers: &[
            "serial_number PF0ABCDE",
            "board_serial L1HF9AB01CD",
            "chassis_serial PF0ABCDE",
            "mac_address 3c:58:c2:00:00:07",
            "system_uuid a7f14b4c-2e35-11b2-a85c-9f3a1c7d5e21",
            "manufacturer LENOVO",
            "model 20QES0XX00",
            "model ThinkPad X1 Carbon 7th",
            "sku LENOVO_MT_20QE_BU_Think_FM_ThinkPad X1 Carbon 7th",
        ],
        refused: &[],
        registered: Some(("serial_number,manufacturer,model", "PF0ABCDE,LENOVO,20QES0XX00")),
    },
    Machine {
        fixture: "white-box",
        identifiers: &[
            "board_serial 190654321001234",
            "mac_address 04:d4:c4:00:00:11",
            "manufacturer ASUSTeK COMPUTER INC.",
            "model PRIME B550M-A",
        ],
        refused: &[
            "mac_address wlp3s0 is an address that the driver made up at boot",
            "manufacturer sys_vendor is a placeholder that the maker never replaced",
            "model product_name is a placeholder that the maker never replaced",
            "serial_number product_serial is a placeholder that the maker never replaced",
            "sku product_sku is a placeholder that the maker never replaced",
            "system_uuid product_uuid is a placeholder that the maker never replaced",
            "chassis_serial chassis_serial is a placeholder that the maker never replaced",
        ],
        registered: Some((
            "board_serial,manufacturer,model",
            "190654321001234,ASUSTeK COMPUTER INC.,PRIME B550M-A",
        )),
    },
    Machine {
        fixture: "placeholders-only",
        identifiers: &[],
        refused: &[
            "manufacturer sys_vendor is a placeholder that the maker never replaced",
            "model product_name is a placeholder that the maker never replaced",
            "serial_number product_serial is a placeholder that the maker never replaced",
            "sku product_sku is a placeholder that the maker never replaced",
            "system_uuid product_uuid is a placeholder that the maker never replaced",
            "board_serial board_serial is a placeholder that the maker never replaced",
            "chassis_serial chassis_serial is a placeholder that the maker never replaced",
            "manufacturer board_vendor is a placeholder that the maker never replaced",
            "model board_name is a placeholder that the maker never replaced",
        ],
        registered: None,
    },
    Machine {
        fixture: "tables-disagree",
        identifiers: &[
            "serial_number 5CD9999XYZ",
            "board_serial PJKLM0C1234567",
            "chassis_serial 5CD1234ABC",
            "system_uuid 44454c4c-5800-4b10-8039-b7c04f513133",
            "manufacturer HP",
            "model HP EliteBook 840 G8",
            "sku 336D5EA#ABD",
        ],
        refused: &["serial_number product_serial differs from what a stronger source says"],
        registered: Some(("serial_number,manufacturer,model", "5CD9999XYZ,HP,HP EliteBook 840 G8")),
    },
    Machine {
        fixture: "raspberry-like",
        identifiers: &[
            "serial_number 10000000ABCD1234",
            "mac_address dc:a6:32:00:00:21",
            "manufacturer raspberrypi",
            "model Raspberry Pi 4 Model B Rev 1.4",
        ],
        refused: &[],
        registered: Some((
            "serial_number,manufacturer,model",
            "10000000ABCD1234,raspberrypi,Raspberry Pi 4 Model B Rev 1.4",
        )),
    },
    Machine {
        fixture: "chromebook-vpd",
        identifiers: &[
            "serial_number 5CD1234ABC",
            "board_serial MLB-778",
            "system_uuid 6ba1ff1c-0000-4000-8000-5cd1234abc00",
            "manufacturer HP",
            "model CB-1",
            "model Redrix",
        ],
        refused: &["serial_number product_serial is empty"],
        registered: Some(("serial_number,manufacturer,model", "5CD1234ABC,HP,CB-1")),
    },
    Machine {
        fixture: "chromebase-attested",
        identifiers: &[
            "certified_device_id DQZ6TSP001001234567800",
            "serial_number DQZ6TSP001001234567800",
            "board_serial NBZ6T11001",
            "manufacturer Acer",
            "model Chromebase Acer CA24I2",
        ],
        refused: &[],
        registered: Some((
            "serial_number,manufacturer,model",
            "DQZ6TSP001001234567800,Acer,Chromebase Acer CA24I2",
        )),
    },
    Machine {
        fixture: "vpd-disagrees",
        identifiers: &["serial_number 5CD0000ZZZ", "manufacturer HP", "model CB-1"],
        refused: &[],
        registered: Some(("serial_number,manufacturer,model", "5CD0000ZZZ,HP,CB-1")),
    },
    Machine {
        fixture: "board-with-cpu-serial",
        identifiers: &[
            "serial_number 00000000FE12AB34",
            "mac_address b8:27:eb:00:00:34",
            "manufacturer raspberrypi",
            "model Raspberry Pi 3 Model B Rev 1.2",
        ],
        refused: &[],
        registered: Some((
            "serial_number,manufacturer,model",
            "00000000FE12AB34,raspberrypi,Raspberry Pi 3 Model B Rev 1.2",
        )),
    },
    // Captured by somebody who is not root.
    Machine {
        fixture: "laptop-with-modem",
        identifiers: &[
            "tpm_key ff785b5b91c7b8a2b76ebaee24fac603e01ee01e1c411744247a7ea112a6a5f2",
            "serial_number PF3ABCDE",
            "board_serial L1HF2AB01CE",
            "chassis_serial PF3ABCDE",
            "imei 490154203237518",
            "mac_address 54:05:db:00:00:11",
            "mac_address 54:14:f3:00:00:12",
            "system_uuid a7f14b4c-2e35-11b2-a85c-9f3a1c7d5e33",
            "manufacturer LENOVO",
            "model 21CB00AXGE",
            "model ThinkPad X1 Carbon Gen 10",
        ],
        refused: &[
            "mac_address enp9s0u2 belongs to an interface that can be unplugged",
            "mac_address enx001122334455 belongs to an interface on USB of which nothing says that it is built in",
            "imei 1 belongs to an interface that can be unplugged",
        ],
        registered: Some(("serial_number,manufacturer,model", "PF3ABCDE,LENOVO,21CB00AXGE")),
    },
    // The machine that this was written on: a virtual machine without firmware tables.
    Machine {
        fixture: "micro-vm",
        identifiers: &[],
        refused: &["mac_address eth0 is a locally administered address, which software can choose"],
        registered: None,
    },
];

async fn surveyed(fixture: &str) -> Survey {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    let root = machines.join(fixture);
    assert!(root.is_dir(), "{fixture} is not there");
    survey(&Layout::new(root)).await
}

/// The gaps in a fixture's sources.
fn unreadable_of(fixture: &str) -> &'static [&'static str] {
    match fixture {
        "chromebase-attested" => &["/sys/firmware/vpd/rw_raw"],
        "laptop-with-modem" => {
            &["/sys/firmware/dmi/tables/smbios_entry_point", "/sys/firmware/dmi/tables/DMI"]
        }
        _ => &[],
    }
}

#[tokio::test]
async fn every_machine_shows_what_its_maker_wrote_and_nothing_else() {
    for machine in MACHINES {
        let survey = surveyed(machine.fixture).await;
        let shown = SurveyReport::new(&survey, Models::built_in());
        let identifiers: Vec<_> =
            shown.identifiers.iter().map(|one| format!("{} {}", one.kind, one.value)).collect();
        assert_eq!(identifiers, machine.identifiers, "{}", machine.fixture);
        let refused: Vec<_> = shown
            .refused
            .iter()
            .map(|one| format!("{} {} {}", one.kind, one.from.rsplit('/').next().unwrap(), one.because))
            .collect();
        assert_eq!(refused, machine.refused, "{}", machine.fixture);
        let unreadable: Vec<_> = shown.unreadable.iter().map(|one| one.from.as_str()).collect();
        assert_eq!(unreadable, unreadable_of(machine.fixture), "{}", machine.fixture);
        assert_eq!(shown.problem.is_none(), machine.registered.is_some(), "{}", machine.fixture);
        let row = survey.identity().ok().and_then(|identity| registration_row(&identity));
        let row = row.as_ref().map(|(header, row)| (header.as_str(), row.as_str()));
        assert_eq!(row, machine.registered, "{}", machine.fixture);
    }
}

#[tokio::test]
async fn what_somebody_should_know_is_said() {
    for (fixture, warning) in [
        (
            "tables-disagree",
            "product_serial is \"5CD9999XYZ\" in /sys/firmware/dmi/tables/DMI type 1, and \"5CD1234ABC\"",
        ),
        (
            "vpd-disagrees",
            "serial_number is \"5CD0000ZZZ\" in /sys/firmware/vpd/ro/serial_number, and \"5CD1234ABC\"",
        ),
        ("white-box", "the serial number of a part"),
        ("white-box", "placeholders for chassis_serial, serial_number, system_uuid"),
    ] {
        let warnings = warnings(&surveyed(fixture).await).join("\n");
        assert!(warnings.contains(warning), "{fixture}: {warnings}");
    }
    assert_eq!(warnings(&surveyed("dell-latitude").await), Vec::<String>::new());
}

#[tokio::test]
async fn a_chromebase_is_judged_by_its_day_of_manufacture() {
    let shown = SurveyReport::new(&surveyed("chromebase-attested").await, Models::built_in());
    let judged = shown.eligibility.unwrap();
    assert_eq!(judged.verdict, Verdict::Eligible, "{judged:?}");
    assert_eq!(judged.register.len(), 3, "{judged:?}");
    assert_eq!(shown.register, Some(judged.register), "that is what to register");
    assert!(SurveyReport::new(&surveyed("dell-latitude").await, Models::built_in()).eligibility.is_none());
}

#[tokio::test]
async fn every_place_is_accounted_for() {
    let looked = surveyed("laptop-with-modem").await.looked;
    let states: Vec<_> = looked.iter().map(|one| (one.place, one.state)).collect();
    assert_eq!(
        states,
        [
            (Place::SmbiosTables, State::NotPermitted),
            (Place::SmbiosFields, State::Read),
            (Place::DeviceTree, State::Absent),
            (Place::Vpd, State::Absent),
            (Place::VpdPartition, State::Absent),
            (Place::Cpu, State::Absent),
            (Place::Tpm, State::Read),
            (Place::Network, State::Read),
            (Place::Modem, State::Read),
        ]
    );
    assert!(looked.iter().all(|one| one.reason.is_some() != (one.state == State::Read)), "{looked:?}");
}

#[tokio::test]
async fn a_processor_without_a_serial_number_is_said_to_show_none() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("proc")).unwrap();
    let mut file = std::fs::File::create_new(root.path().join("proc/cpuinfo")).unwrap();
    // Of QEMU's board for ARM, as Linux 6.1 has it.
    file.write_all(b"processor\t: 0\nBogoMIPS\t: 125.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n")
        .unwrap();
    let looked = survey(&Layout::new(root.path())).await.looked;
    let cpu = looked.iter().find(|one| one.place == Place::Cpu).unwrap();
    assert_eq!((cpu.state, cpu.reason.as_deref()), (State::Absent, Some("it shows none")));
}

#[tokio::test]
async fn no_fixture_is_left_out() {
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
    let mut there: Vec<_> =
        machines.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut tested: Vec<_> = MACHINES.iter().map(|machine| machine.fixture.to_owned()).collect();
    there.sort();
    tested.sort();
    assert_eq!(there, tested);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_listed() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sys/class/dmi/id");
    std::fs::create_dir_all(folder.join("product_serial")).unwrap();
    let survey = survey(&Layout::new(root.path())).await;
    let unreadable: Vec<_> = survey.unreadable.iter().map(|one| one.from.as_str()).collect();
    assert_eq!(unreadable, ["/sys/class/dmi/id/product_serial"]);
}
