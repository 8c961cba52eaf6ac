//! Stage 1, `boot`: the settings and trust that this device was given before it was switched on.
//!
//! In: a root directory. Out: [`BootContext`], the starting point of every later stage: the paths, the
//! settings, the trust anchors, and a lower bound of the time. Sources of settings, strongest first:
//! firmware credentials, kernel command line, `/etc/unbox/agent.toml`, `/usr/lib/unbox/agent.toml`; and
//! for a token alone, last of all, a removable medium. A source of an address is never a source of trust.
//!
//! To add a source: parse it into a [`Fragment`] in a pure file here, give it a place in the order in
//! `io.rs`, and name it in [`Origin`].

mod command_line;
pub mod fat;
pub mod io;
mod medium;
mod settings;
mod token;
mod trust;

pub use crate::layout::Layout;
pub use io::BootError;
pub use medium::{Found, Medium};
pub use settings::{Fragment, Inputs, InvalidFragment, InvalidSettings, Origin, Server, Settings, Token};

pub use token::NotUsed;
pub(crate) use token::parse_token;
pub use trust::Trust;

#[cfg(test)]
pub(crate) use trust::tests as trust_fixtures;

use crate::{
    clock::TrustedTime,
    http::{ClientSettings, Patience},
};
use std::path::PathBuf;
use unbox_common::timestamp::Timestamp;

/// Everything that a device knows before it does anything. Only [`io::start`] makes one.
#[derive(Debug, Clone)]
pub struct BootContext {
    /// The paths of this device.
    pub layout: Layout,
    /// The merged settings.
    pub settings: Settings,
    /// The anchors and the signing root.
    pub trust: Trust,
    /// The latest time taken from a verified source.
    pub verified_time: Option<Timestamp>,
}

impl BootContext {
    /// Returns the server to enroll with.
    ///
    /// # Errors
    /// [`BootError::NoServer`] if no source names one.
    pub fn server(&self) -> Result<&Server, BootError> {
        self.settings.server.as_ref().ok_or(BootError::NoServer)
    }

    /// Returns the time to judge by, now.
    #[must_use]
    pub fn time(&self) -> TrustedTime {
        TrustedTime::weigh(crate::clock::system(), crate::clock::build_date(), self.verified_time)
    }

    /// Returns the settings for a client without a certificate.
    #[must_use]
    pub fn client_settings(&self) -> ClientSettings<'_> {
        ClientSettings {
            anchors: &self.trust.anchors,
            time: self.time(),
            proxy: self.settings.proxy.as_ref(),
            certificate: None,
            patience: Patience::default(),
            pacer: None,
        }
    }
}

/// The input of this stage, from the command line and the environment.
#[derive(Debug, Clone, Default)]
pub struct StartingPoint {
    /// The root directory; `/` on a device.
    pub root: PathBuf,
    /// A file to read instead of `/etc/unbox/agent.toml`.
    pub config: Option<PathBuf>,
    /// The folder of systemd's credentials, `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// True for a process that systemd starts, as often as its units say.
    pub is_unit: bool,
}
