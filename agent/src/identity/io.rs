//! Reads the sources of identifiers below any root directory, and the interfaces over netlink.

use super::{
    Candidate, MAX_SURVEY_BYTES, Survey, SurveyFile, Unreadable, device_tree,
    network::{self, Behind, Interface},
    smbios, tpm, vpd,
};
use crate::{
    boot::{self, Layout},
    files::{self, FilesError},
    handover::{self, HandoverError},
    tpm::{Tpm, TpmUse, endorsement},
};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkInfo, LinkMessage};
use std::{
    fs,
    path::{Path, PathBuf},
};
use unbox_common::identity::{HardwareIdentity, IdentityError, Source};

/// The largest file of sysfs, device tree or VPD that is read, in bytes.
const MAX_FIELD_BYTES: u64 = 4096;

/// Interfaces that are looked at; a machine with more has its identity in its firmware.
const MAX_INTERFACES: usize = 1024;

/// `ARPHRD_ETHER`: Ethernet and Wi-Fi, the interfaces whose address is a MAC address.
const ETHERNET: &str = "1";

/// `NET_ADDR_PERM` and `NET_ADDR_RANDOM` of `addr_assign_type` (linux/netdevice.h).
const ADDRESS_PERMANENT: &str = "0";
const ADDRESS_RANDOM: &str = "1";

/// The hand-over between the process that may read the hardware and the one that talks.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// It could not be written.
    #[error("the identity could not be handed over")]
    Write(#[source] HandoverError),
    /// The folder for it could not be made, or the file not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Nothing was handed over.
    #[error("{} does not exist: `unbox-agent stage identity` writes it, as root", .0.display())]
    Absent(PathBuf),
    /// It is damaged.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// It holds no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Looks at everything below `layout`'s root.
pub async fn survey(layout: &Layout) -> Survey {
    let mut reader = Reader { root: layout.root(), unreadable: Vec::new() };
    let mut candidates = reader.smbios();
    candidates.extend(reader.tpm(layout));
    candidates.extend(reader.device_tree());
    candidates.extend(reader.vpd());
    let interfaces = if layout.is_running_system() {
        match over_netlink(&mut reader).await {
            Ok(interfaces) => interfaces,
            Err(error) => {
                reader.note("netlink", &error);
                reader.interfaces_in_sysfs()
            }
        }
    } else {
        reader.interfaces_in_sysfs()
    };
    let (addresses, refused) = network::sorted(interfaces);
    candidates.extend(addresses);
    Survey::of(candidates, refused, reader.unreadable)
}

/// Hands a survey to the process that talks: `/run/unbox/identity.json`.
///
/// # Errors
/// [`SurveyError`].
pub fn hand_over(layout: &Layout, survey: &Survey) -> Result<(), SurveyError> {
    files::make_directory(&layout.runtime(), files::PUBLIC_DIRECTORY)?;
    handover::write(layout, &layout.identity(), &SurveyFile::from(survey)).map_err(SurveyError::Write)
}

/// Takes the identity that was handed over, and holds it against the rules again.
///
/// # Errors
/// [`SurveyError`].
pub fn take_over(layout: &Layout) -> Result<HardwareIdentity, SurveyError> {
    let path = layout.identity();
    let bytes = files::read(&path, MAX_SURVEY_BYTES)?.ok_or_else(|| SurveyError::Absent(path.clone()))?;
    let file: SurveyFile = serde_json::from_slice(&bytes).map_err(|_| SurveyError::Damaged(path))?;
    Ok(HardwareIdentity::from_raw(&file.identity)?)
}

/// Reads files below a root and remembers which ones it could not.
struct Reader<'a> {
    root: &'a Path,
    unreadable: Vec<Unreadable>,
}

