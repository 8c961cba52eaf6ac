//! Policy: typed items, and no free scripts. Anything that needs code belongs in the DPC.
//!
//! To add an item: a variant here with its [`ResourceKey`], its names in `names.rs`, the
//! changes that it plans in the agent's `install/plan.rs`, and a row in both test tables.

use super::{
    Artifact, CertificateName, Dpc, FileMode, Hostname, PackageName, SysctlKey, SysctlValue, TimeZone,
    UnitName, UserName, VersionText,
};
use crate::{
    bytes::Bytes,
    path::SafePath,
    protected::{self, MAX_UNIT_FILE_BYTES, Reach},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeSet, fmt};

/// The most items of one payload.
pub const MAX_POLICY_ITEMS: usize = 1024;

/// One setting of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PolicyItem {
    /// A regular file.
    File {
        /// The path of the file.
        path: SafePath,
        /// The content of the file.
        content: FileContent,
        /// Permission bits; `"0644"` if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<FileMode>,
        /// The owner; `root` if absent. The user must exist.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<UserName>,
        /// The group; `root` if absent. The group must exist.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<UserName>,
        /// Required for an item that gives power over the whole device ([`protected`]).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        privileged: bool,
    },
    /// The state of a systemd unit that already exists.
    Unit {
        /// The name of the unit.
        name: UnitName,
        /// True if it starts at boot; unchanged if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enabled: Option<bool>,
        /// True if it runs now; unchanged if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        active: Option<bool>,
        /// True if it is impossible to start.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        masked: bool,
        /// As for a file.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        privileged: bool,
    },
    /// A kernel parameter, now and after every boot.
    Sysctl {
        /// The name of the parameter.
        key: SysctlKey,
        /// Its value.
        value: SysctlValue,
        /// As for a file.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        privileged: bool,
    },
    /// The host name.
    Hostname {
        /// The name.
        name: Hostname,
    },
    /// The time zone.
    TimeZone {
        /// The zone.
        zone: TimeZone,
    },
    /// A certificate authority that the whole system trusts.
    CaCertificate {
        /// The file's name below `/usr/local/share/ca-certificates`.
        name: CertificateName,
        /// One PEM certificate.
        pem: String,
    },
    /// The SSH keys that may log in as a user: exactly these.
    AuthorizedKeys {
        /// The user, who must exist.
        user: UserName,
        /// Lines of an `authorized_keys` file (sshd(8)).
        keys: Vec<String>,
        /// As for a file: a login as root gives power over the whole device.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        privileged: bool,
    },
    /// A network profile. Understood, but not installed by this version: the payload is refused.
    NetworkProfile {
        /// The name of the profile.
        name: CertificateName,
    },
    /// A Debian package in exactly one version, from an artifact.
    Package {
        /// The name of the package.
        name: PackageName,
        /// The version of the package.
        version: VersionText,
        /// The `.deb`.
        artifact: Artifact,
    },
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FileContent {
    /// A text.
    Text(String),
    /// Bytes in base64.
    Base64(Bytes),
    /// The bytes of an artifact.
    Artifact(Artifact),
}

/// The subject of an item. Two items with the same subject contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceKey(String);

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason why a policy cannot be installed on any device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// More items than a payload may hold.
    #[error("expected at most {MAX_POLICY_ITEMS} policy items, found {0}")]
    TooMany(usize),
    /// Two items with the same subject.
    #[error("two policy items about {0}")]
    Contradiction(ResourceKey),
    /// A key that is not one line, or a certificate that is not one PEM block.
    #[error("{item} holds {problem}")]
    Malformed {
        /// The item.
        item: ResourceKey,
        /// The problem, in words.
        problem: &'static str,
    },
    /// An item about something that no policy reaches.
    #[error("{item} belongs to {holder}, and a policy must not touch it")]
    Reserved {
        /// The item.
        item: ResourceKey,
        /// The owner of its subject.
        holder: &'static str,
    },
    /// An item that gives power over the whole device without saying so.
    #[error("{item} decides {decides}: add `\"privileged\": true` to the item if that is meant")]
    NotPrivileged {
        /// The item.
        item: ResourceKey,
        /// The matter that such an item decides.
        decides: &'static str,
    },
    /// An item that this version cannot install.
    #[error("{0} cannot be installed by this version of the agent")]
    Unsupported(ResourceKey),
}

