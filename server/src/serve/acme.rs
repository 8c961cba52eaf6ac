//! The server's certificate from an ACME authority (RFC 8555), which verifies the server on the server's
//! own port (RFC 8737).

use crate::{
    config::Acme,
    files::{self, PRIVATE_FILE},
    keys::Layout,
};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use url::Url;
use zeroize::Zeroizing;

/// The protocol of the authority's challenge (RFC 8737, section 4).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";
/// The largest account file, in bytes.
const MAX_ACCOUNT_BYTES: u64 = 16 * 1024;
/// The longest wait for the authority's verification, and then for the certificate.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(2));

/// The reason why no certificate was obtained.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// The authority is unreachable, or refuses.
    #[error("the authority issued no certificate")]
    Authority(#[from] instant_acme::Error),
    /// The authority does not offer this kind of challenge.
    #[error("the authority does not offer to ask on this server's own port (tls-alpn-01)")]
    NotOffered,
    /// The challenge failed.
    #[error("the authority has to reach this server by each of its names on port 443, and could not: {0}")]
    NotProven(String),
    /// The certificate for the challenge could not be made.
    #[error("the answer to the authority's question could not be made")]
    Answer(#[source] rcgen::Error),
    /// The certificate for the challenge could not be used.
    #[error("the answer to the authority's question cannot be shown")]
    Show(#[source] rustls::Error),
    /// The account could not be read or written.
    #[error(transparent)]
    Files(#[from] files::FilesError),
    /// The account file is malformed.
    #[error("{} does not hold an ACME account: remove it, and another is made", path.display())]
    Account {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// The certificate in TLS: the server's own, or the answer to an authority's challenge.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) own: Arc<CertifiedKey>,
    pub(super) answers: Arc<Answers>,
}

/// The answers to pending challenges, by name.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<BTreeMap<String, Arc<CertifiedKey>>>);

impl Answers {
    fn set(&self, name: String, answer: CertifiedKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, answer.into());
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == PROTOCOL));
        if asks { self.answers.get(hello.server_name()?) } else { Some(self.own.clone()) }
    }
}

/// Obtains a certificate for these names: private key and chain, in PEM. IP addresses among them are left
/// out.
pub(super) async fn obtain(
    acme: &Acme,
    layout: &Layout,
    names: &[String],
    answers: &Answers,
) -> Result<Zeroizing<String>, AcmeError> {
    let account = account(acme, layout).await?;
    let names = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    let identifiers: Vec<_> = names.map(|name| Identifier::Dns(name.clone())).collect();
    let issued = order(&account, &identifiers, answers).await;
    answers.clear();
    issued
}

async fn order(
    account: &Account,
    identifiers: &[Identifier],
    answers: &Answers,
) -> Result<Zeroizing<String>, AcmeError> {
    let mut order = account.new_order(&NewOrder::new(identifiers)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or(AcmeError::NotOffered)?;
        let name = challenge.identifier().to_string();
        let digest = challenge.key_authorization().digest().as_ref().to_vec();
        answers.set(name.clone(), make_answer(name, &digest)?);
        challenge.set_ready().await?;
    }
    if order.poll_ready(&PATIENCE).await? != OrderStatus::Ready {
        let why = order.state().error.as_ref().map(ToString::to_string);
        return Err(AcmeError::NotProven(why.unwrap_or_else(|| "it does not say why".to_owned())));
    }
    let key = Zeroizing::new(order.finalize().await?);
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(Zeroizing::new(format!("{}{chain}", *key)))
}

/// An account, and the authority that it is with.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptAccount {
    directory: Url,
    credentials: AccountCredentials,
}

/// Returns the account with the authority: the stored one, or a new one.
async fn account(acme: &Acme, layout: &Layout) -> Result<Account, AcmeError> {
    let builder = match &acme.root {
        Some(root) => Account::builder_with_root(root)?,
        None => Account::builder()?,
    };
    let path = layout.acme_account();
    if let Some(credentials) = read_account(&acme.directory, &path)? {
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact: Vec<_> = acme.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder.create(&new, acme.directory.to_string(), None).await?;
    let kept = KeptAccount { directory: acme.directory.clone(), credentials };
    let json =
        serde_json::to_vec(&kept).map_err(|source| AcmeError::Account { path: path.clone(), source })?;
    files::replace(&path, &Zeroizing::new(json), PRIVATE_FILE)?;
    Ok(account)
}

/// Returns the stored account, if there is one with this authority: it is worth nothing to any other.
fn read_account(directory: &Url, path: &Path) -> Result<Option<AccountCredentials>, AcmeError> {
    let Some(kept) = files::read(path, MAX_ACCOUNT_BYTES)?.map(Zeroizing::new) else { return Ok(None) };
    let kept: KeptAccount = serde_json::from_slice(&kept)
        .map_err(|source| AcmeError::Account { path: path.to_owned(), source })?;
    Ok((kept.directory == *directory).then_some(kept.credentials))
}

/// Makes the certificate that answers a challenge: it names the server and holds the digest (RFC 8737,
/// section 3).
fn make_answer(name: String, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
    let key = KeyPair::generate().map_err(AcmeError::Answer)?;
    let mut params = CertificateParams::new([name]).map_err(AcmeError::Answer)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(AcmeError::Answer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_ecdsa_type(&key).map_err(AcmeError::Show)?;
    Ok(CertifiedKey::new(vec![certificate.into()], key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_account_is_used_with_its_own_authority_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme-account.json");
        let [own, other]: [Url; 2] =
            ["https://a.example/dir", "https://b.example/dir"].map(|url| url.parse().unwrap());
        assert!(read_account(&own, &path).unwrap().is_none(), "there is none yet");
        let credentials = json!({"id": "https://a.example/1", "key_pkcs8": "AAAA", "directory": own});
        let kept = json!({"directory": own, "credentials": credentials}).to_string();
        files::replace(&path, kept.as_bytes(), PRIVATE_FILE).unwrap();
        assert!(read_account(&own, &path).unwrap().is_some());
        assert!(read_account(&other, &path).unwrap().is_none(), "the settings name another authority");
        assert_eq!(files::read(&path, MAX_ACCOUNT_BYTES).unwrap().unwrap(), kept.as_bytes());
        files::replace(&path, b"{}", PRIVATE_FILE).unwrap();
        let refused = read_account(&own, &path).err().unwrap().to_string();
        assert!(
            refused.ends_with("does not hold an ACME account: remove it, and another is made"),
            "{refused}"
        );
    }
}
