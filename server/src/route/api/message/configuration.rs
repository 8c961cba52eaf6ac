//! Configurations: the setup of a customer's devices.

use crate::route::api::wire::{enums::wire_enum, message::message};
use std::time::Duration;
use unbox_common::{
    ids::ConfigurationId,
    payload::{self, PolicyItem},
};

message! {
    /// What devices that get it become, and whom their users may ask.
    pub struct Configuration {
        /// Its name: `customers/{customer}/configurations/{configuration}`.
        name: String = "name", OUTPUT;
        /// Its id.
        configuration_id: Option<ConfigurationId> = "configurationId", OUTPUT;
        /// What the customer calls it.
        configuration_name: String = "configurationName", REQUIRED;
        /// The company, as the device shows it.
        company_name: String = "companyName", REQUIRED;
        /// Whom to write to.
        contact_email: String = "contactEmail", REQUIRED;
        /// Whom to call.
        contact_phone: String = "contactPhone", REQUIRED;
        /// What else the device shows.
        custom_message: String = "customMessage";
        /// The DPC: `customers/{customer}/dpcs/{dpc}`.
        dpc_resource_path: String = "dpcResourcePath", REQUIRED;
        /// What the DPC is given at its first start: the text of a JSON object.
        dpc_extras: String = "dpcExtras";
        /// Whether devices get it that were given no other.
        is_default: Option<bool> = "isDefault", REQUIRED;
        /// How long a device may be used before it enrolls, from 0 to 6 hours.
        forced_reset_time: Option<Duration> = "forcedResetTime";
        /// Unbox's own: what the device itself is to be like.
        policy: Vec<PolicyItem> = "policy";
        /// Unbox's own: how first set-up behaves.
        setup: Option<Setup> = "setup";
    }
}

message! {
    /// How first set-up behaves until everything is installed.
    pub struct Setup {
        /// How long the login prompt may be held back, in whole seconds.
        hold_for: Option<Duration> = "holdFor";
        /// What happens when there is no network.
        without_network: WithoutNetwork = "withoutNetwork";
    }
}

wire_enum! {
    /// What a device does that finds no network at set-up.
    pub enum WithoutNetwork {
        /// Nothing was said: set-up goes on.
        Unspecified = 0 "WITHOUT_NETWORK_UNSPECIFIED",
        /// Set-up goes on; enrollment follows when there is a network.
        Continue = 1 "WITHOUT_NETWORK_CONTINUE",
        /// Set-up is held as long as it may be.
        Hold = 2 "WITHOUT_NETWORK_HOLD",
    }
}

impl From<payload::Setup> for Setup {
    fn from(setup: payload::Setup) -> Self {
        let hold_for = (setup.hold_for_s > 0).then(|| Duration::from_secs(u64::from(setup.hold_for_s)));
        let without_network = match setup.without_network {
            payload::WithoutNetwork::Continue => WithoutNetwork::Continue,
            payload::WithoutNetwork::Hold => WithoutNetwork::Hold,
        };
        Self { hold_for, without_network }
    }
}

/// Drops parts of a second, and cuts a time that is too long for a device to the longest.
impl From<&Setup> for payload::Setup {
    fn from(setup: &Setup) -> Self {
        let seconds = setup.hold_for.unwrap_or_default().as_secs();
        let without_network = match setup.without_network {
            WithoutNetwork::Unspecified | WithoutNetwork::Continue => payload::WithoutNetwork::Continue,
            WithoutNetwork::Hold => payload::WithoutNetwork::Hold,
        };
        Self { hold_for_s: u32::try_from(seconds).unwrap_or(u32::MAX), without_network }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_up_means_the_same_in_the_payload() {
        for json in [
            r#"{"hold_for_s":0,"without_network":"continue"}"#,
            r#"{"hold_for_s":90,"without_network":"hold"}"#,
        ] {
            let own: payload::Setup = serde_json::from_str(json).unwrap();
            assert_eq!(payload::Setup::from(&Setup::from(own)), own);
        }
    }
}
