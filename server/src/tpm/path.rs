//! The path from the certificate of an endorsement key to a manufacturer's root (RFC 5280, section 6).
//!
//! Libraries for TLS certificates do not fit: they do not know this purpose, and treat a root as a bare
//! key, whose own limits do not count.

use super::{
    TpmRoots,
    certificate::{Untraceable, read},
};
use unbox_common::timestamp::Timestamp;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, GeneralSubtree},
    oid_registry::{
        OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, Oid,
    },
    time::ASN1Time,
    x509::{AttributeTypeAndValue, X509Name},
};

/// The accepted signature methods. RSASSA-PSS is verified with SHA-256 or longer only.
const SIGNATURES: [Oid<'static>; 6] = [
    OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA,
    OID_PKCS1_SHA512WITHRSA,
    OID_PKCS1_RSASSAPSS,
    OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384,
];

/// Traces `own` through some of `issuers` to one of the roots.
///
/// # Errors
/// [`Untraceable`]: of all paths that were tried, the first reason other than a different issuer.
pub(super) fn trace(
    own: &X509Certificate<'_>,
    issuers: &[X509Certificate<'_>],
    roots: &TpmRoots,
    now: Timestamp,
) -> Result<(), Untraceable> {
    let now = i64::try_from(now.as_secs()).ok().and_then(|now| ASN1Time::from_timestamp(now).ok());
    let now = now.ok_or(Untraceable::OutsideItsTime)?;
    if !own.validity().is_valid_at(now) {
        return Err(Untraceable::OutsideItsTime);
    }
    Search { issuers, roots, now }.continue_path(&mut vec![own])
}

struct Search<'s> {
    issuers: &'s [X509Certificate<'s>],
    roots: &'s TpmRoots,
    now: ASN1Time,
}

impl<'s> Search<'s> {
    /// Continues from the last certificate of `path`. Several issuers may have the right name, such as an
    /// authority's old and new certificate: each is tried. No certificate is used twice, so that the search
    /// ends.
    fn continue_path(&self, path: &mut Vec<&'s X509Certificate<'s>>) -> Result<(), Untraceable> {
        let Some(last) = path.last().copied() else { return Err(Untraceable::UnknownRoot) };
        let mut reason = Untraceable::UnknownRoot;
        let mut note = |why| {
            if reason == Untraceable::UnknownRoot {
                reason = why;
            }
        };
        for root in self.roots.with_subject(last.issuer().as_raw()) {
            match read(root).map_err(Untraceable::from).and_then(|root| self.check(&root, path)) {
                Ok(()) => return Ok(()),
                Err(why) => note(why),
            }
        }
        for issuer in self.issuers.iter().filter(|issuer| issuer.subject() == last.issuer()) {
            if path.iter().any(|used| std::ptr::eq(*used, issuer)) {
                continue;
            }
            let climbed = self.check(issuer, path).and_then(|()| {
                path.push(issuer);
                let climbed = self.continue_path(path);
                path.pop();
                climbed
            });
            match climbed {
                Ok(()) => return Ok(()),
                Err(why) => note(why),
            }
        }
        Err(reason)
    }

    /// Checks that `issuer` issued the last certificate of `path`, and was allowed to.
    fn check(&self, issuer: &X509Certificate<'_>, path: &[&X509Certificate<'_>]) -> Result<(), Untraceable> {
        let [.., last] = path else { return Err(Untraceable::UnknownRoot) };
        // Both places must name the same method (RFC 5280, section 4.1.1.2): only one of them is signed.
        if last.signature_algorithm != last.tbs_certificate.signature
            || !SIGNATURES.contains(&last.signature_algorithm.algorithm)
        {
            return Err(Untraceable::Signature);
        }
        last.verify_signature(Some(issuer.public_key())).map_err(|_| Untraceable::UnknownRoot)?;
        if !issuer.validity().is_valid_at(self.now) {
            return Err(Untraceable::OutsideItsTime);
        }
        // The first of the path is the endorsement key's own certificate, the others are authorities.
        if may_issue(issuer, path.len() - 1) && path.iter().all(|below| names_are_allowed(issuer, below)) {
            Ok(())
        } else {
            Err(Untraceable::Forbidden)
        }
    }
}

/// Returns true if this certificate is that of an authority that may stand `passed` authorities above an end
/// entity.
fn may_issue(issuer: &X509Certificate<'_>, passed: usize) -> bool {
    let Ok(Some(constraints)) = issuer.basic_constraints() else { return false };
    let deep_enough = constraints
        .value
        .path_len_constraint
        .is_none_or(|longest| usize::try_from(longest).is_ok_and(|longest| passed <= longest));
    let signs = match issuer.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Err(_) => false,
    };
    constraints.value.ca && deep_enough && signs
}

