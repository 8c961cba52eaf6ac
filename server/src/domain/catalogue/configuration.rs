//! Configurations: the desired setup of a customer's devices, and the payloads made from it.

use crate::domain::name::{Name, is_plain_text};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use unbox_common::{
    bytes::{FixedBytes, Nonce},
    digest::Sha256,
    ids::{CompanyId, ConfigurationId, DeviceId, Generation},
    payload::{
        Artifact, ConfigurationRef, Dpc, MAX_PAYLOAD_BYTES, Payload, PayloadRejected, PolicyItem, Setup,
        check_contents,
    },
    protocol::latest::{Installed, InstalledDpc, Owner},
    timestamp::Timestamp,
};

/// The largest configuration document, in bytes; 16 KiB remain for the rest of the payload.
pub const MAX_DOCUMENT_BYTES: usize = MAX_PAYLOAD_BYTES - 16 * 1024;
/// The longest e-mail address or telephone number, in characters.
const MAX_CONTACT_CHARS: usize = 254;
/// The longest message to the person in front of the device, in characters.
pub const MAX_MESSAGE_CHARS: usize = 2000;

/// A customer's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// Its id.
    pub id: ConfigurationId,
    /// The customer that owns it.
    pub customer: CompanyId,
    /// The customer's name for it, unique among the customer's configurations.
    pub name: Name,
    /// The document.
    pub document: Document,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The payload version of its last change: the time of that change, or later if the version was already
    /// ahead of the clock.
    pub updated_at: Timestamp,
}

/// The contents of a configuration, as its author writes them: JSON without unknown fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The device policy controller, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpc: Option<Dpc>,
    /// The settings of the device itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<PolicyItem>,
    /// The behaviour of the first set-up.
    #[serde(default)]
    pub setup: Setup,
    /// The contact for the person in front of the device.
    pub contact: Contact,
}

/// The owner's name and contact details, in the owner's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The name of the company; the customer's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<Name>,
    /// The e-mail address for questions.
    pub contact_email: String,
    /// The telephone number for questions.
    pub contact_phone: String,
    /// A greeting or instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The reason why a document cannot be a configuration.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDocument {
    /// Larger than a payload can carry.
    #[error("is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    /// Not JSON of the right form; the message of the parser names line, column and field.
    #[error("is not a configuration: {0}")]
    Unreadable(String),
    /// A part that every device would refuse to install.
    #[error("cannot be installed by any device: {}", chain(.0))]
    Contents(PayloadRejected),
    /// A line of the contact that cannot be displayed.
    #[error("expected {field} to be {expected}")]
    Contact {
        /// The name of the field.
        field: &'static str,
        /// The expected form.
        expected: &'static str,
    },
}

fn chain(rejected: &PayloadRejected) -> String {
    match std::error::Error::source(rejected) {
        Some(cause) => format!("{rejected}: {cause}"),
        None => rejected.to_string(),
    }
}

impl Document {
    /// Reads a document and checks it for everything that a device would refuse.
    ///
    /// # Errors
    /// Returns [`InvalidDocument`] with the first fault.
    pub fn parse(text: &str) -> Result<Self, InvalidDocument> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(InvalidDocument::TooLarge);
        }
        let document: Self =
            serde_json::from_str(text).map_err(|error| InvalidDocument::Unreadable(error.to_string()))?;
        document.contact.check()?;
        let sample = document.sample();
        check_contents(&sample).map_err(InvalidDocument::Contents)?;
        match serde_json::to_vec(&sample) {
            Ok(bytes) if bytes.len() <= MAX_PAYLOAD_BYTES => Ok(document),
            _ => Err(InvalidDocument::TooLarge),
        }
    }

    /// Returns the artifacts that it names, each once.
    #[must_use]
    pub fn artifacts(&self) -> Vec<Artifact> {
        self.sample().artifacts().into_iter().cloned().collect()
    }

    /// Returns the artifacts that this server has to hold, because the document names no other source.
    #[must_use]
    pub fn own_artifacts(&self) -> Vec<Artifact> {
        self.artifacts().into_iter().filter(|one| one.url.is_none()).collect()
    }

    /// Builds a payload of this document for no device, to check what all its payloads share.
    fn sample(&self) -> Payload {
        let text = "x".repeat(crate::domain::name::MAX_NAME_CHARS);
        Payload {
            device: LARGEST_DEVICE,
            generation: Generation(u64::MAX),
            key_digest: Sha256([0; 32]),
            nonce: FixedBytes([0; 32]),
            version: u64::MAX,
            issued_at: Timestamp(u64::MAX),
            expires_at: Timestamp(u64::MAX),
            configuration: ConfigurationRef { id: LARGEST_CONFIGURATION, name: text },
            dpc: self.dpc.clone(),
            policy: self.policy.clone(),
            setup: self.setup,
        }
    }
}

