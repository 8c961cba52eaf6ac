//! The server's Debian package: made ready by its user, started by its unit, confined, and reloaded.

use anyhow::Result;
use unbox_tests::vm::{BOOT, Image, Machine, SERVER_NAME, SOON};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn an_installed_server_serves_once_it_has_a_name() -> Result<()> {
    let mut vm = Machine::new(&Image::server()?).start()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.shell("systemctl is-enabled unbox-server")?.text, "disabled");
    assert_eq!(
        vm.succeed("systemd-analyze verify --man=no /lib/systemd/system/unbox-server.service 2>&1")?,
        ""
    );
    vm.succeed("systemd-analyze security --threshold=20 unbox-server.service")?;

    vm.succeed(&format!("unbox-server init --name {SERVER_NAME} --listen 0.0.0.0:443"))?;
    // Root made it, and yet it is the server's.
    assert_eq!(vm.succeed("find /var/lib/unbox-server ! -user unbox-server")?, "");
    vm.succeed("systemctl enable --now unbox-server")?;
    vm.succeed("unbox-server customer create Acme && unbox-server key rotate")?;
    // It has something to say of a disk this small, and of a root key on the server.
    assert_eq!(vm.shell("unbox-server doctor")?.status, 3);
    assert_eq!(vm.succeed("find /var/lib/unbox-server ! -user unbox-server")?, "");
    vm.succeed("exec 3<>/dev/tcp/127.0.0.1/443")?;
    vm.succeed("systemctl reload unbox-server && systemctl is-active unbox-server")?;
    assert_eq!(vm.succeed("stat -c '%a %U' /var/lib/unbox-server")?, "700 unbox-server");

    vm.cut_power();
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("systemctl is-active --quiet unbox-server", SOON)?;
    vm.succeed("exec 3<>/dev/tcp/127.0.0.1/443")?;
    Ok(())
}
