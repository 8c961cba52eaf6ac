//! Reads the sources of identifiers below any root directory, and queries the running system for data
//! that is in no file: the interfaces over netlink, the modems over D-Bus.

mod capture;
mod modems;
mod netlink;
mod reader;

pub use capture::{CaptureError, capture};

use super::{
    Candidate, Disagreement, Facts, MAX_SURVEY_BYTES, Place, Refused, State, Survey, SurveyFile, cpu,
    device_tree, modem,
    network::{self, Behind, Interface, Link},
    smbios::{self, Tables},
    tpm,
    vpd::{self, Pair, Partition},
};
use crate::{
    boot::{self, Layout},
    failure::{Diagnose, advice},
    files::{self, FilesError},
    handover,
    text::chain,
    tpm::{Tpm, TpmUse, endorsement},
};
use capture::Record;
use reader::{MAX_FIELD_BYTES, Reader};
use std::{error::Error as _, io, path::PathBuf};
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, IdentityError, Source},
    refusal::{Disposition, RefusalKind},
};

/// `ARPHRD_ETHER`: Ethernet and Wi-Fi, the interfaces whose address is a MAC address.
const ETHERNET: &str = "1";

/// `NET_ADDR_PERM` and `NET_ADDR_RANDOM` of `addr_assign_type` (linux/netdevice.h).
const ADDRESS_PERMANENT: &str = "0";
const ADDRESS_RANDOM: &str = "1";

/// Names in a capture for the three sources that are queried rather than read.
const NETLINK: &str = "netlink";
const MODEM_MANAGER: &str = "ModemManager";
const TPM: &str = "/dev/tpmrm0";

/// A failed hand-over between the process with access to the hardware and the one with the network.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The identity could not be written.
    #[error("the identity could not be handed over")]
    Write(#[source] FilesError),
    /// The folder could not be made, or the file could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Nothing was handed over.
    #[error("{} does not exist: `unbox-agent stage identity` writes it, as root", .0.display())]
    Absent(PathBuf),
    /// The file is damaged.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The file holds no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Diagnose for SurveyError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Identity(_) => "no_identity",
            _ => "device_state",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Identity(_) => Disposition::Fatal,
            _ => Disposition::Retry,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Identity(_) => RefusalKind::InvalidIdentifier.advice(),
            _ => advice::STATE,
        }
    }
}

/// Surveys the machine below `layout`'s root.
pub async fn survey(layout: &Layout) -> Survey {
    examine(layout).await.survey
}

/// A survey, with its raw input.
struct Examination {
    survey: Survey,
    record: Record,
}

async fn examine(layout: &Layout) -> Examination {
    let captured = Record::read(layout);
    let answered = match (&captured, layout.is_running_system()) {
        (Some(record), _) => record.interfaces.clone().map(Ok),
        (None, true) => Some(netlink::interfaces().await),
        (None, false) => None,
    };
    let mut reader = Reader::new(layout.root(), captured);
    let mut gathered = Gathered::default();
    gathered.read_firmware(&mut reader);
    let tpm = gathered.read_tpm(&mut reader, layout);
    gathered.read_network(&mut reader, answered.as_ref());
    let modems = gathered.read_modems(&mut reader, layout.is_running_system()).await;
    let Reader { unreadable, looked, files, links, .. } = reader;
    let Gathered { candidates, refused, disagreements, facts } = gathered;
    let survey =
        Survey { looked, disagreements, facts, ..Survey::from_candidates(candidates, refused, unreadable) };
    let interfaces = answered.and_then(Result::ok);
    let record = Record { interfaces, modems, tpm, files, links, ..Record::default() };
    Examination { survey, record }
}

/// Hands a survey to the network side: `/run/unbox/identity.json`.
///
/// # Errors
/// [`SurveyError`].
pub fn hand_over(layout: &Layout, survey: &Survey) -> Result<(), SurveyError> {
    files::make_directory(&layout.runtime(), files::PUBLIC_DIRECTORY)?;
    handover::write(layout, &layout.identity(), &SurveyFile::from(survey)).map_err(SurveyError::Write)
}