const LARGEST_DEVICE: DeviceId = match DeviceId::new(i64::MAX) {
    Ok(id) => id,
    Err(_) => unreachable!(),
};
const LARGEST_CONFIGURATION: ConfigurationId = match ConfigurationId::new(i64::MAX) {
    Ok(id) => id,
    Err(_) => unreachable!(),
};

impl Contact {
    fn check(&self) -> Result<(), InvalidDocument> {
        let wrong = |field, expected| Err(InvalidDocument::Contact { field, expected });
        let email = self.contact_email.trim();
        let has_parts =
            email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
        if !has_parts || email.contains(' ') || !is_plain_text(email, MAX_CONTACT_CHARS, false) {
            return wrong("contact_email", "an e-mail address");
        }
        let phone = &self.contact_phone;
        let dialable = |char: char| char.is_ascii_digit() || " +-().".contains(char);
        if !phone.contains(|char: char| char.is_ascii_digit())
            || !phone.chars().all(dialable)
            || phone.len() > MAX_CONTACT_CHARS
        {
            return wrong("contact_phone", "a telephone number of digits, spaces and + - ( ) .");
        }
        match &self.message {
            Some(message) if !is_plain_text(message, MAX_MESSAGE_CHARS, true) => {
                wrong("message", "plain text of at most 2000 characters")
            }
            _ => Ok(()),
        }
    }

    /// Returns the contact as the device shows it.
    #[must_use]
    pub fn owner(&self, customer: &Name) -> Owner {
        Owner {
            company: self.company.as_ref().unwrap_or(customer).to_string(),
            contact_email: self.contact_email.trim().to_owned(),
            contact_phone: self.contact_phone.clone(),
            message: self.message.clone(),
        }
    }
}

/// The enrollment that a payload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// The device.
    pub device: DeviceId,
    /// Its generation.
    pub generation: Generation,
    /// Digest of its public key.
    pub key_digest: Sha256,
    /// The nonce of its request.
    pub nonce: Nonce,
    /// The lead of its versions: [`super::device::Device::version_lead`].
    pub version_lead: u64,
}

/// The configuration assigned to a device, without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The configuration.
    pub configuration: ConfigurationId,
    /// The time of its last change.
    pub updated_at: Timestamp,
    /// The time of the assignment: of the last change to the claim or to the customer's default, whichever
    /// is later.
    pub assigned_at: Timestamp,
}

impl Assigned {
    /// Returns the version of the payload for a device without a lead. It rises when the configuration
    /// changes, and also when the device is assigned an older configuration.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.updated_at.max(self.assigned_at).0
    }
}

/// A device's configuration, and the time at which it was assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The configuration.
    pub configuration: Arc<Configuration>,
    /// The time of the assignment.
    pub assigned_at: Timestamp,
}

impl Assignment {
    /// Returns the version of the payload for a device with this lead.
    #[must_use]
    pub fn version(&self, lead: u64) -> u64 {
        self.configuration.updated_at.max(self.assigned_at).0.saturating_add(lead)
    }

    /// Returns the configuration as a device with this lead reports it after installing it.
    #[must_use]
    pub fn installed(&self, lead: u64) -> Installed {
        let Configuration { id, document, .. } = &*self.configuration;
        let dpc = document.dpc.as_ref();
        Installed {
            configuration: *id,
            version: self.version(lead),
            dpc: dpc.map(|dpc| InstalledDpc { name: dpc.name.to_string(), version: dpc.version.clone() }),
        }
    }

