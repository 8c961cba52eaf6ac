//! Reports and check-ins of enrolled devices, over mutual TLS.

use super::handshake::check_agent_version;
use crate::{
    domain::{
        catalogue::configuration::Recipient,
        devices::{
            admission::Refusal,
            device::{Device, Enrollment},
            network::Network,
        },
        name::Name,
        tenancy::audit::{Action, Subject},
    },
    service::{
        CertifiedEnrollment, Devices, ServiceError,
        core::{device_event, refusal_event},
    },
    store::{ManagedFacts, Tx},
};
use serde_json::json;
use std::sync::Arc;
use unbox_common::{
    digest::Sha256,
    ids::{DeviceId, Generation},
    payload::Payload,
    protocol::{
        latest::{Acknowledged, CheckIn, Command, News, Outcome, Owner, Report, ReportEntry},
        limits::{MAX_DETAIL_BYTES, MAX_REPORT_ENTRIES},
    },
    refusal::RefusalKind,
    text::is_readable,
    timestamp::Timestamp,
};

/// The longest short name of a reason, in bytes.
const MAX_KIND_BYTES: usize = 64;

const OTHER_GENERATION: &str = "The message is about another generation than the certificate.";
const TOO_MANY_ENTRIES: &str = "The report holds more entries than one report may.";
const NO_SEQUENCE: &str = "Entries are numbered from 1, one by one.";
const SUPERSEDED: &str =
    "This certificate is of an enrollment that is over: the device has enrolled again since. Enroll again.";

/// The device behind a connection, as its client certificate states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceIdentityCert {
    /// The device that the certificate names.
    pub device: DeviceId,
    /// The generation that it was issued for.
    pub generation: Generation,
    /// Digest of its issuer's name.
    pub issuer: Sha256,
}

impl Devices {
    /// Records a device's progress and outcome. Sending a report twice has no effect.
    ///
    /// # Errors
    /// A refusal, if the device or its generation may not report.
    pub async fn report(
        &self,
        who: DeviceIdentityCert,
        report: Report,
    ) -> Result<Acknowledged, ServiceError> {
        if report.generation != who.generation {
            return Err(self
                .core
                .refuse(Refusal::with_detail(RefusalKind::UnsupportedProtocol, OTHER_GENERATION)));
        }
        if report.entries.len() > MAX_REPORT_ENTRIES {
            return Err(self
                .core
                .refuse(Refusal::with_detail(RefusalKind::UnsupportedProtocol, TOO_MANY_ENTRIES)));
        }
        // Entries that the database cannot count could not be recognised as duplicates.
        let countable = |sequence: u64| sequence > 0 && i64::try_from(sequence).is_ok();
        if !report.entries.iter().all(|entry| countable(entry.sequence)) {
            return Err(self
                .core
                .refuse(Refusal::with_detail(RefusalKind::UnsupportedProtocol, NO_SEQUENCE)));
        }
        let now = self.core.now();
        let report = Arc::new(sanitize_report(report));
        let this = self.clone();
        let sequence = self
            .core
            .store
            .write(move |tx| this.take_report(tx, who, &report, now))
            .await?
            .map_err(|refusal| self.core.refuse(refusal))?;
        Ok(Acknowledged { sequence, server_time: now })
    }

