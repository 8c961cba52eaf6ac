//! Checks of stored data, which find problems before a device runs into them.

use crate::{
    domain::{
        claims::claim::{Claim, MANUFACTURE_DATE, Unusable},
        devices::token::TokenStanding,
        name::Name,
        tenancy::{
            actor::{Actor, Scope},
            company::CompanyKind,
        },
    },
    service::{ServiceError, Settings, Upkeep},
    store::{ArtifactsOf, ClaimFilter, CompanyFilter, ConnectionLimit, MAX_ROWS, Page, PageRequest, Reader},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
};
use unbox_common::{
    doubt::find_doubts,
    identity::{InvalidIdentifier, Rule},
    ids::CompanyId,
    models::Models,
    protocol::latest::ProofKind,
};

/// The maximum number of findings of one check that are listed; the rest is counted.
const MAX_FINDINGS: usize = 100;

const SHARE_ARTIFACTS: &str = " If another server of this database has it, let all of them use one artifact directory, on a \
     file system that they share and that locks files.";
const READ_ONLY: &str = "The database can only be read, so that no device can enroll: let the server's user write to its \
     file and directory, or make the standby the primary.";

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A hint.
    Note,
    /// A problem for which some device will be refused.
    Warning,
    /// A problem that keeps the server from working.
    Error,
}

/// Something that an administrator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The check that found it.
    pub check: &'static str,
    /// The object that it is about, such as `claim 42`; empty if it is about everything.
    pub subject: String,
    /// The problem, and advice on what to do.
    pub advice: String,
    /// The number of problems that it stands for: one, or all unlisted ones of its check.
    pub count: usize,
}

impl Upkeep {
    /// Runs every check and returns the worst findings first: at most 100 of each check, then the number of
    /// further ones. Reads all claims.
    pub async fn doctor(&self, by: &Actor) -> Result<Vec<Finding>, ServiceError> {
        let (this, scope) = (self.clone(), by.scope());
        let found = self.core.read(move |reader| {
            let mut found = Findings::default();
            check_claims(reader, scope, &this.core.settings, &mut found)?;
            this.check_tokens(reader, scope, &mut found)?;
            if scope == Scope::Operator {
                this.check_artifacts(reader, &mut found)?;
                check_confusable_names(reader, &mut found)?;
            }
            Ok::<_, ServiceError>(found)
        });
        let mut found = found.await?;
        if by.scope() == Scope::Operator {
            self.check_database(&mut found).await?;
            for problem in self.core.store.integrity().await? {
                let advice = format!("The database file is damaged: {problem}. Restore it from a backup.");
                found.add(Severity::Error, "database_integrity", String::new(), advice);
            }
        }
        Ok(found.sorted())
    }

    /// Returns the version of the schema, for comparisons between servers.
    pub async fn schema_version(&self) -> Result<i64, ServiceError> {
        Ok(self.core.store.schema_version().await?)
    }

    /// Checks that a server can work with the database.
    async fn check_database(&self, found: &mut Findings) -> Result<(), ServiceError> {
        let store = &self.core.store;
        if store.is_read_only().await? {
            found.add(Severity::Error, "database_read_only", String::new(), READ_ONLY.to_owned());
        }
        if let Some(connections) = store.connections().filter(|one| one.allowed < ConnectionLimit::NEEDED) {
            let advice = format!(
                "PostgreSQL takes {} connections at most, and each server opens up to {}: raise max_connections, \
                 or the limit of its role or database.",
                connections.allowed,
                ConnectionLimit::NEEDED
            );
            found.add(Severity::Warning, "database_connections", String::new(), advice);
        }
        Ok(())
    }