/// Returns true if an authority's name constraints allow every name of a certificate below it. Only directory
/// names are understood: if names of another kind are constrained, none of that kind is allowed.
fn names_are_allowed(issuer: &X509Certificate<'_>, below: &X509Certificate<'_>) -> bool {
    let constraints = match issuer.name_constraints() {
        Ok(None) => return true,
        Ok(Some(constraints)) => constraints.value,
        Err(_) => return false,
    };
    let Ok(alternative) = below.subject_alternative_name() else { return false };
    let subject = GeneralName::DirectoryName(below.subject().clone());
    let has_subject = below.subject().iter().next().is_some();
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    has_subject.then_some(&subject).into_iter().chain(alternative).all(|name| {
        let of_its_kind = |tree: &&GeneralSubtree<'_>| is_same_kind(&tree.base, name);
        let is_in = |tree: &GeneralSubtree<'_>| is_within(name, &tree.base);
        let mut permitted = permitted.iter().filter(of_its_kind).peekable();
        let is_permitted = permitted.peek().is_none() || permitted.any(|tree| is_in(tree) == Some(true));
        is_permitted && excluded.iter().filter(of_its_kind).all(|tree| is_in(tree) == Some(false))
    })
}

fn is_same_kind(tree: &GeneralName<'_>, name: &GeneralName<'_>) -> bool {
    std::mem::discriminant(tree) == std::mem::discriminant(name)
}

/// Returns true if a name lies within a subtree; `None` if it is not understood.
fn is_within(name: &GeneralName<'_>, tree: &GeneralName<'_>) -> Option<bool> {
    let (GeneralName::DirectoryName(name), GeneralName::DirectoryName(tree)) = (name, tree) else {
        return None;
    };
    let mut parts = parts(name).into_iter();
    Some(self::parts(tree).into_iter().all(|part| parts.next() == Some(part)))
}