impl PolicyItem {
    /// Returns the subject of this item.
    #[must_use]
    pub fn key(&self) -> ResourceKey {
        ResourceKey(match self {
            Self::File { path, .. } => format!("file {path}"),
            Self::Unit { name, .. } => format!("unit {name}"),
            Self::Sysctl { key, .. } => format!("sysctl {key}"),
            Self::Hostname { .. } => "hostname".to_owned(),
            Self::TimeZone { .. } => "time zone".to_owned(),
            Self::CaCertificate { name, .. } => format!("CA certificate {name}"),
            Self::AuthorizedKeys { user, .. } => format!("authorised keys of {user}"),
            Self::NetworkProfile { name } => format!("network profile {name}"),
            Self::Package { name, .. } => format!("package {name}"),
        })
    }

    /// Returns the artifact that it needs, if any.
    #[must_use]
    pub const fn artifact(&self) -> Option<&Artifact> {
        match self {
            Self::Package { artifact, .. } | Self::File { content: FileContent::Artifact(artifact), .. } => {
                Some(artifact)
            }
            _ => None,
        }
    }

    /// Returns true if the item says that it may have power over the whole device.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        match self {
            Self::File { privileged, .. }
            | Self::Unit { privileged, .. }
            | Self::Sysctl { privileged, .. }
            | Self::AuthorizedKeys { privileged, .. } => *privileged,
            _ => false,
        }
    }

    /// Checks the item's reach; the device does so again where links lead.
    ///
    /// # Errors
    /// [`InvalidPolicy::Reserved`] and [`InvalidPolicy::NotPrivileged`].
    pub fn check_reach(&self, reach: Reach) -> Result<(), InvalidPolicy> {
        match reach {
            Reach::Never(holder) => Err(InvalidPolicy::Reserved { item: self.key(), holder }),
            Reach::Privileged(decides) if !self.is_privileged() => {
                Err(InvalidPolicy::NotPrivileged { item: self.key(), decides })
            }
            Reach::Open | Reach::Privileged(_) => Ok(()),
        }
    }

    fn reach(&self) -> Reach {
        match self {
            Self::File { path, .. } => protected::reach_of_path(path.as_str()),
            Self::Unit { name, .. } => protected::reach_of_unit(name.as_str()),
            Self::Sysctl { key, .. } => protected::reach_of_sysctl(key.as_str()),
            Self::AuthorizedKeys { user, .. } => protected::reach_of_login(user.as_str() == "root"),
            _ => Reach::Open,
        }
    }

    /// Checks the text of a unit file in the item; the device does so again with the file that it
    /// fetched, and where links lead.
    ///
    /// # Errors
    /// [`InvalidPolicy::Malformed`] and [`InvalidPolicy::NotPrivileged`].
    pub fn check_unit_file(&self, text: &str) -> Result<(), InvalidPolicy> {
        let malformed = |problem| Err(InvalidPolicy::Malformed { item: self.key(), problem });
        if text.len() > MAX_UNIT_FILE_BYTES {
            return malformed("a unit file of more than 64 KiB");
        }
        if protected::own_unit_in(text).is_some() {
            return malformed("a unit file that would replace, stop or hold up a unit of Unbox");
        }
        match protected::replaced_target_in(text) {
            Some(_) => self.check_reach(Reach::Privileged("whether the device starts and stays up")),
            None => Ok(()),
        }
    }

    /// Returns the text of a unit file or drop-in, if the item is one.
    fn unit_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::File { path, content, .. } if protected::is_unit_file(path.as_str()) => match content {
                FileContent::Text(text) => Some(Cow::Borrowed(text)),
                FileContent::Base64(bytes) => Some(String::from_utf8_lossy(bytes.as_ref())),
                FileContent::Artifact(_) => None,
            },
            _ => None,
        }
    }

    fn check(&self) -> Result<(), InvalidPolicy> {
        self.check_reach(self.reach())?;
        let malformed = |problem| Err(InvalidPolicy::Malformed { item: self.key(), problem });
        match self {
            Self::NetworkProfile { .. } => Err(InvalidPolicy::Unsupported(self.key())),
            Self::AuthorizedKeys { keys, .. } => {
                let one_line = |key: &String| !key.trim().is_empty() && !key.contains(['\n', '\r', '\0']);
                if keys.iter().all(one_line) { Ok(()) } else { malformed("a key that is not one line") }
            }
            Self::CaCertificate { pem, .. } => {
                let blocks = pem.matches("-----BEGIN CERTIFICATE-----").count();
                if blocks == 1 && pem.contains("-----END CERTIFICATE-----") && !pem.contains("PRIVATE KEY") {
                    Ok(())
                } else {
                    malformed("something other than one PEM certificate")
                }
            }
            Self::Unit { enabled, active, masked: true, .. }
                if *enabled == Some(true) || *active == Some(true) =>
            {
                malformed("a masked unit that is to be enabled or active")
            }
            _ => self.unit_text().map_or(Ok(()), |text| self.check_unit_file(&text)),
        }
    }
}

