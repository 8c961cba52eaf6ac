//! Devices, as administrators see and steer them.

use super::{ServiceError, Services};
use crate::{
    domain::{
        actor::Actor,
        audit::Entry,
        device::{ApprovalRequest, Device},
    },
    store::{DeviceFilter, Page, PageRequest, StoredReport},
};
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, DeviceId},
    secret::Secret,
    timestamp::Timestamp,
};

/// A device with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct DeviceView {
    /// The device.
    pub device: Device,
    /// Keys and hardware that wait for approval, or were approved and not used yet.
    pub requests: Vec<ApprovalRequest>,
    /// Its newest reports, newest first.
    pub reports: Vec<StoredReport>,
    /// What happened to it, newest first; the newest part of it.
    pub history: Vec<Entry>,
}

impl Services {
    /// Lists devices, oldest first.
    pub async fn list_devices(
        &self,
        by: &Actor,
        filter: DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<Device>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Shows a device, its requests, reports and history.
    pub async fn device(&self, by: &Actor, id: DeviceId) -> Result<DeviceView, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// The device of a claim, made known first if it never asked for anything: so that a device
    /// can be disabled, or given a reset ticket, before it is seen.
    pub async fn device_of_claim(&self, by: &Actor, claim: ClaimId) -> Result<Device, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Lists what waits for approval, oldest device first; at most 1,000.
    pub async fn list_requests(&self, by: &Actor) -> Result<Vec<ApprovalRequest>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Approves exactly this key, and the hardware that it was shown with.
    pub async fn approve_request(&self, by: &Actor, id: DeviceId, key: Sha256) -> Result<(), ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Refuses this key, and the hardware that it was shown with.
    pub async fn refuse_request(&self, by: &Actor, id: DeviceId, key: Sha256) -> Result<(), ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Disables a device: whatever it asks, it is told this message.
    pub async fn disable_device(
        &self,
        by: &Actor,
        id: DeviceId,
        message: Option<String>,
    ) -> Result<Device, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Enables a device again, as it was before.
    pub async fn enable_device(&self, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Releases a device for good.
    pub async fn deprovision_device(&self, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Asks a device to enroll again; it is told when it checks in.
    pub async fn request_re_enrollment(&self, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Mints a one-time ticket that lets this device enroll with a new key after an authorised
    /// factory reset. The secret is returned here and never again.
    pub async fn mint_reset_ticket(
        &self,
        by: &Actor,
        id: DeviceId,
    ) -> Result<(Secret, Timestamp), ServiceError> {
        Err(ServiceError::Busy)
    }
}
