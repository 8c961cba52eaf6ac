//! Reports and check-ins of enrolled devices, over mutual TLS.

use super::{ServiceError, Services};
use unbox_common::{
    ids::{DeviceId, Generation},
    protocol::latest::{Acknowledged, CheckIn, News, Report},
};

/// Who speaks, by the client certificate of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceIdentityCert {
    /// The device that the certificate names.
    pub device: DeviceId,
    /// The generation that it was issued for.
    pub generation: Generation,
}

impl Services {
    /// Takes a device's progress and outcome. Sending it twice changes nothing.
    pub async fn report(
        &self,
        who: DeviceIdentityCert,
        report: Report,
    ) -> Result<Acknowledged, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Tells a managed device what is new.
    pub async fn check_in(&self, who: DeviceIdentityCert, check_in: CheckIn) -> Result<News, ServiceError> {
        Err(ServiceError::Busy)
    }
}
