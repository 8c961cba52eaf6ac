//! Machines as fixtures: what each shows, what it refuses, and what its owner registers.
//!
//! A fixture is a directory below `fixtures/machines` that looks like the root of that machine.
//! Serial numbers are in the makers' published forms, and belong to no machine.

use std::path::Path;
use unbox_agent::{
    boot::Layout,
    identity::{Shown, Survey, io::survey, registration_row},
};

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

#[tokio::test]
async fn every_machine_shows_what_its_maker_wrote_and_nothing_else() {
    for machine in MACHINES {
        let survey = surveyed(machine.fixture).await;
        let shown = Shown::from(&survey);
        let identifiers: Vec<_> =
            shown.identifiers.iter().map(|one| format!("{} {}", one.kind, one.value)).collect();
        assert_eq!(identifiers, machine.identifiers, "{}", machine.fixture);
        let refused: Vec<_> = shown
            .refused
            .iter()
            .map(|one| format!("{} {} {}", one.kind, one.from.rsplit('/').next().unwrap(), one.because))
            .collect();
        assert_eq!(refused, machine.refused, "{}", machine.fixture);
        assert_eq!(shown.unreadable, [], "{}", machine.fixture);
        assert_eq!(shown.problem.is_none(), machine.registered.is_some(), "{}", machine.fixture);
        let row = survey.identity().ok().and_then(|identity| registration_row(&identity));
        let row = row.as_ref().map(|(header, row)| (header.as_str(), row.as_str()));
        assert_eq!(row, machine.registered, "{}", machine.fixture);
    }
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