/// Reads the identity that was handed over, and applies the rules again.
///
/// # Errors
/// [`SurveyError`].
pub fn take_over(layout: &Layout) -> Result<HardwareIdentity, SurveyError> {
    let path = layout.identity();
    let bytes = files::read(&path, MAX_SURVEY_BYTES)?.ok_or_else(|| SurveyError::Absent(path.clone()))?;
    let file: SurveyFile = serde_json::from_slice(&bytes).map_err(|_| SurveyError::Damaged(path))?;
    Ok(HardwareIdentity::from_raw(&file.identity)?)
}

/// The findings so far, strongest source first.
#[derive(Default)]
struct Gathered {
    candidates: Vec<Candidate>,
    refused: Vec<Refused>,
    disagreements: Vec<Disagreement>,
    facts: Facts,
}

impl Gathered {
    fn read_firmware(&mut self, reader: &mut Reader<'_>) {
        let tables =
            reader.examine(Place::SmbiosTables, "the firmware of this machine has none", smbios_tables);
        let copy = reader.examine(Place::SmbiosFields, "the kernel of this machine has none", smbios_fields);
        let has_smbios = !tables.fields.is_empty() || !copy.is_empty();
        let (candidates, disagreements) = smbios::merge(&tables, &copy);
        self.candidates.extend(candidates);
        self.disagreements.extend(disagreements);
        self.facts.oem_strings = tables.oem_strings;

        let tree = reader.examine(Place::DeviceTree, "this machine has no device tree", device_tree);
        self.candidates.extend(tree);

        let pairs = reader.examine(Place::Vpd, "this machine has none", vital_product_data);
        self.candidates.extend(vpd::select(&pairs));
        self.facts.manufactured = vpd::fact(&pairs, vpd::Holds::Manufactured);
        self.facts.brand_code = vpd::fact(&pairs, vpd::Holds::BrandCode);
        let differing = reader.examine(Place::VpdPartition, "this machine has none", |reader| {
            compare_partitions(reader, &pairs)
        });
        self.disagreements.extend(differing);

        // On a PC, the kernel takes long to produce this file, and it holds no serial number.
        let without = if has_smbios { "only boards without SMBIOS are asked" } else { "it shows none" };
        let serial = reader.examine(Place::Cpu, without, |reader| {
            let cpuinfo = if has_smbios { None } else { reader.bytes(cpu::CPUINFO, cpu::MAX_CPUINFO_BYTES) };
            let serial = cpu::serial(&cpuinfo?);
            // Every machine has the file, so only a serial number counts as found.
            reader.set_found(serial.iter().count());
            serial
        });
        self.candidates.extend(serial);
    }

    /// Reads the TPM, unless the settings exclude it. Returns the digest of its endorsement key for a
    /// capture.
    fn read_tpm(&mut self, reader: &mut Reader<'_>, layout: &Layout) -> Option<Sha256> {
        let key = reader.examine(Place::Tpm, "this machine shows none", |reader| {
            let key = match &reader.captured {
                Some(record) => {
                    let noted = record.failure_at(TPM);
                    let key = record.tpm;
                    reader.unreadable.extend(noted);
                    key
                }
                // The settings are read only if there is a TPM to decide about.
                None if layout.tpm().try_exists().is_ok_and(|there| !there)
                    || boot::io::tpm_use(layout) == TpmUse::Never =>
                {
                    None
                }
                None => endorsement_key(reader, layout),
            };
            reader.count_found(key.iter().count());
            key
        });
        self.candidates.extend(key.map(|key| tpm::candidate(key, TPM.to_owned())));
        key
    }

