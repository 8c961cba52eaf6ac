//! Stage 1, `boot`: what this device was told before it was switched on.
//!
//! In: a root directory. Out: [`BootContext`], which every later stage starts from: the paths,
//! the settings, whom to trust, and what time it certainly is. Sources of settings, strongest
//! first: firmware credentials, kernel command line, `/etc/unbox/agent.toml`,
//! `/usr/lib/unbox/agent.toml`; and for a token alone, last of all, a removable medium. A source of
//! an address is never a source of trust.
//!
//! To add a source: a [`Fragment`] of what it says in a pure file here, its place in the order
//! in `io.rs`, and its name in [`Origin`].

mod command_line;
pub mod fat;
pub mod io;
mod layout;
mod medium;
mod settings;
mod token;
mod trust;

pub use io::BootError;
pub use layout::Layout;
pub use medium::{Found, Medium};
pub use settings::{Fragment, Inputs, InvalidSettings, Origin, Server, Settings, Token};

pub use token::NotUsed;
pub(crate) use token::parse_token;
pub use trust::Trust;

#[cfg(test)]
pub(crate) use trust::tests as trust_fixtures;

use crate::clock::TrustedTime;
use std::path::PathBuf;
use unbox_common::timestamp::Timestamp;

/// What a device knows before it does anything. Only [`io::start`] makes one.
#[derive(Debug, Clone)]
pub struct BootContext {
    /// Where everything lies.
    pub layout: Layout,
    /// What it was told.
    pub settings: Settings,
    /// Whom it trusts.
    pub trust: Trust,
    /// The latest time that something verified told.
    pub verified_time: Option<Timestamp>,
}

impl BootContext {
    /// The server to enroll at.
    ///
    /// # Errors
    /// [`BootError::NoServer`] if no source names one.
    pub fn server(&self) -> Result<&Server, BootError> {
        self.settings.server.as_ref().ok_or(BootError::NoServer)
    }

    /// The time to judge by, now.
    #[must_use]
    pub fn time(&self) -> TrustedTime {
        TrustedTime::weigh(crate::clock::system(), crate::clock::built(), self.verified_time)
    }
}

/// Where to start from: what the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub struct StartingPoint {
    /// The root directory; `/` on a device.
    pub root: PathBuf,
    /// A file to read in place of `/etc/unbox/agent.toml`.
    pub config: Option<PathBuf>,
    /// The folder of systemd's credentials, `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}