impl Reader<'_> {
    fn note(&mut self, from: &str, error: &dyn std::error::Error) {
        let reason = error.source().unwrap_or(error).to_string();
        self.unreadable.push(Unreadable { from: from.to_owned(), reason });
    }

    fn bytes(&mut self, path: &str, limit: u64) -> Option<Vec<u8>> {
        match files::read(&self.root.join(path.trim_start_matches('/')), limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note(path, &error);
                None
            }
        }
    }

    fn text(&mut self, path: &str) -> Option<String> {
        self.bytes(path, MAX_FIELD_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn smbios(&mut self) -> Vec<Candidate> {
        let mut read = Vec::new();
        for (field, kind) in smbios::SYSFS_FIELDS {
            let from = format!("/sys/class/dmi/id/{field}");
            if let Some(value) = self.text(&from) {
                let candidate = Candidate { kind: *kind, value, source: Source::Smbios, from };
                read.push((*field, candidate));
            }
        }
        let mut candidates = smbios::chosen(read);
        let entry = self.bytes("/sys/firmware/dmi/tables/smbios_entry_point", MAX_FIELD_BYTES);
        let table = self.bytes("/sys/firmware/dmi/tables/DMI", smbios::MAX_TABLE_BYTES);
        if let (Some(entry), Some(table)) = (entry, table) {
            candidates.extend(smbios::from_tables(&entry, &table).unwrap_or_default());
        }
        candidates
    }

    /// The TPM, unless the settings say to leave it alone.
    fn tpm(&mut self, layout: &Layout) -> Option<Candidate> {
        let path = layout.tpm();
        if boot::io::tpm_use(layout) == TpmUse::Never {
            return None;
        }
        let read = Tpm::open(&path).and_then(|tpm| tpm.map(|mut tpm| endorsement(&mut tpm)).transpose());
        match read {
            Ok(endorsement) => endorsement.map(|one| tpm::candidate(&one, path.display().to_string())),
            Err(error) => {
                self.note(&path.display().to_string(), &error);
                None
            }
        }
    }

    fn device_tree(&mut self) -> Vec<Candidate> {
        // The second is a link to the first, but a captured machine may hold only that one.
        let bases = ["/sys/firmware/devicetree/base", "/proc/device-tree"];
        for base in bases {
            let mut found = Vec::new();
            for property in device_tree::PROPERTIES {
                let from = format!("{base}/{property}");
                if let Some(bytes) = self.bytes(&from, MAX_FIELD_BYTES) {
                    found.extend(device_tree::candidate(property, &bytes, from));
                }
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn vpd(&mut self) -> Vec<Candidate> {
        let mut read = Vec::new();
        for section in vpd::SECTIONS {
            for (key, kind) in vpd::KEYS {
                let from = format!("/sys/firmware/vpd/{section}/{key}");
                if let Some(bytes) = self.bytes(&from, MAX_FIELD_BYTES) {
                    read.push(vpd::candidate(*kind, &bytes, from));
                }
            }
        }
        vpd::chosen(read)
    }

    /// What sysfs knows about the hardware behind an interface.
    fn hardware(&mut self, name: &str) -> Interface {
        let device = self.root.join("sys/class/net").join(name).join("device");
        let assigned = self.text(&format!("/sys/class/net/{name}/addr_assign_type"));
        let behind = match device.canonicalize() {
            Err(_) => Behind::Software,
            Ok(device) if is_removable(&device) => Behind::Removable,
            Ok(_) => Behind::Hardware,
        };
        Interface {
            name: name.to_owned(),
            permanent: None,
            behind,
            is_random: assigned.as_deref() == Some(ADDRESS_RANDOM),
        }
    }

    /// Interfaces of a captured machine: the address counts where the kernel says that it is the
    /// permanent one.
    fn interfaces_in_sysfs(&mut self) -> Vec<Interface> {
        let Ok(entries) = fs::read_dir(self.root.join("sys/class/net")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .take(MAX_INTERFACES)
            .collect();
        names.sort_unstable();
        let mut interfaces = Vec::new();
        for name in names {
            let field = |name: &str, field: &str| format!("/sys/class/net/{name}/{field}");
            if self.text(&field(&name, "type")).as_deref() != Some(ETHERNET) {
                continue;
            }
            let assigned = self.text(&field(&name, "addr_assign_type"));
            let own = [ADDRESS_PERMANENT, ADDRESS_RANDOM].map(Some).contains(&assigned.as_deref());
            let address = self.text(&field(&name, "address"));
            interfaces.push(Interface { permanent: address.filter(|_| own), ..self.hardware(&name) });
        }
        interfaces
    }
}

/// A dock's or an adapter's interface: some device on the way up says that it can be unplugged.
fn is_removable(device: &Path) -> bool {
    device.ancestors().any(|folder| {
        files::read(&folder.join("removable"), 64)
            .is_ok_and(|text| text.is_some_and(|text| text.starts_with(b"removable")))
    })
}

/// The interfaces of the running system: `IFLA_PERM_ADDRESS` is the address that the hardware
/// carries, whatever a bond or a user has set since.
async fn over_netlink(reader: &mut Reader<'_>) -> Result<Vec<Interface>, rtnetlink::Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| rtnetlink::Error::NamespaceError(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    connection.abort();
    let interfaces =
        links.into_iter().take(MAX_INTERFACES).filter_map(|link| of_link(reader, &link)).collect();
    Ok(interfaces)
}

fn of_link(reader: &mut Reader<'_>, link: &LinkMessage) -> Option<Interface> {
    let mut interface = Interface::default();
    let (mut permanent, mut is_virtual) = (None, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface = reader.hardware(name),
            LinkAttribute::PermAddress(bytes) => permanent = mac_address(bytes),
            LinkAttribute::LinkInfo(infos) => {
                is_virtual |= infos.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
            }
            _ => {}
        }
    }
    if is_virtual {
        interface.behind = Behind::Software;
    }
    (!interface.name.is_empty()).then_some(Interface { permanent, ..interface })
}

fn mac_address(bytes: &[u8]) -> Option<String> {
    let address: [u8; 6] = bytes.try_into().ok()?;
    Some(address.map(|byte| format!("{byte:02x}")).join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::identity::IdentifierKind;

    #[tokio::test]
    async fn the_running_system_shows_no_virtual_interface() {
        let survey = survey(&Layout::new("/")).await;
        let own: Vec<_> = survey
            .accepted
            .iter()
            .filter(|(one, _)| one.identifier.kind() == IdentifierKind::MacAddress)
            .collect();
        for (_, name) in own {
            assert!(Path::new("/sys/class/net").join(name).join("device").exists(), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_handed_over_is_held_against_the_rules_again() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        assert!(matches!(take_over(&layout), Err(SurveyError::Absent(_))));
        hand_over(&layout, &Survey::default()).unwrap();
        assert!(matches!(take_over(&layout), Err(SurveyError::Identity(IdentityError::NothingIdentifying))));
        let placeholder = br#"{"identity":[{"kind":"serial_number","value":"none","source":"smbios"}]}"#;
        files::replace(&layout.identity(), placeholder, 0o640).unwrap();
        assert!(matches!(take_over(&layout), Err(SurveyError::Identity(IdentityError::Invalid(_)))));
        files::replace(&layout.identity(), b"{", 0o640).unwrap();
        assert!(matches!(take_over(&layout), Err(SurveyError::Damaged(_))));
    }
}
