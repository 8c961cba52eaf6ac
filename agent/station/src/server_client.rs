//! The server, queried through a station's account.
//!
//! A query is about up to 500 devices at a time. Every answer is checked against the rules again, and
//! only text that is safe for a terminal is taken from it.

use super::{
    check::SurveyedUnit,
    units::Registry,
    verdict::{Finding, Reason, Verdict},
    wording::kind_name,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use unbox_agent::{
    boot::{BootError, Trust, io::read_trust},
    clock::{self, TrustedTime},
    failure::Failure,
    files::{self, FilesError},
    http::{Client, ClientError, ClientSettings, Patience},
    text::{chain, plain},
};
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind},
    ids::CompanyId,
    secret::Secret,
    trust::{Signed, SigningRoot},
};
use url::Url;

/// The most devices in one request.
pub const MAX_DEVICES: usize = 500;
/// The largest answer, in bytes: a few hundred for each identifier of each device.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The longest API key, including its line ending.
const MAX_KEY_FILE_BYTES: u64 = 4096;
/// The longest text from the server that is shown, in bytes.
const MAX_PROBLEM_BYTES: usize = 512;
/// The credential with the API key, used if no file is named.
pub const KEY_CREDENTIAL: &str = "unbox.station-key";

/// Advice about a unit whose server could not be asked, if the query is not repeated.
const TEST_AGAIN: &str = "Check the network and the station's account, and test the unit again.";

/// The server's address, and the station's account on it.
#[derive(Debug, Clone)]
pub struct ServerClientSettings {
    /// The server's address.
    pub server: Url,
    /// The organisation: `partners/7` or `customers/12`.
    pub organisation: String,
    /// A file with the API key; the credential `unbox.station-key` if there is none.
    pub key_file: Option<PathBuf>,
    /// The folder of the trust bundle, with `anchors.pem` and `root.json`.
    pub trust: PathBuf,
}

