//! The enrollments of claimed devices, and their owners' decisions about them:
//! `/v1/customers/{customer}/enrollments`.
//!
//! The name `devices` is taken: in the Partner API it means claims, with claim ids. There is an
//! enrollment for each claim whose device has asked, or whose owner has decided something about it; its
//! id is the one in grants, certificates and logs.

use super::{
    call::{Answer, Call, no_such},
    identifier,
    message::{
        common::{DeviceIdentifier, DeviceReference},
        enrollment::{
            ApprovalRequest, CreateResetTicketResponse, DisableEnrollmentRequest, Enrollment,
            EnrollmentDecisionRequest, EnrollmentEvent, EnrollmentReport, EnrollmentRequest, EnrollmentState,
            InstallOutcome, InstallResult, InstalledPayload, ListEnrollmentHistoryResponse,
            ListEnrollmentsResponse, ReplacedPart,
        },
    },
    partner::device_error,
    wire::{
        detail::FieldViolation,
        enums::WireEnum as _,
        form::Written,
        name::{ConfigurationName, CustomerDeviceName, EnrollmentName, NotAName},
        status::Status,
    },
};
use crate::{
    domain::{
        claims::claim::lookup_texts,
        devices::device::{self, Device, DeviceState, StateName},
        tenancy::audit::Entry,
    },
    service::{DeviceEvent, DeviceFilter, DeviceView, EventKind, PageRequest, ServiceError, StoredReport},
};
use unbox_common::{
    digest::Sha256,
    identity::HardwareIdentity,
    ids::{ClaimId, CompanyId, DeviceId},
    matching,
    protocol::{
        latest::{Installed, Outcome},
        progress::Progress,
    },
};

/// `customers.enrollments.list`
pub(super) async fn list(mut call: Call) -> Answer {
    let size = call.page_size().await?;
    let token = call.own.text("pageToken")?.unwrap_or_default();
    let (state, device) = (call.own.text("state")?, call.own.text("device")?);
    let (identifier, waiting) = (call.own.text("identifier")?, call.own.flag("awaitingApproval")?);
    call.no_more_parameters()?;
    let customer = call.company()?;
    let list = ("enrollments", customer, &state, &device, &identifier, waiting);
    let after = call.page_after(&list, &token)?;
    let filter = DeviceFilter {
        customer: Some(customer),
        state: state.as_deref().map(parse_state).transpose()?,
        claim: device.as_deref().map(|name| parse_claim_name(name, customer)).transpose()?,
        identifiers: identifier.as_deref().map(lookup_texts),
        waiting: waiting == Some(true),
    };
    let total = call.services().devices.count_devices(&call.actor, filter.clone()).await?;
    let request = PageRequest { size: Some(size), after };
    let page = call.services().devices.list_devices(&call.actor, filter, request).await?;
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    let enrollments = page.items.iter().map(message).collect();
    let total_size = i32::try_from(total).unwrap_or(i32::MAX);
    call.answer(&Written(&ListEnrollmentsResponse { enrollments, next_page_token, total_size }))
}

