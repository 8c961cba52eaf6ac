//! A script in the place of the agent, for scenarios that are about its units and not about itself.

use unbox_tests::vm::Machine;

/// Replaces the agent by a script whose stage `install` does `work`; its other stages do nothing.
///
/// The script's first and only word to systemd has to be `systemd-notify --ready`.
pub(crate) fn installing(machine: Machine, work: &str) -> Machine {
    let script = format!("#!/bin/bash\n[ \"$2\" = install ] || exec systemd-notify --ready\n{work}\n");
    // systemd-notify speaks as a process of its own, not as the unit's main one.
    let heard = "[Service]\nNotifyAccess=all\n";
    machine
        .file("/usr/bin/unbox-agent", script, 0o755)
        .file("/etc/systemd/system/unbox-install.service.d/stand-in.conf", heard, 0o644)
        .file("/etc/systemd/system/unbox-handshake.service.d/stand-in.conf", heard, 0o644)
}
