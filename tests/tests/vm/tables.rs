//! The fixtures of QEMU's SMBIOS tables: the QEMU that is installed here still makes of the same settings what says
//! the same.

use anyhow::Result;
use std::fs;
use unbox_agent::{boot::Layout, identity};
use unbox_common::models::Models;
use unbox_tests::{
    binaries::workspace,
    host,
    vm::{SmbiosTables, parse_arguments},
};

#[tokio::test]
#[ignore = "needs QEMU: run tests/run"]
async fn the_tables_of_the_fixtures_say_what_those_of_this_qemu_say() -> Result<()> {
    let models = Models::built_in();
    let mut compared = 0;
    for entry in fs::read_dir(workspace().join("agent/tests/fixtures/qemu"))? {
        let fixture = entry?.path();
        let tables = SmbiosTables::of(&parse_arguments(&fs::read(fixture.join("arguments"))?))?;
        let made = tempfile::tempdir()?;
        let folder = made.path().join("sys/firmware/dmi/tables");
        host::write(&folder.join("smbios_entry_point"), &tables.entry_point, 0o600)?;
        host::write(&folder.join("DMI"), &tables.table, 0o600)?;
        let now = identity::io::survey(&Layout::new(made.path())).await;
        let then = identity::io::survey(&Layout::new(&fixture)).await;
        assert_eq!(
            identity::survey_text(&now, models),
            identity::survey_text(&then, models),
            "{}",
            fixture.display()
        );
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    Ok(())
}