/// The reason why the server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerClientError {
    /// The server's address is invalid.
    #[error("the server's address {0} cannot be used: expected a form like https://enroll.example.com")]
    Address(Url),
    /// The organisation's name is invalid.
    #[error("the organisation {0:?} cannot be used: expected partners/ or customers/ and its number")]
    Organisation(String),
    /// There is no API key.
    #[error("no API key: name a file with --key-file, or give the credential {KEY_CREDENTIAL}")]
    NoKey,
    /// Everybody can read the API key.
    #[error("{} can be read by everybody: its permissions must be 0600", .0.display())]
    Exposed(PathBuf),
    /// The file does not hold an API key.
    #[error("{} holds no API key", .0.display())]
    NotAKey(PathBuf),
    /// A file could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The trust bundle is unusable.
    #[error(transparent)]
    Trust(#[from] BootError),
    /// The client could not be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The runtime could not be started.
    #[error("could not start the runtime")]
    Runtime(#[source] io::Error),
    /// The connection failed, or the server did not answer correctly.
    #[error(transparent)]
    Asked(Box<Failure>),
    /// The request could not be serialized.
    #[error("could not write the request")]
    Request(#[source] serde_json::Error),
    /// The server refused: its sentence, without the full stop.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server's answer does not fit the question.
    #[error("the server's answer {0}; ask an administrator whether server and station fit together")]
    Answer(&'static str),
}

/// A connection to the server for a station.
pub struct ServerClient {
    client: Client,
    server: Url,
    organisation: String,
    key: Secret,
    runtime: tokio::runtime::Runtime,
}

/// The server's knowledge of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standing {
    #[serde(rename = "standing")]
    word: String,
    owner_company_id: Option<String>,
    matched: Vec<Named>,
    missing: Vec<Named>,
    duplicate: String,
    problem: String,
}

/// The result of registering a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Registration {
    /// One word: `REGISTERED`, `UPDATED`, `ALREADY_REGISTERED` or `REFUSED`.
    pub state: String,
    /// Id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<String>,
    /// Id of the claimed device with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The fault, with advice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    kind: String,
    value: String,
}

#[derive(Serialize)]
struct Devices {
    devices: Vec<Device>,
}

#[derive(Serialize)]
struct Device {
    identifiers: Vec<Named>,
}

#[derive(Deserialize)]
struct Results<T> {
    #[serde(default = "Vec::new")]
    results: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustBundle {
    #[serde(default)]
    newer_roots: Vec<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: RefusedStatus,
}

#[derive(Deserialize)]
struct RefusedStatus {
    message: String,
}

impl Registration {
    /// Returns true if the device is on record now.
    #[must_use]
    pub fn is_on_record(&self) -> bool {
        ["REGISTERED", "UPDATED", "ALREADY_REGISTERED"].contains(&self.state.as_str())
    }
}

impl ServerClientError {
    /// Formats the whole reason, safe for a terminal.
    #[must_use]
    pub fn reason(&self) -> String {
        plain(&chain(self), MAX_PROBLEM_BYTES)
    }
}

impl ServerClient {
    /// Reads key and trust, and builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ServerClientError`].
    pub fn open(
        settings: &ServerClientSettings,
        credentials: Option<&Path>,
    ) -> Result<Self, ServerClientError> {
        let ServerClientSettings { server, organisation, key_file, trust } = settings;
        let plain = server.scheme() == "https" && server.query().is_none() && server.fragment().is_none();
        if !plain || server.cannot_be_a_base() || !server.username().is_empty() {
            return Err(ServerClientError::Address(server.clone()));
        }
        let number = organisation.strip_prefix("partners/").or(organisation.strip_prefix("customers/"));
        if number.is_none_or(|number| number.parse::<CompanyId>().is_err()) {
            return Err(ServerClientError::Organisation(organisation.clone()));
        }
        let in_credentials = credentials.map(|folder| folder.join(KEY_CREDENTIAL));
        let key_file = key_file.clone().or(in_credentials).ok_or(ServerClientError::NoKey)?;
        let key = api_key(&key_file)?;
        let trust: Trust = read_trust(trust)?;
        let time = TrustedTime::weigh(clock::system(), clock::build_date(), None);
        let patience = Patience::default();
        let client = Client::new(&ClientSettings {
            anchors: &trust.anchors,
            time,
            proxy: None,
            certificate: None,
            patience,
            pacer: None,
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServerClientError::Runtime)?;
        Ok(Self { client, server: server.clone(), organisation: organisation.clone(), key, runtime })
    }

    /// Asks about the claims of all units that have an identity, and adds the answers to them.
    ///
    /// # Errors
    /// [`ServerClientError`]; then no answer is added.
    pub fn check<'u>(
        &self,
        units: impl IntoIterator<Item = &'u mut SurveyedUnit>,
    ) -> Result<(), ServerClientError> {
        let known = units.into_iter().filter_map(|unit| Some((unit.identity()?.clone(), unit)));
        let (devices, units): (Vec<HardwareIdentity>, Vec<&mut SurveyedUnit>) = known.unzip();
        let standings: Vec<Standing> = self.query("check", &devices)?;
        units.into_iter().zip(&standings).for_each(|(unit, standing)| standing.apply_to(unit));
        Ok(())
    }

    /// Registers devices; repeating it changes nothing. Returns the results in their order.
    ///
    /// # Errors
    /// [`ServerClientError`]; it is then unknown whether they are registered, and a repetition finds out.
    pub fn register(&self, devices: &[HardwareIdentity]) -> Result<Vec<Registration>, ServerClientError> {
        let mut results: Vec<Registration> = self.query("register", devices)?;
        for one in &mut results {
            one.problem = plain(&one.problem, MAX_PROBLEM_BYTES);
        }
        Ok(results)
    }

    /// Returns the signing roots of the server after version `known`, oldest first. They are not verified
    /// yet.
    ///
    /// # Errors
    /// [`ServerClientError`].
    pub fn roots_after(&self, known: u64) -> Result<Vec<Signed<SigningRoot>>, ServerClientError> {
        let method = format!("trustBundle?knownRootVersion={known}");
        let answer = self.runtime.block_on(self.call(&method, None))?;
        let read =
            |bundle: TrustBundle| bundle.newer_roots.iter().map(|one| serde_json::from_str(one)).collect();
        let roots: Result<_, serde_json::Error> = serde_json::from_slice(&answer).and_then(read);
        roots.map_err(|_| ServerClientError::Answer("cannot be read"))
    }

    fn query<T: DeserializeOwned>(
        &self,
        method: &str,
        devices: &[HardwareIdentity],
    ) -> Result<Vec<T>, ServerClientError> {
        let mut results = Vec::with_capacity(devices.len());
        for part in devices.chunks(MAX_DEVICES) {
            let answer = self.runtime.block_on(self.query_part(method, part))?;
            let Results { results: part_results } = serde_json::from_slice::<Results<T>>(&answer)
                .map_err(|_| ServerClientError::Answer("cannot be read"))?;
            if part_results.len() != part.len() {
                return Err(ServerClientError::Answer("leaves devices out"));
            }
            results.extend(part_results);
        }
        Ok(results)
    }

    async fn query_part(
        &self,
        method: &str,
        devices: &[HardwareIdentity],
    ) -> Result<Vec<u8>, ServerClientError> {
        let devices = devices.iter().map(device).collect();
        let message = serde_json::to_vec(&Devices { devices }).map_err(ServerClientError::Request)?;
        self.call(&format!("devices:{method}"), Some(message)).await
    }

    /// Calls a method of the organisation.
    async fn call(&self, method: &str, message: Option<Vec<u8>>) -> Result<Vec<u8>, ServerClientError> {
        let asked = |failure| ServerClientError::Asked(Box::new(failure));
        let path = format!("v1/{}/{method}", self.organisation);
        let to = self.server.join(&path).map_err(|_| ServerClientError::Address(self.server.clone()))?;
        let (status, answer) =
            self.client.call(to, &self.key, message, MAX_ANSWER_BYTES).await.map_err(asked)?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let said = serde_json::from_slice::<Refused>(&answer).ok();
        let said = said.map_or_else(|| format!("status {status}"), |refused| refused.error.message);
        Err(ServerClientError::Refused(plain(said.trim_end_matches('.'), MAX_PROBLEM_BYTES)))
    }
}

impl Registry for ServerClient {
    fn ask(&mut self, units: &mut [SurveyedUnit]) {
        if let Err(error) = self.check(&mut *units) {
            let reason = error.reason();
            let known = units.iter_mut().filter(|unit| unit.identity().is_some());
            known.for_each(|unit| unit.mark_unasked(&reason, TEST_AGAIN));
        }
    }
}

impl Standing {
    /// Returns the owner of the device, by the server's customer number.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner_company_id.as_deref()
    }

    /// Adds the server's answer to a unit.
    fn apply_to(&self, unit: &mut SurveyedUnit) {
        let finding = |reason, verdict, problem: &str, action: &str| {
            Finding::new(reason, verdict, plain(problem, MAX_PROBLEM_BYTES), action)
        };
        match self.word.as_str() {
            "CLAIMED" => unit.add_claim(identifiers(&self.matched)),
            "DIFFERS" => {
                let missing: Vec<Identifier> = identifiers(&self.missing).collect();
                if missing.is_empty() {
                    unit.add_finding(finding(
                        Reason::ClaimDiffers,
                        Verdict::Fail,
                        "A claim names parts of this unit, and others that it does not show.",
                        "Have the reseller correct the claim.",
                    ));
                }
                unit.add_claim(missing);
            }
            "NOT_CLAIMED" => unit.add_finding(finding(
                Reason::NotClaimed,
                Verdict::NeedsAttention,
                "Nobody has claimed this unit.",
                "Have it claimed before it is shipped, or it will not enroll.",
            )),
            "AMBIGUOUS" => unit.add_finding(finding(
                Reason::Ambiguous,
                Verdict::Fail,
                "Several customers have claimed this unit.",
                "Have all but one of the claims ended.",
            )),
            _ => unit.add_finding(finding(
                Reason::ServerUnavailable,
                Verdict::CouldNotCheck,
                &format!("The server cannot tell whose this unit is. {}", self.problem),
                "Ask an administrator.",
            )),
        }
        if let Ok(kind) = self.duplicate.parse::<IdentifierKind>() {
            let problem = format!(
                "Another unit was registered that shares parts with this one, and has another {}.",
                kind_name(kind)
            );
            let action = "Put it aside, and look for the part that belongs to another unit.";
            unit.add_finding(finding(Reason::Duplicate, Verdict::Fail, &problem, action));
        }
    }
}

/// Returns the server's identifiers that a survey can contain, which excludes keys.
fn identifiers(named: &[Named]) -> impl Iterator<Item = Identifier> {
    let parse = |one: &Named| Identifier::parse(one.kind.parse().ok()?, &one.value).ok();
    let keys = [IdentifierKind::DeviceKey, IdentifierKind::TpmKey];
    named.iter().filter_map(parse).filter(move |one| !keys.contains(&one.kind()))
}

fn device(identity: &HardwareIdentity) -> Device {
    let named =
        |one: &Identifier| Named { kind: one.kind().name().to_owned(), value: one.value().to_owned() };
    Device { identifiers: identity.observations().iter().map(|one| named(&one.identifier)).collect() }
}

/// Reads an API key that only its owner can read.
fn api_key(path: &Path) -> Result<Secret, ServerClientError> {
    let bytes = files::read(path, MAX_KEY_FILE_BYTES)?.ok_or(ServerClientError::NoKey)?;
    let text = Secret::new(String::from_utf8_lossy(&bytes).into_owned());
    let mode = fs::symlink_metadata(path)
        .map_err(|source| FilesError::Read { path: path.to_owned(), source })?
        .permissions()
        .mode();
    if mode & 0o007 != 0 {
        return Err(ServerClientError::Exposed(path.to_owned()));
    }
    let key = text.expose().trim();
    let good = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| Secret::new(key.to_owned())).ok_or_else(|| ServerClientError::NotAKey(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::gateway;

    #[test]
    fn what_the_server_knows_of_a_unit_counts() {
        for (json, verdict, reason) in [
            (
                r#"{"standing":"CLAIMED","matched":[{"kind":"serial_number","value":"S1"}]}"#,
                Verdict::Pass,
                None,
            ),
            (r#"{"standing":"NOT_CLAIMED"}"#, Verdict::NeedsAttention, Some(Reason::NotClaimed)),
            (
                r#"{"standing":"DIFFERS","missing":[{"kind":"model","value":"G4"}]}"#,
                Verdict::Fail,
                Some(Reason::Different),
            ),
            (r#"{"standing":"DIFFERS"}"#, Verdict::Fail, Some(Reason::ClaimDiffers)),
            (r#"{"standing":"AMBIGUOUS"}"#, Verdict::Fail, Some(Reason::Ambiguous)),
            (r#"{"standing":"CLAIMED","duplicate":"board_serial"}"#, Verdict::Fail, Some(Reason::Duplicate)),
            (r#"{"standing":"\u001b[2J"}"#, Verdict::CouldNotCheck, Some(Reason::ServerUnavailable)),
        ] {
            let mut unit = SurveyedUnit::new(&gateway("S1"), &[]);
            serde_json::from_str::<Standing>(json).unwrap().apply_to(&mut unit);
            let judged = unit.judge(String::new()).judged;
            assert_eq!(judged.verdict, verdict, "{json}");
            assert_eq!(judged.findings.first().map(|one| one.reason), reason, "{json}");
        }
    }

    #[test]
    fn an_office_that_could_not_be_trusted_is_refused_before_it_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        files::replace(&key, b"unbox_key\n", files::PUBLIC_FILE).unwrap();
        let settings = |server: &str, organisation: &str, key_file: Option<&Path>| ServerClientSettings {
            server: server.parse().unwrap(),
            organisation: organisation.to_owned(),
            key_file: key_file.map(Path::to_owned),
            trust: folder.path().to_owned(),
        };
        let (good, of) = ("https://enroll.example.com", "partners/7");
        let open = |settings: &ServerClientSettings| ServerClient::open(settings, None).err().unwrap();
        assert!(matches!(open(&settings("http://a.example", of, None)), ServerClientError::Address(_)));
        assert!(matches!(open(&settings("https://u@a.example", of, None)), ServerClientError::Address(_)));
        for organisation in ["partners/", "partners/7/../8", "operators/1", "7"] {
            assert!(matches!(open(&settings(good, organisation, None)), ServerClientError::Organisation(_)));
        }
        assert!(matches!(open(&settings(good, of, None)), ServerClientError::NoKey));
        assert!(matches!(open(&settings(good, of, Some(&key))), ServerClientError::Exposed(_)));
        files::replace(&key, b"two words\n", files::PRIVATE_FILE).unwrap();
        assert!(matches!(open(&settings(good, of, Some(&key))), ServerClientError::NotAKey(_)));
        files::replace(&key, b"unbox_key\n", files::PRIVATE_FILE).unwrap();
        assert!(matches!(open(&settings(good, of, Some(&key))), ServerClientError::Trust(_)));
    }
}
