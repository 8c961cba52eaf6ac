//! A partner's request about one device: turned into work, or refused with the reason.

use super::super::{
    call::Call,
    identifier,
    message::{
        claim::{PartnerClaim, PartnerUnclaim},
        common::SectionType,
        device::AdditionalService,
    },
    wire::{
        detail::{FieldViolation, Reason},
        enums::WireEnum as _,
        status::{Code, Status},
    },
};
use crate::{
    domain::{
        claims::{
            claim::Metadata,
            operation::{ItemResult, ItemStatus, Work},
        },
        devices::token::TokenStanding,
    },
    service::{NewClaim, ServiceError},
};
use std::{collections::HashMap, time::Duration};
use unbox_common::{ids::CompanyId, protocol::latest::ProofKind};

/// The longest temporary release in days.
const MAX_VACATION_DAYS: i32 = 1825;
/// The longest temporary release.
const MAX_VACATION: Duration = Duration::from_hours(24 * 1825);

/// The reason why a request about one device is refused: for an answer, or for a line of a batch.
pub(super) struct Refused {
    item: ItemStatus,
    pub(super) status: Status,
}

impl Refused {
    fn new(item: ItemStatus, reason: Reason, field: &str, rule: &str) -> Self {
        let status = match item {
            ItemStatus::PermissionDenied => Status::new(Code::PermissionDenied, rule),
            _ => Status::invalid_field(field, rule),
        };
        Self { item, status: status.with_reason(reason) }
    }

    pub(super) fn result(&self) -> ItemResult {
        ItemResult::failure(self.item, self.status.reason().name(), self.status.message())
    }
}

/// A status about a device's identifiers.
impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { item: ItemStatus::InvalidDeviceIdentifier, status }
    }
}

impl From<FieldViolation> for Refused {
    fn from(violation: FieldViolation) -> Self {
        Status::invalid(vec![violation]).into()
    }
}

pub(super) fn check_section(section: SectionType) -> Result<(), Refused> {
    const ONLY: &str = "Expected SECTION_TYPE_ZERO_TOUCH: this server enrolls devices, and locks no SIM.";
    if section == SectionType::ZeroTouch {
        return Ok(());
    }
    Err(Refused::new(ItemStatus::InvalidSectionType, Reason::InvalidSectionType, "sectionType", ONLY))
}

/// Customers by their Google Workspace accounts, each looked up once.
#[derive(Default)]
pub(super) struct Owners(HashMap<String, Option<CompanyId>>);

impl Owners {
    pub(super) async fn find_by_workspace(
        &mut self,
        call: &Call,
        workspace: &str,
    ) -> Result<Option<CompanyId>, Status> {
        if let Some(known) = self.0.get(workspace) {
            return Ok(*known);
        }
        let found =
            call.services().tenancy.company_of_workspace(&call.actor, workspace).await?.map(|one| one.id);
        self.0.insert(workspace.to_owned(), found);
        Ok(found)
    }

    /// Returns the requested claim, or the reason why it is not possible.
    pub(super) async fn claim(
        &mut self,
        call: &Call,
        asked: PartnerClaim,
    ) -> Result<Result<NewClaim, Refused>, Status> {
        let customer = match (asked.customer_id, asked.google_workspace_customer_id.as_str()) {
            (Some(customer), "") => Some(customer),
            (None, workspace) if !workspace.is_empty() => {
                match self.find_by_workspace(call, workspace).await? {
                    Some(customer) => Some(customer),
                    None => return Ok(Err(no_such_customer("googleWorkspaceCustomerId"))),
                }
            }
            _ => None,
        };
        let Some(customer) = customer else {
            let rule = "Expected customerId or googleWorkspaceCustomerId, and not both.";
            return Ok(Err(Refused::new(
                ItemStatus::OtherError,
                Reason::InvalidCustomerId,
                "customerId",
                rule,
            )));
        };
        if let Err(refused) = self.check_token(call, customer, &asked).await? {
            return Ok(Err(refused));
        }
        Ok(new_claim(call, customer, &asked))
    }