/// Returns the parts of a directory name, comparable largely as RFC 5280, section 7.1, requires: without
/// case and superfluous spaces.
fn parts(name: &X509Name<'_>) -> Vec<Vec<(String, Vec<u8>)>> {
    let part = |one: &AttributeTypeAndValue<'_>| {
        let value = one.as_str().map_or_else(
            |_| one.as_slice().to_vec(),
            |text| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().into_bytes(),
        );
        (one.attr_type().to_id_string(), value)
    };
    name.iter().map(|relative| relative.iter().map(part).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::EndorsementCertificate;
    use Untraceable::{Forbidden, OutsideItsTime, Signature, UnknownRoot};
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
        GeneralSubtree as Subtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
    };
    use unbox_common::bytes::Bytes;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// An authority: its key, and the contents of its certificate.
    struct Authority {
        key: KeyPair,
        params: CertificateParams,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            Self { key: KeyPair::generate().unwrap(), params }
        }

        fn with(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
            change(&mut self.params);
            self
        }

        fn root(&self) -> Vec<u8> {
            self.params.self_signed(&self.key).unwrap().der().to_vec()
        }

        fn issue(&self, below: &Self) -> Vec<u8> {
            let issuer = Issuer::from_params(&self.params, &self.key);
            below.params.signed_by(&below.key, &issuer).unwrap().der().to_vec()
        }

        fn endorse(&self, params: &CertificateParams) -> Vec<u8> {
            let issuer = Issuer::from_params(&self.params, &self.key);
            params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec()
        }
    }

    fn endorsement_params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme TPMs");
        params.distinguished_name.push(DnType::CommonName, "device");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params
    }

    fn trace_to_root(own: &[u8], issuers: &[Vec<u8>], roots: &[Vec<u8>]) -> Result<(), Untraceable> {
        let issuers: Vec<Bytes> = issuers.iter().cloned().map(Bytes).collect();
        let roots = TpmRoots::new(roots.to_vec()).unwrap();
        EndorsementCertificate::parse(own)?.trace(&issuers, &roots, NOW)
    }

    #[test]
    fn a_roots_own_limits_count() {
        let depth = |depth| {
            move |params: &mut CertificateParams| {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
            }
        };
        let middle = Authority::new("middle");
        let own = middle.endorse(&endorsement_params());
        for (root, expected) in [
            (Authority::new("root"), Ok(())),
            (Authority::new("root").with(depth(1)), Ok(())),
            (Authority::new("root").with(depth(0)), Err(Forbidden)),
            (
                Authority::new("root").with(|root| root.key_usages = vec![KeyUsagePurpose::CrlSign]),
                Err(Forbidden),
            ),
            (Authority::new("root").with(|root| root.is_ca = IsCa::ExplicitNoCa), Err(Forbidden)),
        ] {
            assert_eq!(trace_to_root(&own, &[root.issue(&middle)], &[root.root()]), expected);
        }
        let short = Authority::new("short").with(depth(0));
        assert_eq!(
            trace_to_root(&short.endorse(&endorsement_params()), &[], &[short.root()]),
            Ok(()),
            "no authority below it"
        );
        let root = Authority::new("root");
        let chain = [root.issue(&short), short.issue(&middle)];
        assert_eq!(
            trace_to_root(&own, &chain, &[root.root()]),
            Err(Forbidden),
            "an authority in between has limits too"
        );
    }

    #[test]
    fn of_several_issuers_with_one_name_the_right_one_is_found() {
        let root = Authority::new("root");
        let (middle, namesake) = (Authority::new("middle"), Authority::new("middle"));
        let own = middle.endorse(&endorsement_params());
        let expired = |authority: &Authority, by: &Authority| {
            let params = authority.params.clone();
            let key = KeyPair::from_pem(&authority.key.serialize_pem()).unwrap();
            by.issue(&Authority { key, params }.with(|old| old.not_after = rcgen::date_time_ymd(2020, 1, 1)))
        };
        let [good, other, old] = [root.issue(&middle), root.issue(&namesake), expired(&middle, &root)];
        let stranger = Authority::new("root");
        let cross = stranger.issue(&middle);
        for order in
            [[&other, &old, &cross, &good], [&good, &cross, &old, &other], [&cross, &other, &good, &old]]
        {
            let sent: Vec<_> = order.into_iter().cloned().collect();
            assert_eq!(trace_to_root(&own, &sent, &[stranger.root(), root.root()]), Ok(()));
            assert_eq!(trace_to_root(&own, &sent, &[root.root()]), Ok(()));
        }
        assert_eq!(trace_to_root(&own, std::slice::from_ref(&old), &[root.root()]), Err(OutsideItsTime));
        assert_eq!(trace_to_root(&own, std::slice::from_ref(&other), &[root.root()]), Err(UnknownRoot));
        // The same holds for configured ones, where an old and a new certificate are often side by side.
        assert_eq!(trace_to_root(&own, &[], &[other, old, good]), Ok(()));
    }

    #[test]
    fn name_constraints_of_every_authority_count() {
        let within = |names: &[(DnType, &str)]| {
            let mut name = rcgen::DistinguishedName::new();
            for (kind, value) in names {
                name.push(kind.clone(), *value);
            }
            Subtree::DirectoryName(name)
        };
        let acme = || within(&[(DnType::OrganizationName, "ACME  tpms")]);
        let other = || within(&[(DnType::OrganizationName, "Others")]);
        let dns = || Subtree::DnsName("example.com".to_owned());
        let limited = |permitted: Vec<Subtree>, excluded: Vec<Subtree>| {
            Authority::new("root").with(|root| {
                root.name_constraints =
                    Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
            })
        };
        let mut named = endorsement_params();
        named.subject_alt_names = vec![SanType::DnsName("tpm.example.com".try_into().unwrap())];
        for (root, own, expected) in [
            (limited(vec![acme()], vec![]), endorsement_params(), Ok(())),
            (limited(vec![other(), acme()], vec![]), endorsement_params(), Ok(())),
            (limited(vec![other()], vec![]), endorsement_params(), Err(Forbidden)),
            (limited(vec![], vec![acme()]), endorsement_params(), Err(Forbidden)),
            (limited(vec![], vec![other()]), endorsement_params(), Ok(())),
            (limited(vec![dns()], vec![]), endorsement_params(), Ok(())),
            (limited(vec![dns()], vec![]), named.clone(), Err(Forbidden)),
            (limited(vec![], vec![dns()]), named, Err(Forbidden)),
        ] {
            assert_eq!(trace_to_root(&root.endorse(&own), &[], &[root.root()]), expected);
            let middle = Authority::new("middle")
                .with(|middle| middle.distinguished_name = own.distinguished_name.clone());
            let below = trace_to_root(&middle.endorse(&own), &[root.issue(&middle)], &[root.root()]);
            assert_eq!(below, expected, "also over an authority in between");
        }
    }

    #[test]
    fn a_key_that_opens_nothing_is_no_endorsement_key() {
        let root = Authority::new("root");
        let mut signs = endorsement_params();
        signs.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        assert!(EndorsementCertificate::parse(&root.endorse(&signs)).is_err());
        let mut strange = endorsement_params();
        let mut critical = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
        critical.set_criticality(true);
        strange.custom_extensions = vec![critical];
        assert!(EndorsementCertificate::parse(&root.endorse(&strange)).is_err());
    }

    #[test]
    fn a_signature_with_sha_1_is_refused() {
        const ROOT: &[u8] = include_bytes!("../../tests/fixtures/tpm/sha1-root.der");
        const OWN: &[u8] = include_bytes!("../../tests/fixtures/tpm/sha1.der");
        assert_eq!(trace_to_root(OWN, &[], &[ROOT.to_vec()]), Err(Signature));
    }
}
