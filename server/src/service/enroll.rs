//! The handshake: hello and prove.

use super::{ServiceError, Services};
use unbox_common::protocol::latest::{Challenge, Grant};

/// A hello whose form and identifiers are in order.
#[derive(Debug, Clone)]
pub struct HelloRequest {
    limit_key: String,
}

impl HelloRequest {
    /// Reads the exact bytes of a hello.
    pub fn read(body: &[u8]) -> Result<Self, ServiceError> {
        let _ = body;
        Err(ServiceError::Busy)
    }

    /// What hellos are counted by against enumeration: the strongest identifier without its last
    /// characters, so that a run of serial numbers shares it.
    #[must_use]
    pub fn limit_key(&self) -> &str {
        &self.limit_key
    }
}

impl Services {
    /// Answers a hello: reads it, then [`Services::challenge`].
    pub async fn hello(&self, body: &[u8]) -> Result<Challenge, ServiceError> {
        self.challenge(HelloRequest::read(body)?).await
    }

    /// Challenges the device that said hello, or refuses what no proof could change. Nothing is
    /// stored.
    pub async fn challenge(&self, hello: HelloRequest) -> Result<Challenge, ServiceError> {
        let _ = hello;
        Err(ServiceError::Busy)
    }

    /// Takes the proof, and enrolls the device.
    pub async fn prove(&self, body: &[u8]) -> Result<Grant, ServiceError> {
        let _ = body;
        Err(ServiceError::Busy)
    }
}