    /// Builds the payload for one enrollment, valid for `lifetime` from `now` on.
    #[must_use]
    pub fn payload(&self, to: Recipient, now: Timestamp, lifetime: Duration) -> Payload {
        let Configuration { id, name, document, .. } = &*self.configuration;
        Payload {
            device: to.device,
            generation: to.generation,
            key_digest: to.key_digest,
            nonce: to.nonce,
            version: self.version(to.version_lead),
            issued_at: now,
            expires_at: now.plus(lifetime),
            configuration: ConfigurationRef { id: *id, name: name.to_string() },
            dpc: document.dpc.clone(),
            policy: document.policy.clone(),
            setup: document.setup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        r#"{"contact":{"contact_email":"it@acme.example","contact_phone":"+41 44 000 00 00"}}"#;

    #[test]
    fn what_no_device_would_install_is_refused_with_the_reason() {
        const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let with = |rest: &str| MINIMAL.replacen('{', &format!("{{{rest},"), 1);
        let dpc = |url: &str, size: u64| {
            format!(
                r#""dpc":{{"name":"dpc","version":"1","kind":"tar","artifact":{{"sha256":"{EMPTY}","size":{size},"url":"{url}"}}}}"#
            )
        };
        let file = |size: u64| {
            format!(
                r#"{{"type":"file","path":"/srv/a","content":{{"artifact":{{"sha256":"{EMPTY}","size":{size}}}}}}}"#
            )
        };
        for (text, message) in [
            ("{}".to_owned(), "is not a configuration: missing field `contact` at line 1 column 2"),
            (with(r#""polcy":[]"#), "unknown field `polcy`"),
            (with(r#""policy":[{"type":"script"}]"#), "unknown variant `script`"),
            (
                with(r#""policy":[{"type":"hostname","name":"a"},{"type":"hostname","name":"b"}]"#),
                "cannot be installed by any device: the payload's policy cannot be installed: two policy items about hostname",
            ),
            (with(&dpc("http://cdn.example/x", 0)), "begin with https://"),
            (with(&dpc("file:///etc/shadow", 0)), "begin with https://"),
            (with(&dpc("https://ann:secret@cdn.example/x", 0)), "without a user name and password"),
            (
                with(&format!(r#"{},"policy":[{}]"#, dpc("https://cdn.example/x", 0), file(1))),
                "names artifact e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 more than once",
            ),
            (MINIMAL.replacen("}}", ",\"message\":\"a\u{202e}b\"}}", 1), "expected message to be plain text"),
            (MINIMAL.replace("it@acme.example", "nobody"), "expected contact_email to be an e-mail address"),
            (
                MINIMAL.replace("+41 44 000 00 00", "call me"),
                "expected contact_phone to be a telephone number",
            ),
            (" ".repeat(MAX_DOCUMENT_BYTES + 1), "is larger than"),
        ] {
            let error = Document::parse(&text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_document_reads_and_writes_the_same() {
        let document = Document::parse(MINIMAL).unwrap();
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(Document::parse(&text).unwrap(), document);
    }

    #[test]
    fn only_artifacts_without_another_place_must_be_here() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let file = |path: &str, rest: &str| {
            format!(
                r#"{{"type":"file","path":"{path}","content":{{"artifact":{{"sha256":"{digest}","size":0{rest}}}}}}}"#
            )
        };
        let policy = format!(
            r#""policy":[{},{}]"#,
            file("/etc/a", ""),
            file("/etc/b", r#","url":"https://cdn.example/b""#).replace("e3b0", "e3b1")
        );
        let document = Document::parse(&MINIMAL.replacen('{', &format!("{{{policy},"), 1)).unwrap();
        let own: Vec<String> = document.own_artifacts().iter().map(|one| one.sha256.to_string()).collect();
        assert_eq!(own, [digest]);
    }

    #[test]
    fn the_version_rises_also_when_an_older_configuration_is_assigned() {
        let assignment = |updated, assigned| Assignment {
            configuration: Arc::new(Configuration {
                id: ConfigurationId::new(1).unwrap(),
                customer: CompanyId::new(1).unwrap(),
                name: "Kiosk".parse().unwrap(),
                document: Document::parse(MINIMAL).unwrap(),
                created_at: Timestamp(1),
                updated_at: Timestamp(updated),
            }),
            assigned_at: Timestamp(assigned),
        };
        assert_eq!(assignment(50, 40).version(0), 50);
        assert_eq!(assignment(50, 60).version(7), 67);
        let to = Recipient {
            device: DeviceId::new(7).unwrap(),
            generation: Generation(2),
            key_digest: Sha256([4; 32]),
            nonce: FixedBytes([3; 32]),
            version_lead: 7,
        };
        let payload = assignment(50, 60).payload(to, Timestamp(100), Duration::from_millis(5));
        assert_eq!(
            (payload.version, payload.issued_at, payload.expires_at),
            (67, Timestamp(100), Timestamp(105))
        );
        assert_eq!((payload.device, payload.generation, payload.nonce), (to.device, to.generation, to.nonce));
        assert_eq!(payload.key_digest, to.key_digest);
    }
}