/// `customers.enrollments.get`
pub(super) async fn get(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id = call.id(1, "enrollment")?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.history`
pub(super) async fn history(mut call: Call) -> Answer {
    let size = call.page_size().await?;
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    let found = find_device(&call, call.id(1, "enrollment")?).await?.device;
    let list = ("history", found.id);
    let before = call.app.page_tokens.open(&list, &token)?;
    let (happened, next) = call.services().devices.device_history(&call.actor, &found, before, size).await?;
    let next_page_token = match next {
        Some(key) => call.app.page_tokens.issue(&list, key)?,
        None => String::new(),
    };
    let own = (!call.sees_resellers()).then(|| call.principal.company());
    let may_see = |entry: &Entry| {
        own.is_none_or(|own| entry.company == own || entry.actor.split(' ').next() == Some("device"))
    };
    let events = happened.into_iter().map(|one| event(one, may_see)).collect();
    call.answer(&Written(&ListEnrollmentHistoryResponse { events, next_page_token }))
}

/// `customers.enrollments.approve`
pub(super) async fn approve(mut call: Call) -> Answer {
    let (id, key) = find_key_to_decide(&mut call).await?;
    call.services().devices.approve_request(&call.actor, id, key).await.map_err(enrollment_error)?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.refuse`
pub(super) async fn refuse(mut call: Call) -> Answer {
    let (id, key) = find_key_to_decide(&mut call).await?;
    call.services().devices.refuse_request(&call.actor, id, key).await.map_err(enrollment_error)?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.reenroll`
pub(super) async fn reenroll(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: EnrollmentRequest = call.message()?;
    let id = find_device_id(&call, &asked.enrollment, asked.device.as_ref()).await?;
    call.services().devices.request_re_enrollment(&call.actor, id).await.map_err(enrollment_error)?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.disable`
pub(super) async fn disable(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: DisableEnrollmentRequest = call.message()?;
    let message = Some(asked.message).filter(|message| !message.is_empty());
    if let Err(rule) = device::check_message(message.as_deref()) {
        return Err(Status::invalid_field("message", format!("{rule}.")));
    }
    let id = find_or_create_device(&call, &asked.enrollment, asked.device.as_ref()).await?;
    call.services().devices.disable_device(&call.actor, id, message).await.map_err(enrollment_error)?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.enable`
pub(super) async fn enable(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: EnrollmentRequest = call.message()?;
    let id = find_device_id(&call, &asked.enrollment, asked.device.as_ref()).await?;
    call.services().devices.enable_device(&call.actor, id).await.map_err(enrollment_error)?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.deprovision`
pub(super) async fn deprovision(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: EnrollmentRequest = call.message()?;
    let id = find_or_create_device(&call, &asked.enrollment, asked.device.as_ref()).await?;
    call.services().devices.deprovision_device(&call.actor, id).await.map_err(enrollment_error)?;
    answer_with_enrollment(&call, id).await
}

/// `customers.enrollments.createResetTicket`
pub(super) async fn create_reset_ticket(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: EnrollmentRequest = call.message()?;
    let id = find_or_create_device(&call, &asked.enrollment, asked.device.as_ref()).await?;
    let (secret, expires_at) =
        call.services().devices.mint_reset_ticket(&call.actor, id).await.map_err(enrollment_error)?;
    let minted = CreateResetTicketResponse { reset_ticket: Some(secret), expire_time: Some(expires_at) };
    call.answer(&Written(&minted))
}

/// Returns the key to decide about: the one that is named, or the only one that waits.
async fn find_key_to_decide(call: &mut Call) -> Result<(DeviceId, Sha256), Status> {
    call.no_more_parameters()?;
    let asked: EnrollmentDecisionRequest = call.message()?;
    let id = find_device_id(call, &asked.enrollment, asked.device.as_ref()).await?;
    if !asked.key_digest.is_empty() {
        let key = asked.key_digest.to_ascii_lowercase().parse();
        let key = key.map_err(|_| Status::invalid_field("keyDigest", "Expected 64 hexadecimal digits."))?;
        return Ok((id, key));
    }
    let requests = find_device(call, id).await?.requests;
    let mut waiting = requests.iter().filter(|request| request.approved_at.is_none());
    match (waiting.next(), waiting.next()) {
        (Some(only), None) => Ok((id, only.key)),
        (None, _) => {
            Err(ServiceError::Conflict("Nothing of this device waits for approval.".to_owned()).into())
        }
        _ => Err(Status::invalid_field("keyDigest", "Several keys wait: choose one of approvalRequests.")),
    }
}

/// Finds a device of the path's customer, with everything that belongs to it.
async fn find_device(call: &Call, id: DeviceId) -> Result<DeviceView, Status> {
    let view = call.services().devices.device(&call.actor, id).await.map_err(enrollment_error)?;
    if view.device.customer == call.company()? { Ok(view) } else { Err(no_such("enrollment")) }
}

/// Finds the device that a request means, if it is known.
async fn find_device_id(
    call: &Call,
    enrollment: &str,
    device: Option<&DeviceReference>,
) -> Result<DeviceId, Status> {
    match find_referent(call, enrollment, device).await? {
        Referent::Enrollment(id) => Ok(id),
        Referent::Claim(claim) => {
            let view = call.services().claims.claim(&call.actor, claim).await.map_err(device_error)?;
            view.device.map(|device| device.id).ok_or_else(|| no_such("enrollment"))
        }
    }
}

/// Finds the device for a method that works before it was ever seen, and records it if need be.
async fn find_or_create_device(
    call: &Call,
    enrollment: &str,
    device: Option<&DeviceReference>,
) -> Result<DeviceId, Status> {
    match find_referent(call, enrollment, device).await? {
        Referent::Enrollment(id) => Ok(id),
        Referent::Claim(claim) => {
            Ok(call.services().devices.device_of_claim(&call.actor, claim).await.map_err(device_error)?.id)
        }
    }
}

enum Referent {
    Enrollment(DeviceId),
    Claim(ClaimId),
}

async fn find_referent(
    call: &Call,
    enrollment: &str,
    device: Option<&DeviceReference>,
) -> Result<Referent, Status> {
    match (enrollment, device) {
        ("", None) => Err(Status::invalid_field("enrollment", "Expected enrollment or device.")),
        ("", Some(device)) => {
            let target = device.target().map_err(|mut violation: FieldViolation| {
                violation.nest("device");
                Status::invalid(vec![violation])
            })?;
            let target = identifier::target(target, "device")?;
            let claim = call
                .services()
                .claims
                .resolve_claim_target(&call.actor, &target)
                .await
                .map_err(device_error)?;
            call.services().claims.claim_in_force(&call.actor, claim).await.map_err(device_error)?;
            Ok(Referent::Claim(claim))
        }
        (_, Some(_)) => {
            Err(Status::invalid_field("enrollment", "Expected enrollment or device, and not both."))
        }
        (name, None) => {
            let wrong = |rule: String| Status::invalid_field("enrollment", rule);
            let name: EnrollmentName = name.parse().map_err(|error: NotAName| wrong(error.to_string()))?;
            if name.customer != call.company()? {
                return Err(wrong("It names another customer.".to_owned()));
            }
            Ok(Referent::Enrollment(find_device(call, name.enrollment).await?.device.id))
        }
    }
}

/// Renames the thing in an error: services say device, which means a claim here.
fn enrollment_error(error: ServiceError) -> Status {
    match error {
        ServiceError::NotFound { what: "device", .. } => no_such("enrollment"),
        ServiceError::NotFound { what: "request with key", .. } => {
            Status::invalid_field("keyDigest", "Nobody has asked with this key. Look at approvalRequests.")
        }
        other => other.into(),
    }
}

fn parse_claim_name(name: &str, customer: CompanyId) -> Result<ClaimId, Status> {
    let wrong = |rule: String| Status::invalid_field("device", rule);
    let name: CustomerDeviceName = name.parse().map_err(|error: NotAName| wrong(error.to_string()))?;
    if name.customer == customer {
        Ok(name.device)
    } else {
        Err(wrong("It names another customer.".to_owned()))
    }
}

/// State of the service and of the message, side by side.
const STATES: [(StateName, EnrollmentState); 7] = [
    (StateName::Claimed, EnrollmentState::Claimed),
    (StateName::Enrolling, EnrollmentState::Enrolling),
    (StateName::Managed, EnrollmentState::Managed),
    (StateName::PendingApproval, EnrollmentState::PendingApproval),
    (StateName::HardwareChanged, EnrollmentState::HardwareChanged),
    (StateName::Disabled, EnrollmentState::Disabled),
    (StateName::Deprovisioned, EnrollmentState::Deprovisioned),
];

fn parse_state(word: &str) -> Result<StateName, Status> {
    let found = STATES.into_iter().find(|(_, state)| state.name() == word);
    found.map(|(name, _)| name).ok_or_else(|| {
        let words: Vec<_> = STATES.iter().map(|(_, state)| state.name()).collect();
        Status::invalid_field("state", format!("Expected one of {}.", words.join(", ")))
    })
}

/// Answers with one whole device.
async fn answer_with_enrollment(call: &Call, id: DeviceId) -> Answer {
    let DeviceView { device, requests, reports, .. } = find_device(call, id).await?;
    let whole = Enrollment {
        approval_requests: requests.iter().map(request).collect(),
        last_report: reports.first().map(report),
        ..message(&device)
    };
    call.answer(&Written(&whole))
}

fn message(of: &Device) -> Enrollment {
    let said = &of.last_said;
    let (since, disabled) = match &of.state {
        DeviceState::Claimed => (None, None),
        DeviceState::Disabled { since, message, .. } => (Some(*since), message.clone()),
        DeviceState::Enrolling { since, .. }
        | DeviceState::Managed { since, .. }
        | DeviceState::PendingApproval { since }
        | DeviceState::HardwareChanged { since, .. }
        | DeviceState::Deprovisioned { since } => (Some(*since), None),
    };
    let state = STATES.into_iter().find(|(name, _)| *name == of.state.name());
    Enrollment {
        name: EnrollmentName { customer: of.customer, enrollment: of.id }.to_string(),
        enrollment_id: Some(of.id),
        device: CustomerDeviceName { customer: of.customer, device: of.claim }.to_string(),
        state: state.map(|(_, state)| state).unwrap_or_default(),
        state_time: since,
        message: disabled.unwrap_or_default(),
        device_identifier: of.identity.as_ref().map(identifiers),
        generation: number(of.generation().0),
        active_generation: of.active.as_ref().map_or(0, |active| number(active.generation.0)),
        key_digest: of.latest.as_ref().map(|latest| latest.key.digest().to_string()).unwrap_or_default(),
        reenroll_request_time: of.re_enroll_requested_at,
        create_time: Some(of.created_at),
        last_seen_time: said.at,
        agent_version: said.agent_version.clone().unwrap_or_default(),
        healthy: said.healthy,
        installed: said.installed.as_ref().map(|installed| payload(of.customer, installed)),
        failed_version: said.failed_version.map_or(0, number),
        outcome: said.outcome.as_ref().map(outcome),
        approval_requests: Vec::new(),
        last_report: None,
    }
}

fn identifiers(of: &HardwareIdentity) -> DeviceIdentifier {
    DeviceIdentifier::of(of.observations().iter().map(|one| &one.identifier))
}

fn payload(customer: CompanyId, of: &Installed) -> InstalledPayload {
    let dpc = of.dpc.as_ref();
    InstalledPayload {
        configuration: ConfigurationName { customer, configuration: of.configuration }.to_string(),
        version: number(of.version),
        dpc_name: dpc.map(|dpc| dpc.name.clone()).unwrap_or_default(),
        dpc_version: dpc.map(|dpc| dpc.version.to_string()).unwrap_or_default(),
    }
}

fn outcome(of: &Outcome) -> InstallOutcome {
    let (result, version, reason, detail) = match of {
        Outcome::Managed { version } => (InstallResult::Managed, *version, "", ""),
        Outcome::RolledBack { version, kind, detail } => {
            (InstallResult::RolledBack, *version, kind.as_str(), detail.as_str())
        }
        Outcome::Rejected { version, kind, detail } => {
            (InstallResult::Rejected, version.unwrap_or(0), kind.as_str(), detail.as_str())
        }
    };
    let (reason, detail) = (reason.to_owned(), detail.to_owned());
    InstallOutcome { result, version: number(version), reason, detail }
}

fn request(of: &device::ApprovalRequest) -> ApprovalRequest {
    let part = |part: &matching::ReplacedPart| ReplacedPart {
        kind: part.kind.to_string(),
        was: part.was.clone(),
        now: part.now.clone(),
    };
    ApprovalRequest {
        key_digest: of.key.to_string(),
        device_identifier: Some(identifiers(&of.identity)),
        replaced_parts: of.replaced.iter().map(part).collect(),
        first_time: Some(of.first_at),
        last_time: Some(of.last_at),
        count: number(of.count),
        approve_time: of.approved_at,
        source_network: of.source.map(|source| source.to_string()).unwrap_or_default(),
        tie: of.tie.to_string(),
    }
}

fn report(of: &StoredReport) -> EnrollmentReport {
    EnrollmentReport {
        generation: number(of.generation.0),
        sequence: number(of.entry.sequence),
        progress: progress(of.entry.progress),
        detail: of.entry.detail.clone().unwrap_or_default(),
        time: Some(of.entry.at),
    }
}

/// Makes the message of an event; `may_see` says whether the reader may know an entry's actor.
fn event(of: DeviceEvent, may_see: impl Fn(&Entry) -> bool) -> EnrollmentEvent {
    match of.kind {
        EventKind::Noted(entry) => EnrollmentEvent {
            time: Some(entry.at),
            last_time: Some(entry.last_at),
            count: number(entry.count),
            action: entry.action.name().to_owned(),
            actor: if may_see(&entry) { entry.actor } else { String::new() },
            detail: entry.detail.as_object().filter(|detail| !detail.is_empty()).cloned(),
            report: None,
        },
        EventKind::Reported(stored) => EnrollmentEvent {
            time: Some(stored.received_at),
            last_time: Some(stored.received_at),
            count: 1,
            actor: format!("device {}", stored.device),
            report: Some(report(&stored)),
            ..EnrollmentEvent::default()
        },
    }
}

/// Returns the wire name of a progress type.
fn progress(of: Progress) -> String {
    serde_json::to_value(of).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
