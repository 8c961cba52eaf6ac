//! Configurations: the setup of a customer's devices.

use crate::route::api::wire::{enums::wire_enum, message::message};
use std::time::Duration;
use unbox_common::{
    ids::ConfigurationId,
    payload::{self, PolicyItem},
};

message! {
    /// The set-up of the devices that get it, and the contact of their users.
    pub struct Configuration {
        /// Its name: `customers/{customer}/configurations/{configuration}`.
        name: String = "name", OUTPUT;
        /// Its id.
        configuration_id: Option<ConfigurationId> = "configurationId", OUTPUT;
        /// The customer's name for it.
        configuration_name: String = "configurationName", REQUIRED;
        /// The company, as the device shows it.
        company_name: String = "companyName", REQUIRED;
        /// The e-mail address of the contact.
        contact_email: String = "contactEmail", REQUIRED;
        /// The telephone number of the contact.
        contact_phone: String = "contactPhone", REQUIRED;
        /// A further text that the device shows.
        custom_message: String = "customMessage";
        /// The DPC: `customers/{customer}/dpcs/{dpc}`.
        dpc_resource_path: String = "dpcResourcePath", REQUIRED;
        /// The input of the DPC at its first start: the text of a JSON object.
        dpc_extras: String = "dpcExtras";
        /// True if it is the default, for devices that were given no other.
        is_default: Option<bool> = "isDefault", REQUIRED;
        /// The time for which a device may be used before it enrolls, from 0 to 6 hours.
        forced_reset_time: Option<Duration> = "forcedResetTime";
        /// Unbox's own: the policy of the device itself.
        policy: Vec<PolicyItem> = "policy";
        /// Unbox's own: the behaviour of first set-up.
        setup: Option<Setup> = "setup";
    }
}

message! {
    /// The behaviour of first set-up until everything is installed.
    pub struct Setup {
        /// The longest time for which the login prompt is held back, in whole seconds.
        hold_for: Option<Duration> = "holdFor";
        /// The behaviour without a network.
        without_network: WithoutNetwork = "withoutNetwork";
    }
}

wire_enum! {
    /// The behaviour of a device that finds no network at set-up.
    pub enum WithoutNetwork {
        /// Not specified: set-up goes on.
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