    fn read_network(
        &mut self,
        reader: &mut Reader<'_>,
        answered: Option<&Result<Vec<Link>, rtnetlink::Error>>,
    ) {
        let is_pc = is_pc(&self.candidates);
        let interfaces =
            reader.examine(Place::Network, "this machine has no interface", |reader| match answered {
                Some(Ok(links)) => {
                    reader.count_found(links.len());
                    links.iter().map(|link| read_interface(reader, link, is_pc)).collect()
                }
                Some(Err(error)) => {
                    reader.record_failure(NETLINK, State::Failed, error);
                    read_sysfs_interfaces(reader, is_pc)
                }
                None => {
                    let noted = reader.captured.as_ref().and_then(|record| record.failure_at(NETLINK));
                    reader.unreadable.extend(noted);
                    read_sysfs_interfaces(reader, is_pc)
                }
            });
        let (addresses, refused) = network::classify(interfaces);
        self.candidates.extend(addresses);
        self.refused.extend(refused);
    }

    /// Reads the modems. Returns their answers for a capture.
    async fn read_modems(
        &mut self,
        reader: &mut Reader<'_>,
        is_running_system: bool,
    ) -> Option<Vec<modem::Modem>> {
        let is_pc = is_pc(&self.candidates);
        let told = reader.captured.as_ref().map(|record| record.modems.clone());
        let answered = match told {
            Some(modems) => modems.map(Ok),
            None if !modems::has_modem(reader) => None,
            None if is_running_system => Some(modems::query().await),
            None => Some(Err((State::Failed, "ModemManager runs on the machine itself".to_owned()))),
        };
        let modems = reader.examine(Place::Modem, "this machine shows none", |reader| match answered {
            Some(Ok(modems)) => {
                reader.count_found(modems.len());
                Some(modems)
            }
            Some(Err((state, reason))) => {
                reader.record_failure(MODEM_MANAGER, state, &reason);
                None
            }
            None => {
                let noted = reader.captured.as_ref().and_then(|record| record.failure_at(MODEM_MANAGER));
                reader.unreadable.extend(noted);
                None
            }
        });
        let known = modems.clone().unwrap_or_default();
        let placed = known.into_iter().map(|modem| {
            let behind = modem
                .device
                .as_deref()
                .map_or(Behind::Hardware, |device| classify_device(reader, device, is_pc));
            (modem, behind)
        });
        let (numbers, refused) = modem::classify(placed.collect());
        self.candidates.extend(numbers);
        self.refused.extend(refused);
        modems
    }
}

/// Returns the digest of the endorsement key, if the machine has a TPM.
fn endorsement_key(reader: &mut Reader<'_>, layout: &Layout) -> Option<Sha256> {
    let read = Tpm::open(&layout.tpm()).and_then(|tpm| tpm.map(|mut tpm| endorsement(&mut tpm)).transpose());
    read.map_or_else(
        |error| {
            let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            let is_denied = cause.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            let state = if is_denied { State::NotPermitted } else { State::Failed };
            reader.record_failure(TPM, state, &chain(&error));
            None
        },
        |endorsement| endorsement.map(|one| one.digest()),
    )
}

/// Returns true if SMBIOS describes the machine: its firmware then also marks removable devices.
fn is_pc(candidates: &[Candidate]) -> bool {
    candidates.iter().any(|one| one.source == Source::Smbios)
}

fn smbios_tables(reader: &mut Reader<'_>) -> Tables {
    let entry_point = reader.bytes(smbios::ENTRY_POINT, MAX_FIELD_BYTES);
    let table = reader.bytes(smbios::TABLE, smbios::MAX_TABLE_BYTES);
    let (Some(entry_point), Some(table)) = (entry_point, table) else {
        return Tables::default();
    };
    let tables = Tables::parse(&entry_point, &table);
    match &tables {
        None => reader.record_failure(smbios::ENTRY_POINT, State::Invalid, &"it is no entry point of SMBIOS"),
        Some(tables) if tables.is_cut_short => {
            reader.record_failure(smbios::TABLE, State::Invalid, &"a structure in it has no end");
        }
        Some(_) => {}
    }
    tables.unwrap_or_default()
}

fn smbios_fields(reader: &mut Reader<'_>) -> Vec<(&'static str, String)> {
    let read = smbios::FIELDS
        .iter()
        .filter_map(|(name, _)| Some((*name, reader.text(&format!("{}/{name}", smbios::FOLDER))?)));
    read.collect()
}