    /// Checks the token, which ChromeOS devices need, and no others.
    async fn check_token(
        &mut self,
        call: &Call,
        customer: CompanyId,
        asked: &PartnerClaim,
    ) -> Result<Result<(), Refused>, Status> {
        let token = &asked.pre_provisioning_token;
        let is_chrome_os = asked.device_identifier.is_chrome_os();
        let wrong = |status, rule| {
            Ok(Err(Refused::new(status, Reason::InvalidParameter, "preProvisioningToken", rule)))
        };
        match (is_chrome_os, token.expose().is_empty()) {
            (false, true) => Ok(Ok(())),
            (false, false) => wrong(
                ItemStatus::InvalidToken,
                "Only devices of DEVICE_TYPE_CHROME_OS are claimed with a token.",
            ),
            (true, true) => {
                wrong(ItemStatus::InvalidToken, "Devices of DEVICE_TYPE_CHROME_OS are claimed with a token.")
            }
            (true, false) => match call.services().devices.token_standing(&call.actor, customer, token).await
            {
                Ok(Some(TokenStanding::Valid)) => Ok(Ok(())),
                Ok(Some(_)) => wrong(ItemStatus::RevokedToken, "The token has been revoked, or has expired."),
                Ok(None) => wrong(ItemStatus::InvalidToken, "The token is none of this customer's."),
                Err(ServiceError::NotFound { .. }) => Ok(Err(no_such_customer("customerId"))),
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn no_such_customer(field: &str) -> Refused {
    let rule = "There is no such customer that this partner works for.";
    Refused::new(ItemStatus::PermissionDenied, Reason::InvalidCustomerId, field, rule)
}

fn new_claim(call: &Call, customer: CompanyId, asked: &PartnerClaim) -> Result<NewClaim, Refused> {
    check_section(asked.section_type)?;
    if asked.simlock_profile_id != 0 {
        let rule = "It is for SECTION_TYPE_SIM_LOCK only.";
        return Err(Refused::new(
            ItemStatus::InvalidSectionType,
            Reason::InvalidParameter,
            "simlockProfileId",
            rule,
        ));
    }
    let metadata = Metadata::default().with_changes(&asked.device_metadata.entries).map_err(|error| {
        Refused::new(ItemStatus::OtherError, Reason::InvalidParameter, "deviceMetadata", &error.to_string())
    })?;
    // A text that is not a day is a note like any other; `doctor` reports it.
    let manufactured = metadata.manufacture_date().unwrap_or_default();
    let models = &call.services().settings().models;
    let sets = identifier::sets(models, &asked.device_identifier, "deviceIdentifier", manufactured)?;
    let reseller = call.company().ok();
    Ok(NewClaim {
        customer,
        reseller,
        configuration: asked.configuration_id,
        proof: ProofKind::Identifiers,
        sets,
        order: None,
        metadata,
        protected: asked.additional_service == AdditionalService::DeviceProtection,
    })
}

/// Returns the work that an unclaim asks for.
pub(super) fn release(call: &Call, asked: &PartnerUnclaim) -> Result<Work, Refused> {
    check_section(asked.section_type)?;
    let target = identifier::target(asked.target()?, "")?;
    let wrong =
        |field, rule| Err(Refused::new(ItemStatus::OtherError, Reason::InvalidParameter, field, rule));
    let now = call.services().now();
    let until = match (asked.vacation_mode_days, asked.vacation_mode_expire_time) {
        (0, until) => until,
        (days, None) if (1..=MAX_VACATION_DAYS).contains(&days) => {
            let hours = u64::try_from(days).unwrap_or_default() * 24;
            Some(now.plus(Duration::from_hours(hours)))
        }
        (_, None) => return wrong("vacationModeDays", "Expected 1 to 1825 days."),
        _ => {
            return wrong(
                "vacationModeDays",
                "Expected vacationModeDays or vacationModeExpireTime, and not both.",
            );
        }
    };
    match until {
        Some(until) if until <= now => wrong("vacationModeExpireTime", "Expected a time in the future."),
        Some(until) if until > now.plus(MAX_VACATION) => {
            wrong("vacationModeExpireTime", "Expected a time at most five years from now.")
        }
        until => Ok(Work::Unclaim { target, until }),
    }
}

/// Turns the error of a claim into a status.
pub(super) fn claim_error(error: ServiceError) -> Status {
    match error {
        ServiceError::Conflict(text) => {
            Status::new(Code::AlreadyExists, text).with_reason(Reason::DeviceAlreadyExists)
        }
        ServiceError::NotFound { what: "customer", .. } => no_such_customer("customerId").status,
        ServiceError::NotFound { what: "configuration", .. } => {
            Status::invalid_field("configurationId", "The customer has no such configuration.")
        }
        ServiceError::Invalid { field: "protected", rule } => {
            Status::invalid_field("additionalService", rule)
        }
        other => other.into(),
    }
}
