//! The identity in a copied disk: the device's key and its certificate.

use crate::fleet::{Answer, Connection, FleetImage};
use anyhow::{Context as _, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use unbox_agent::report::Enrolled;
use unbox_common::{
    bytes::FixedBytes,
    protocol::latest::{CHECK_IN_PATH, CheckIn},
};

/// The identity of an enrolled device, as it lies in the agent's exchange directory.
#[derive(Debug)]
pub struct CopiedIdentity {
    enrolled: Enrolled,
    key: PrivateKeyDer<'static>,
}

impl CopiedIdentity {
    /// Reads the contents of `enrollment.json` and `device.key`.
    ///
    /// # Errors
    /// If they are not in the agent's form.
    pub fn read(enrollment: &str, key: &str) -> Result<Self> {
        Ok(Self {
            enrolled: serde_json::from_str(enrollment).context("parse the enrollment")?,
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).context("parse the key")?,
        })
    }

    /// Checks in as that device.
    ///
    /// # Errors
    /// The fault that broke the exchange; a refusal is an answer.
    pub async fn check_in(&self, image: &FleetImage) -> Result<Answer> {
        let check_in = CheckIn {
            generation: self.enrolled.generation,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            installed: None,
            failed_version: None,
            healthy: true,
            nonce: FixedBytes([7; 32]),
            root_version: 1,
            renew_certificate: true,
        };
        let chain = self.enrolled.certificate_chain.iter().map(|der| CertificateDer::from(der.0.clone()));
        let tls = image.client_config(chain.collect(), self.key.clone_key())?;
        let mut connection = Connection::open(image.address, &image.name, tls).await?;
        connection.post(CHECK_IN_PATH, serde_json::to_vec(&check_in).context("write the check-in")?).await
    }
}
