//! Virtual machines for tests: a Debian guest with the agent installed, under plain QEMU on one host.
//!
//! A scenario describes a [`Machine`], starts it, and then acts, cuts and observes:
//!
//! ```no_run
//! # use unbox_tests::vm::{BOOT, Image, Machine, SOON, Smbios};
//! # fn scenario() -> anyhow::Result<()> {
//! let mut vm = Machine::new(&Image::agent()?)
//!     .smbios(Smbios::from_label("Dell Inc.", "PowerEdge R650", "7XK9Q13"))
//!     .file("/etc/unbox/agent.toml", "server = \"https://server.test\"\n", 0o644)
//!     .credential("unbox.token", "s3cret")
//!     .start()?;
//! vm.wait_ready(BOOT)?;
//! vm.wait_until("systemctl is-active unbox-identity", SOON)?;
//! vm.cut_power();
//! vm.start_again()?;
//! # Ok(())
//! # }
//! ```
//!
//! Every wait is bounded; a machine dies with its test. Logs stay in `target/vm/run/<test>/<machine>/`.
//! A guest reaches the ports that are forwarded to it and nothing else. To add a scenario, add a file to
//! `tests/tests/vm/` and its `mod` line to `main.rs` there.

mod board;
mod device_tree;
mod disk;
mod firmware;
mod image;
mod machine;
mod qmp;
mod rootfs;
mod running;
mod shell;
mod smbios;
mod stick;
mod vpd;

pub use device_tree::DeviceTree;
pub use firmware::{SmbiosTables, parse_arguments};
pub use image::{Image, SERVER_ADDRESS, SERVER_NAME};
pub use machine::Machine;
pub use running::Vm;
pub use shell::Output;
pub use smbios::Smbios;
pub use stick::make_stick;

use std::time::Duration;

/// Ample time for a boot to the shell: without hardware virtualisation six to fourteen seconds are usual.
pub const BOOT: Duration = Duration::from_mins(2);

/// Ample time for anything that a running guest does within a second or two.
pub const SOON: Duration = Duration::from_mins(1);