    fn check_tokens(
        &self,
        reader: &mut Reader,
        scope: Scope,
        found: &mut Findings,
    ) -> Result<(), ServiceError> {
        let now = self.core.now();
        let mut after = None;
        loop {
            let Page { items, next } = reader.tokens(scope, None, &whole_page(after))?;
            for token in items.iter().filter(|token| token.standing(now) == TokenStanding::Expired) {
                let advice = format!(
                    "Token {:?} has expired: devices that show it are refused. Revoke it, or put a new one \
                     into the image.",
                    token.name
                );
                found.add(Severity::Note, "expired_token", format!("token {}", token.id), advice);
            }
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    fn check_artifacts(&self, reader: &mut Reader, found: &mut Findings) -> Result<(), ServiceError> {
        let mut after = None;
        loop {
            let Page { items, next } =
                reader.artifacts(Scope::Operator, ArtifactsOf::Anybody, &whole_page(after))?;
            for artifact in items {
                let path = self.catalogue.artifact_path(artifact.sha256);
                let problem = match fs::metadata(&path) {
                    Ok(here) if here.len() == artifact.size => continue,
                    Ok(here) => format!("has {} bytes instead of {}", here.len(), artifact.size),
                    Err(error) => format!("cannot be read ({error})"),
                };
                let shared = if self.core.store.is_shared() { SHARE_ARTIFACTS } else { "" };
                let advice = format!(
                    "{} of artifact {:?} {problem}: devices cannot install it. Add the artifact again.{shared}",
                    path.display(),
                    artifact.name
                );
                found.add(
                    Severity::Error,
                    "missing_artifact",
                    format!("artifact {}", artifact.sha256),
                    advice,
                );
            }
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }
}

/// Checks all claims, page by page, so that any number of them needs the memory of one page.
fn check_claims(
    reader: &mut Reader,
    scope: Scope,
    settings: &Settings,
    found: &mut Findings,
) -> Result<(), ServiceError> {
    let customers = customers_by_id(reader, scope)?;
    let mut after = None;
    loop {
        let page = whole_page(after);
        let Page { items, next } = reader.claims(scope, &ClaimFilter::default(), &page)?;
        for claim in &items {
            check_identifiers(claim, &settings.models, found);
            check_claim(claim, &customers, !settings.tpm_roots.is_empty(), found);
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

/// Returns the customers' names, and whether each has a default configuration.
fn customers_by_id(
    reader: &mut Reader,
    scope: Scope,
) -> Result<HashMap<CompanyId, (Name, bool)>, ServiceError> {
    let mut customers = HashMap::new();
    let mut after = None;
    loop {
        let kind = Some(CompanyKind::Customer);
        let Page { items, next } =
            reader.companies(scope, &CompanyFilter::of_kind(kind), &whole_page(after))?;
        customers
            .extend(items.into_iter().map(|one| (one.id, (one.name, one.default_configuration.is_some()))));
        if next.is_none() {
            return Ok(customers);
        }
        after = next;
    }
}

/// Finds registered identifiers that no device will show, with one check for each rule.
fn check_identifiers(claim: &Claim, models: &Models, found: &mut Findings) {
    let subject = || format!("claim {}", claim.id);
    for set in claim.sets.unusable() {
        let advice = format!(
            "It registers something that no device can show: {}. End the claim and import it with the right value.",
            set.reason()
        );
        found.add(Severity::Warning, unusable_check(set.reason()), subject(), advice);
    }
    let manufactured = claim.metadata.manufacture_date().unwrap_or_else(|invalid| {
        let advice =
            format!("Its {MANUFACTURE_DATE} names no day: {invalid}. Change it in the claim's metadata.");
        found.add(Severity::Note, "claim_manufacture_date", subject(), advice);
        None
    });
    for doubt in claim.sets.usable().iter().flat_map(|set| find_doubts(set, models, manufactured)) {
        let (severity, then) = if doubt.is_certain() {
            (Severity::Warning, " End the claim and import it so.")
        } else {
            (Severity::Note, "")
        };
        found.add(severity, doubt.check(), subject(), format!("{doubt} {}{then}", doubt.advice()));
    }
}

const fn unusable_check(reason: &Unusable) -> &'static str {
    match reason {
        Unusable::Identifier(InvalidIdentifier { rule, .. }) => match rule {
            Rule::Placeholder => "claim_placeholder",
            Rule::LocallyAdministered | Rule::Multicast => "claim_mac_address_of_software",
            Rule::Format { .. } => "claim_identifier_form",
            Rule::Empty | Rule::TooLong | Rule::NotPrintable => "claim_never_matches",
        },
        Unusable::Kind(_) | Unusable::Set(_) => "claim_never_matches",
    }
}

fn check_claim(
    claim: &Claim,
    customers: &HashMap<CompanyId, (Name, bool)>,
    knows_roots: bool,
    found: &mut Findings,
) {
    let subject = || format!("claim {}", claim.id);
    match claim.proof {
        ProofKind::Tpm if !knows_roots && claim.sets.registered_tpm_keys().next().is_none() => {
            let advice = "It asks for a TPM, registers none, and this server knows no manufacturer's certificates: \
                          its device is refused. Import it with its tpm_key, or set tpm.roots in the server's \
                          settings.";
            found.add(Severity::Warning, "claim_never_matches", subject(), advice.to_owned());
        }
        ProofKind::Tpm if !knows_roots => {
            let advice = "It asks for a TPM, and this server knows no manufacturer's certificates: whoever registered \
                          its tpm_key alone vouches that this is a TPM. Set tpm.roots in the server's settings.";
            found.add(Severity::Note, "tpm_without_roots", subject(), advice.to_owned());
        }
        ProofKind::RegisteredKey if claim.sets.registered_keys().next().is_none() => {
            let advice = "It asks for a registered key and registers none. Set another proof, import it with its \
                          device_key, or have a test station register the device.";
            found.add(Severity::Warning, "claim_never_matches", subject(), advice.to_owned());
        }
        _ => {}
    }
    if claim.proof != ProofKind::Tpm
        && !claim.sets.usable().is_empty()
        && claim.registered_claim().sets.is_empty()
    {
        let advice = "It registers nothing but a TPM, and asks for another proof, so that its device is never found. \
                      Set its proof to tpm.";
        found.add(Severity::Warning, "claim_never_matches", subject(), advice.to_owned());
    }
    if let (None, Some((customer, false))) = (claim.configuration, customers.get(&claim.customer))
        && claim.proof != ProofKind::Token
    {
        let advice = format!(
            "It gives its device no configuration, so the device is told that it is not registered. Give it one, \
             or set a default for {customer:?}."
        );
        found.add(Severity::Warning, "claim_without_configuration", subject(), advice);
    }
}

pub(super) fn whole_page(after: Option<String>) -> PageRequest {
    PageRequest { size: Some(MAX_ROWS), after }
}

/// The findings so far, and the number of unlisted ones of each check.
#[derive(Default)]
pub(super) struct Findings {
    told: Vec<Finding>,
    counts: HashMap<&'static str, usize>,
}

impl Findings {
    pub(super) fn add(&mut self, severity: Severity, check: &'static str, subject: String, advice: String) {
        let count = self.counts.entry(check).or_default();
        *count += 1;
        if *count <= MAX_FINDINGS {
            self.told.push(Finding { severity, check, subject, advice, count: 1 });
        }
    }

    fn sorted(mut self) -> Vec<Finding> {
        for (check, count) in self.counts {
            if let Some(more) = count.checked_sub(MAX_FINDINGS).filter(|more| *more > 0)
                && let Some(severity) =
                    self.told.iter().find(|one| one.check == check).map(|one| one.severity)
            {
                let advice = format!("There are {more} more of these.");
                self.told.push(Finding { severity, check, subject: String::new(), advice, count: more });
            }
        }
        self.told.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.check.cmp(b.check)));
        self.told
    }
}

/// Finds every company whose name looks like that of an older one.
fn check_confusable_names(reader: &mut Reader, found: &mut Findings) -> Result<(), ServiceError> {
    let mut first: HashMap<String, (CompanyId, CompanyKind, Name)> = HashMap::new();
    let mut after = None;
    loop {
        let page = whole_page(after);
        let Page { items, next } = reader.companies(Scope::Operator, &CompanyFilter::default(), &page)?;
        for company in items {
            match first.entry(company.name.skeleton()) {
                Entry::Vacant(free) => {
                    free.insert((company.id, company.kind, company.name));
                }
                Entry::Occupied(taken) => {
                    let (id, kind, name) = taken.get();
                    let advice = format!(
                        "The name of {} {:?} looks like that of {kind} {id}, {name:?}: people may take one for \
                         the other. Make sure that both are who they say, and rename one.",
                        company.kind, company.name
                    );
                    let subject = format!("company {}", company.id);
                    found.add(Severity::Note, "company_names_look_alike", subject, advice);
                }
            }
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::{doubt::Doubt, eligibility::Reason, identity::IdentifierKind, maker::*};

    #[test]
    fn the_readme_names_every_check_of_what_claims_register() {
        let of_rule = |rule| {
            let value = String::new();
            Unusable::Identifier(InvalidIdentifier { kind: IdentifierKind::MacAddress, value, rule })
        };
        let unusable = [Rule::Placeholder, Rule::Multicast, Rule::Format { expected: "" }, Rule::Empty];
        let text = String::new;
        let day = "2026-11-21".parse().unwrap();
        let doubts = [
            Doubt::Serial(SerialDoubt::CutShort),
            Doubt::Serial(SerialDoubt::WholeString { serial: text() }),
            Doubt::Serial(SerialDoubt::ExpressCode { tag: text() }),
            Doubt::Serial(SerialDoubt::Unusual(SERIAL_FORMS[0])),
            Doubt::TwoTags,
            Doubt::NotEligible(Reason::NoSerial),
            Doubt::NotKnown(Reason::UnknownModel),
            Doubt::NotEligible(Reason::MadeTooEarly { made: day, first: day }),
            Doubt::NotKnown(Reason::MadeWhen(day)),
        ];
        let checks = unusable.into_iter().map(|rule| unusable_check(&of_rule(rule)));
        for check in checks.chain(doubts.iter().map(Doubt::check)) {
            let row = format!("| `{check}`");
            assert!(include_str!("../../../README.md").contains(&row), "{check} is not in the README");
        }
    }
}