/// Checks that a DPC's unit is its own: neither one of Unbox's nor one that a device needs to start.
///
/// # Errors
/// [`InvalidPolicy::Reserved`].
pub fn check_dpc(dpc: &Dpc) -> Result<(), InvalidPolicy> {
    let Some(unit) = &dpc.unit else { return Ok(()) };
    let holder = match protected::reach_of_unit(unit.as_str()) {
        Reach::Open => return Ok(()),
        Reach::Privileged(_) => "the system",
        Reach::Never(holder) => holder,
    };
    Err(InvalidPolicy::Reserved { item: ResourceKey(format!("unit {unit}")), holder })
}

/// Names the items that may have power over the whole device, for the audit.
#[must_use]
pub fn privileged_items(policy: &[PolicyItem]) -> Vec<String> {
    policy.iter().filter(|item| item.is_privileged()).map(|item| item.key().to_string()).collect()
}

/// Checks the rules that the types cannot express: the number of items, contradictions, and their texts.
///
/// # Errors
/// [`InvalidPolicy`] for the first item that is wrong.
pub fn check_policy(policy: &[PolicyItem]) -> Result<(), InvalidPolicy> {
    if policy.len() > MAX_POLICY_ITEMS {
        return Err(InvalidPolicy::TooMany(policy.len()));
    }
    let mut seen = BTreeSet::new();
    for item in policy {
        item.check()?;
        let key = item.key();
        if !seen.insert(key.clone()) {
            return Err(InvalidPolicy::Contradiction(key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(json: &str) -> Vec<PolicyItem> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_item_reads_and_writes_the_same() {
        let json = r#"[
            {"type":"file","path":"/etc/motd","content":{"text":"hello\n"},"mode":"0640"},
            {"type":"file","path":"/etc/raw","content":{"base64":"AAEC"}},
            {"type":"unit","name":"ssh.service","enabled":true,"active":true},
            {"type":"sysctl","key":"net.ipv4.ip_forward","value":"1"},
            {"type":"hostname","name":"kiosk-1"},
            {"type":"time_zone","zone":"Europe/Zurich"},
            {"type":"authorized_keys","user":"root","keys":["ssh-ed25519 AAAA admin@acme"],"privileged":true}
        ]"#;
        let policy = items(json);
        check_policy(&policy).unwrap();
        assert_eq!(items(&serde_json::to_string(&policy).unwrap()), policy);
    }

    #[test]
    fn unknown_items_and_fields_are_refused() {
        for bad in [
            r#"[{"type":"script","run":"rm -rf /"}]"#,
            r#"[{"type":"hostname","name":"a","also":1}]"#,
            r#"[{"type":"file","path":"/../etc/x","content":{"text":""}}]"#,
            r#"[{"type":"file","path":"/etc/x","content":{"text":"","base64":""}}]"#,
        ] {
            assert!(serde_json::from_str::<Vec<PolicyItem>>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_of_unbox_is_in_reach_of_a_policy() {
        for (item, message) in [
            (
                r#"{"type":"unit","name":"unbox-install.service","active":false}"#,
                "unit unbox-install.service belongs to Unbox, and a policy must not touch it",
            ),
            (
                r#"{"type":"unit","name":"unbox.target","active":false,"privileged":true}"#,
                "unit unbox.target belongs to Unbox, and a policy must not touch it",
            ),
            (
                r#"{"type":"file","path":"/opt/unbox/dpc/acme/x","content":{"text":""},"privileged":true}"#,
                "file /opt/unbox/dpc/acme/x belongs to Unbox's DPCs, and a policy must not touch it",
            ),
            (
                r#"{"type":"file","path":"/etc/systemd/system/a.service","content":{"text":"[Install]\nAlias=unbox.target"}}"#,
                "file /etc/systemd/system/a.service holds a unit file that would replace, stop or hold up a unit of Unbox",
            ),
            (
                r#"{"type":"file","path":"/etc/systemd/system/a.service","content":{"base64":"Q29uZmxpY3RzPVwKdW5ib3gudGFyZ2V0"}}"#,
                "file /etc/systemd/system/a.service holds a unit file that would replace, stop or hold up a unit of Unbox",
            ),
        ] {
            assert_eq!(check_policy(&items(&format!("[{item}]"))).unwrap_err().to_string(), message);
        }
        let named = r#"[{"type":"file","path":"/etc/systemd/system.control/unbox-install.service.d/x","content":{"text":""}}]"#;
        assert!(serde_json::from_str::<Vec<PolicyItem>>(named).is_err());
    }

    #[test]
    fn power_over_the_device_needs_its_word() {
        for (item, decides) in [
            (r#"{"type":"file","path":"/etc/sudoers.d/a","content":{"text":""}}"#, "who becomes root"),
            (r#"{"type":"unit","name":"dbus.service","masked":true}"#, "whether the device starts"),
            (r#"{"type":"unit","name":"multi-user.target","masked":true}"#, "whether the device starts"),
            (r#"{"type":"unit","name":"timers.target","active":false}"#, "whether the device starts"),
            (
                r#"{"type":"file","path":"/etc/systemd/system/a.target","content":{"text":"[Install]\nAlias=default.target"}}"#,
                "whether the device starts",
            ),
            (r#"{"type":"authorized_keys","user":"root","keys":[]}"#, "who becomes root"),
            (r#"{"type":"sysctl","key":"kernel.core_pattern","value":"|/x"}"#, "what the kernel runs"),
        ] {
            let refused = check_policy(&items(&format!("[{item}]"))).unwrap_err().to_string();
            assert!(refused.contains(decides) && refused.contains(r#""privileged": true"#), "{refused}");
            let with_word = item.replacen('{', r#"{"privileged":true,"#, 1);
            let policy = items(&format!("[{with_word}]"));
            assert_eq!(check_policy(&policy), Ok(()));
            assert!(policy[0].is_privileged());
            assert_eq!(items(&serde_json::to_string(&policy).unwrap()), policy);
        }
    }

    #[test]
    fn a_dpc_has_no_unit_of_the_systems() {
        let artifact = Artifact { sha256: crate::digest::Sha256::of(b""), size: 0, url: None };
        for (unit, refused) in [
            ("acme.service", None),
            (
                "unbox-install.service",
                Some("unit unbox-install.service belongs to Unbox, and a policy must not touch it"),
            ),
            (
                "multi-user.target",
                Some("unit multi-user.target belongs to the system, and a policy must not touch it"),
            ),
        ] {
            let dpc = serde_json::json!({"name": "acme", "version": "1", "kind": "tar", "unit": unit, "artifact": artifact});
            let checked = check_dpc(&serde_json::from_value(dpc).unwrap());
            assert_eq!(checked.err().map(|error| error.to_string()).as_deref(), refused, "{unit}");
        }
    }

    #[test]
    fn contradictions_and_broken_texts_are_named() {
        for (json, message) in [
            (
                r#"[{"type":"hostname","name":"a"},{"type":"hostname","name":"b"}]"#,
                "two policy items about hostname",
            ),
            (
                r#"[{"type":"authorized_keys","user":"ada","keys":["a\nb"]}]"#,
                "authorised keys of ada holds a key that is not one line",
            ),
            (
                r#"[{"type":"ca_certificate","name":"x","pem":"no"}]"#,
                "CA certificate x holds something other than one PEM certificate",
            ),
            (
                r#"[{"type":"unit","name":"a.service","masked":true,"active":true}]"#,
                "unit a.service holds a masked unit that is to be enabled or active",
            ),
            (
                r#"[{"type":"network_profile","name":"wifi"}]"#,
                "network profile wifi cannot be installed by this version of the agent",
            ),
        ] {
            assert_eq!(check_policy(&items(json)).unwrap_err().to_string(), message);
        }
    }
}