    fn take_report(
        &self,
        tx: &mut Tx,
        who: DeviceIdentityCert,
        report: &Report,
        now: Timestamp,
    ) -> Result<Result<u64, Refusal>, ServiceError> {
        let mut facts = match self.facts(tx, who, now)? {
            Ok(facts) => facts,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let fresh: Vec<ReportEntry> =
            report.entries.iter().filter(|entry| entry.sequence > facts.sequence).cloned().collect();
        let before = facts.device.clone();
        if let Some(outcome) = &report.outcome {
            take_outcome(&mut facts.device, who.generation, outcome, now);
            self.take_installed(tx, &mut facts, who.generation, outcome)?;
        }
        if fresh.is_empty() && facts.device == before {
            return Ok(Ok(facts.sequence));
        }
        facts.device.last_said.at = Some(now);
        tx.insert_reports(who.device, who.generation, &fresh, now)?;
        tx.save_device(&facts.device)?;
        let active = facts.device.active.as_ref().filter(|_| facts.device.active != before.active);
        if let Some(active) = active.filter(|_| facts.requests) {
            tx.remove_answered_request(who.device, active.key.digest())?;
        }
        let detail = json!({
            "kind": report.outcome.as_ref().map_or("progress", outcome_name),
            "generation": who.generation,
            "progress": fresh.last().map(|entry| entry.progress),
            "outcome": report.outcome,
        });
        let event = device_event(now, Action::Reported, who.device, &facts.device, detail);
        tx.append(self.core.ids.next(now), event);
        let highest = fresh.iter().map(|entry| entry.sequence).max().unwrap_or_default();
        Ok(Ok(highest.max(facts.sequence)))
    }

    /// Records what a newly managed device runs: its assignment, unless that has changed since. From the
    /// first check-in on, the device reports this itself.
    fn take_installed(
        &self,
        tx: &mut Tx,
        facts: &mut ManagedFacts,
        generation: Generation,
        outcome: &Outcome,
    ) -> Result<(), ServiceError> {
        let Outcome::Managed { version } = *outcome else { return Ok(()) };
        let known = facts.device.last_said.installed.as_ref().map(|one| one.version);
        if known == Some(version) || facts.device.generation() != generation {
            return Ok(());
        }
        let assignment = match facts.assigned {
            Some(assigned) => self.catalogue.assignment_in(tx, assigned)?,
            None => None,
        };
        let lead = facts.device.version_lead;
        facts.device.last_said.installed =
            assignment.filter(|one| one.version(lead) == version).map(|one| one.installed(lead));
        Ok(())
    }

    /// Answers a managed device's check-in with its news.
    ///
    /// # Errors
    /// A refusal, if the device or its generation may not check in.
    pub async fn check_in(&self, who: DeviceIdentityCert, check_in: CheckIn) -> Result<News, ServiceError> {
        self.check_in_from(who, None, check_in).await
    }

    /// Answers a check-in from this network, which helps to recognise the device if it loses its key.
    ///
    /// # Errors
    /// As [`Devices::check_in`].
    pub async fn check_in_from(
        &self,
        who: DeviceIdentityCert,
        network: Option<Network>,
        check_in: CheckIn,
    ) -> Result<News, ServiceError> {
        if check_in.generation != who.generation {
            return Err(self
                .core
                .refuse(Refusal::with_detail(RefusalKind::UnsupportedProtocol, OTHER_GENERATION)));
        }
        check_agent_version(&check_in.agent_version)?;
        let now = self.core.now();
        let check_in = Arc::new(check_in);
        let (this, said) = (self.clone(), Arc::clone(&check_in));
        let facts = self
            .core
            .store
            .write(move |tx| this.take_check_in(tx, who, network, &said, now))
            .await?
            .map_err(|refusal| self.core.refuse(refusal))?;
        self.news(who, &check_in, &facts, now).await
    }

    fn take_check_in(
        &self,
        tx: &mut Tx,
        who: DeviceIdentityCert,
        network: Option<Network>,
        said: &CheckIn,
        now: Timestamp,
    ) -> Result<Result<Box<ManagedFacts>, Refusal>, ServiceError> {
        let mut facts = match self.facts(tx, who, now)? {
            Ok(facts) => facts,
            Err(refusal) => return Ok(Err(refusal)),
        };
        facts.device.source = network.or(facts.device.source);
        let last = &mut facts.device.last_said;
        last.at = Some(now);
        last.agent_version = Some(said.agent_version.clone());
        last.healthy = Some(said.healthy);
        last.installed.clone_from(&said.installed);
        last.failed_version = said.failed_version;
        raise_versions(&mut facts, said, now);
        tx.save_device(&facts.device)?;
        if self.renews_certificate(who, said) {
            let detail = json!({"generation": who.generation});
            let event = device_event(now, Action::CertificateRenewed, who.device, &facts.device, detail);
            tx.append(self.core.ids.next(now), event);
        }
        Ok(Ok(Box::new(facts)))
    }

    /// Returns true if the answer brings a new certificate: the device asks for one, or has an older
    /// authority's.
    fn renews_certificate(&self, who: DeviceIdentityCert, said: &CheckIn) -> bool {
        said.renew_certificate || who.issuer != self.core.signer.certificate_issuer()
    }

    async fn news(
        &self,
        who: DeviceIdentityCert,
        said: &CheckIn,
        facts: &ManagedFacts,
        now: Timestamp,
    ) -> Result<News, ServiceError> {
        let signer = &self.core.signer;
        let mut news = News {
            check_in_after_s: self.core.settings.check_in_interval_s,
            server_time: now,
            commands: Vec::new(),
            payload: None,
            roots: signer.roots_after(said.root_version),
            certificate_chain: Vec::new(),
            owner: owner_without_contact(&facts.customer_name),
        };
        let enrollment = facts.device.enrollment(who.generation);
        if let Some(Enrollment { key, generation }) = enrollment
            && self.renews_certificate(who, said)
        {
            news.certificate_chain = signer.issue_certificate(
                &CertifiedEnrollment {
                    device: who.device,
                    generation: *generation,
                    owner: facts.device.customer,
                    key: key.clone(),
                },
                now,
            )?;
        }
        if facts.device.re_enroll_requested_at.is_some() {
            news.commands.push(Command::ReEnroll);
        }
        let Some(assigned) = facts.assigned else {
            return Ok(news);
        };
        let Some(assignment) = self.catalogue.assignment(assigned).await? else {
            return Ok(news);
        };
        news.owner = assignment.configuration.document.contact.owner(&facts.customer_name);
        let version_lead = facts.device.version_lead;
        // A device that is about to enroll again gets its payload with the new grant.
        if let Some(Enrollment { key, generation }) = enrollment
            && news.commands.is_empty()
            && is_new_version(said, assignment.version(version_lead))
        {
            let (generation, key_digest) = (*generation, key.digest());
            let to =
                Recipient { device: who.device, generation, key_digest, nonce: said.nonce, version_lead };
            let payload: Payload = assignment.payload(to, now, self.core.settings.payload_lifetime);
            news.payload = Some(signer.sign_payload(&payload)?);
        }
        Ok(news)
    }

    /// Returns the facts for answering a request of this device, or the reason to refuse it.
    fn facts(
        &self,
        tx: &mut Tx,
        who: DeviceIdentityCert,
        now: Timestamp,
    ) -> Result<Result<ManagedFacts, Refusal>, ServiceError> {
        // A device that is unknown to this database enrolled with another one, or with a later state of
        // this one: it can only enroll again.
        let Some(facts) = tx.managed_facts(who.device, who.generation)? else {
            return Ok(Err(Refusal::with_detail(RefusalKind::ProofRequired, SUPERSEDED)));
        };
        let refusal = match facts.device.state.refusal() {
            Some((kind, message)) => Refusal { kind, message: message.map(str::to_owned), detail: None },
            None if facts.device.enrollment(who.generation).is_some() => return Ok(Ok(facts)),
            None => Refusal::with_detail(RefusalKind::ProofRequired, SUPERSEDED),
        };
        let detail = json!({"generation": who.generation});
        let event =
            refusal_event(now, Subject::Device(who.device), Some(facts.device.customer), &refusal, detail);
        tx.append(self.core.ids.next(now), event);
        Ok(Err(refusal))
    }
}

/// Records an outcome: once the latest generation is managed, it becomes the active one.
fn take_outcome(device: &mut Device, generation: Generation, outcome: &Outcome, now: Timestamp) {
    device.last_said.outcome = Some(outcome.clone());
    device.last_said.failed_version = match outcome {
        Outcome::Managed { .. } => None,
        Outcome::RolledBack { version, .. } => Some(*version),
        Outcome::Rejected { version, .. } => version.or(device.last_said.failed_version),
    };
    if matches!(outcome, Outcome::Managed { .. }) && device.generation() == generation {
        // In every other state the outcome is kept, and the state does not change.
        let _ = device.complete(generation, now);
    }
}

/// Raises the device's versions above the one that it runs, if its assignment has a lower one, which the
/// device would always refuse.
fn raise_versions(facts: &mut ManagedFacts, said: &CheckIn, now: Timestamp) {
    let ManagedFacts { device, assigned: Some(assigned), .. } = facts else { return };
    let runs = said.installed.as_ref().map(|installed| installed.version);
    if runs.is_some_and(|runs| device.lead_versions_above(runs, assigned, now)) {
        tracing::warn!(
            device = %device.id, lead = device.version_lead, "the device runs a later version than it is given"
        );
    }
}

/// Returns the kind of an outcome for the audit trail.
fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Managed { .. } => "managed",
        Outcome::RolledBack { .. } => "rolled_back",
        Outcome::Rejected { .. } => "rejected",
    }
}