fn device_tree(reader: &mut Reader<'_>) -> Vec<Candidate> {
    for base in device_tree::ROOTS {
        let mut found = Vec::new();
        for property in device_tree::PROPERTIES {
            let from = format!("{base}/{property}");
            let said = reader.bytes(&from, MAX_FIELD_BYTES);
            let said = said.and_then(|bytes| device_tree::value(property, &bytes));
            found.extend(said.map(|(kind, value)| Candidate {
                kind,
                value,
                source: Source::DeviceTree,
                from,
            }));
        }
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn vital_product_data(reader: &mut Reader<'_>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for section in vpd::SECTIONS {
        for key in vpd::KEYS {
            let path = format!("{}/{section}/{}", vpd::FOLDER, key.name);
            if let Some(bytes) = reader.bytes(&path, MAX_FIELD_BYTES) {
                pairs.push(Pair::new(*key, section, &bytes));
            }
        }
    }
    pairs
}

fn compare_partitions(reader: &mut Reader<'_>, pairs: &[Pair]) -> Vec<Disagreement> {
    let mut differing = Vec::new();
    for section in vpd::SECTIONS {
        let path = vpd::partition_file(section);
        let Some(bytes) = reader.bytes(&path, vpd::MAX_PARTITION_BYTES) else { continue };
        match Partition::parse(&bytes) {
            Ok(partition) => differing.extend(vpd::compare(section, pairs, &partition)),
            Err(invalid) => reader.record_failure(&path, State::Invalid, &invalid),
        }
    }
    differing
}

/// Returns the interfaces of a machine without netlink: an address counts if the kernel marks it as
/// permanent.
fn read_sysfs_interfaces(reader: &mut Reader<'_>, is_pc: bool) -> Vec<Interface> {
    let mut interfaces = Vec::new();
    for name in reader.names("/sys/class/net") {
        let field = |field: &str| format!("/sys/class/net/{name}/{field}");
        if reader.text(&field("type")).as_deref() != Some(ETHERNET) {
            continue;
        }
        let assigned = reader.text(&field("addr_assign_type"));
        let own = [ADDRESS_PERMANENT, ADDRESS_RANDOM].map(Some).contains(&assigned.as_deref());
        let address = reader.text(&field("address"));
        let permanent = address.filter(|_| own);
        interfaces.push(read_interface(reader, &Link { name, permanent, kind: None }, is_pc));
    }
    interfaces
}

/// Returns the information of sysfs about the hardware behind a link.
fn read_interface(reader: &mut Reader<'_>, link: &Link, is_pc: bool) -> Interface {
    let name = link.name.clone();
    let software = Interface { name: name.clone(), ..Interface::default() };
    if link.kind.is_some() || name.contains('/') {
        return software;
    }
    let Some(device) = reader.link(&format!("/sys/class/net/{name}/device")) else {
        return software;
    };
    // A virtual function, handed to virtual machines, is not a card of its own.
    if reader.link(&format!("{device}/physfn")).is_some() {
        return software;
    }
    let assigned = reader.text(&format!("/sys/class/net/{name}/addr_assign_type"));
    let behind = classify_device(reader, &device, is_pc);
    let is_random = assigned.as_deref() == Some(ADDRESS_RANDOM);
    Interface { name, permanent: link.permanent.clone(), behind, is_random }
}

/// Classifies the hardware at a path of `/sys/devices`: any device on the way up may be marked as
/// removable.
fn classify_device(reader: &mut Reader<'_>, device: &str, is_pc: bool) -> Behind {
    let mut removable = Vec::new();
    let mut folder = device;
    while let Some((above, _)) = folder.rsplit_once('/').filter(|_| folder.len() > "/sys/devices".len()) {
        removable.extend(reader.text(&format!("{folder}/removable")));
        folder = above;
    }
    network::classify_hardware(device, &removable, is_pc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
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
        assert_eq!(survey.looked.len(), 9, "every place is accounted for: {:?}", survey.looked);
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
