//! Customers' requests about their own configurations and devices.

use super::{
    common::DeviceReference, company::Company, configuration::Configuration, device::Device, dpc::Dpc,
};
use crate::route::api::wire::message::message;

message! {
    /// Gives a device a configuration.
    pub struct CustomerApplyConfigurationRequest {
        /// The device.
        device: DeviceReference = "device", REQUIRED;
        /// The configuration: `customers/{customer}/configurations/{configuration}`.
        configuration: String = "configuration", REQUIRED;
    }
}

message! {
    /// Takes a device's configuration away.
    pub struct CustomerRemoveConfigurationRequest {
        /// The device.
        device: DeviceReference = "device", REQUIRED;
    }
}

message! {
    /// Gives a device up, for good.
    pub struct CustomerUnclaimDeviceRequest {
        /// The device.
        device: DeviceReference = "device", REQUIRED;
    }
}

message! {
    /// A customer's configurations.
    pub struct CustomerListConfigurationsResponse {
        /// The configurations.
        configurations: Vec<Configuration> = "configurations";
    }
}

message! {
    /// The customers that a user may administer.
    pub struct CustomerListCustomersResponse {
        /// The customers.
        customers: Vec<Company> = "customers";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// A customer's devices.
    pub struct CustomerListDevicesResponse {
        /// The devices.
        devices: Vec<Device> = "devices";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// The DPCs that a customer can choose.
    pub struct CustomerListDpcsResponse {
        /// The DPCs.
        dpcs: Vec<Dpc> = "dpcs";
    }
}