/// Returns true if a payload of this version is worth sending.
fn is_new_version(said: &CheckIn, version: u64) -> bool {
    let newer = said.installed.as_ref().is_none_or(|installed| installed.version < version);
    newer && said.failed_version != Some(version)
}

/// Returns the owner of a device whose configuration was removed: the customer, without contact.
fn owner_without_contact(customer: &Name) -> Owner {
    Owner {
        company: customer.to_string(),
        contact_email: String::new(),
        contact_phone: String::new(),
        message: None,
    }
}

/// Returns the report with texts that can be stored and shown anywhere: truncated, and without control
/// characters.
fn sanitize_report(mut report: Report) -> Report {
    for entry in &mut report.entries {
        entry.detail = entry.detail.take().map(|text| sanitize_text(&text, MAX_DETAIL_BYTES));
    }
    if let Some(Outcome::RolledBack { kind, detail, .. } | Outcome::Rejected { kind, detail, .. }) =
        &mut report.outcome
    {
        *kind = sanitize_text(kind, MAX_KIND_BYTES);
        *detail = sanitize_text(detail, MAX_DETAIL_BYTES);
    }
    report
}

fn sanitize_text(text: &str, max_bytes: usize) -> String {
    let mut plain: String =
        text.chars().map(|char| if is_readable(char) { char } else { ' ' }).take(max_bytes).collect();
    while plain.len() > max_bytes {
        plain.pop();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_devices_are_cut_and_cleaned() {
        assert_eq!(sanitize_text("a\0b\u{1b}[31m\n", 64), "a b [31m ");
        assert_eq!(sanitize_text("unit\u{202e}txt", 64), "unit txt");
        assert_eq!(sanitize_text(&"\u{e9}".repeat(40), 33), "\u{e9}".repeat(16));
    }
}
