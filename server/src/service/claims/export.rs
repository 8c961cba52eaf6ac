//! Exports claims as rows of a file in the portals' forms, page by page, in constant memory.
//! `service/import/` reads the same files.
//!
//! An export is not a snapshot: it shows each claim as it is when its page is read. A snapshot would make
//! the database hold its old state for as long as a client takes to read.

use crate::{
    domain::{
        claims::claim::{Claim, MANUFACTURE_DATE},
        tenancy::actor::{Actor, Scope},
    },
    service::{Claims, ServiceError, retry::retry_during_outage},
    store::{ClaimFilter, MAX_ROWS, PageRequest, Reader, ResellerCursor},
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use std::borrow::Cow;
use unbox_common::{
    claims_file::{IDENTIFIER_COLUMNS, NOTE_COLUMNS, plain_cell},
    identity::{Identifier, IdentifierKind},
    matching::IdentifierSet,
    timestamp::Timestamp,
};

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsForm {
    /// A reseller's form, with the owners of the devices.
    Reseller,
    /// The reseller's form plus the configurations, which resellers must not see.
    Operator,
    /// A customer's form, with each device's own configuration; 0 stands for the customer's default.
    Customer,
}

const RESELLER: [&str; 10] = [
    "modemtype",
    "modemid",
    "modemtype2",
    "modemid2",
    "serial",
    "model",
    "manufacturer",
    "profiletype",
    "owner",
    "devicemetadata",
];
const CUSTOMER: [&str; 10] = [
    "modemtype",
    "modemid",
    "modemtype2",
    "modemid2",
    "serial",
    "manufacturer",
    "model",
    "profiletype",
    "profileid",
    "devicemetadata",
];
/// The columns that the portals' own exports lack.
const MORE_MODEMS: [&str; 4] = ["modemtype3", "modemid3", "modemtype4", "modemid4"];
const FURTHER: [&str; 3] = [MANUFACTURE_DATE, "proof", "order"];

impl ClaimsForm {
    /// Returns the names of the columns, in order.
    pub fn columns(self) -> impl Iterator<Item = &'static str> {
        let (portal, configuration) = match self {
            Self::Reseller => (RESELLER, None),
            Self::Operator => (RESELLER, Some("profileid")),
            Self::Customer => (CUSTOMER, None),
        };
        let identifiers = MORE_MODEMS.into_iter().chain(IDENTIFIER_COLUMNS);
        portal.into_iter().chain(configuration).chain(identifiers).chain(FURTHER).chain(NOTE_COLUMNS)
    }
}

/// A running export: it has every claim that is in force throughout, exactly once.
pub struct ClaimExport {
    claims: Claims,
    by: Actor,
    form: ClaimsForm,
    filter: ClaimFilter,
    next: Next,
}

/// The position at which the export continues.
#[derive(Clone)]
enum Next {
    /// After this claim, in the order of ids.
    Id(Option<String>),
    /// After this claim of a reseller, by customer.
    OfReseller(Option<ResellerCursor>),
    End,
}

impl Claims {
    /// Starts an export of the claims in force that the actor sees and the filter selects.
    #[must_use]
    pub fn export_claims(&self, by: &Actor, form: ClaimsForm, filter: ClaimFilter) -> ClaimExport {
        let next = match by.scope() {
            Scope::Reseller(_) => Next::OfReseller(None),
            Scope::Operator | Scope::Customer(_) => Next::Id(None),
        };
        ClaimExport { claims: self.clone(), by: by.clone(), form, filter, next }
    }
}

impl ClaimExport {
    /// Returns the form of the rows.
    #[must_use]
    pub const fn form(&self) -> ClaimsForm {
        self.form
    }

    /// Returns the next rows; `None` at the end. Waits for a database that restarts.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] once the actor may no longer see the claims.
    pub async fn next_rows(&mut self) -> Result<Option<Vec<ExportedClaim>>, ServiceError> {
        let (claims, next) = retry_during_outage(|| self.read_page()).await?;
        self.next = next;
        if claims.is_empty() {
            self.next = Next::End;
            return Ok(None);
        }
        let (form, now) = (self.form, self.claims.core.now());
        Ok(Some(claims.into_iter().map(|claim| ExportedClaim { claim, form, now }).collect()))
    }

    /// Reads a page, and returns the position of the next one.
    async fn read_page(&self) -> Result<(Vec<Claim>, Next), ServiceError> {
        self.claims.tenancy.check_still_acts(&self.by).await?;
        let filter = self.filter.clone();
        match (self.next.clone(), self.by.scope()) {
            (Next::End, _) => Ok((Vec::new(), Next::End)),
            (Next::OfReseller(after), Scope::Reseller(reseller)) => {
                let read =
                    move |reader: &mut Reader| reader.claims_of_reseller(reseller, &[], after, MAX_ROWS);
                let claims = self.claims.core.read(read).await?;
                let next = claims
                    .last()
                    .map_or(Next::End, |last| Next::OfReseller(Some(ResellerCursor::after_claim(last))));
                Ok((claims, next))
            }
            (Next::Id(after), scope) => {
                let page = PageRequest { size: Some(MAX_ROWS), after };
                let page = self.claims.core.read(move |reader| reader.claims(scope, &filter, &page)).await?;
                Ok((page.items, page.next.map_or(Next::End, |next| Next::Id(Some(next)))))
            }
            (Next::OfReseller(_), _) => Err(ServiceError::OperatorOnly),
        }
    }
}

/// One row of an export.
#[derive(Debug, Clone)]
pub struct ExportedClaim {
    claim: Claim,
    form: ClaimsForm,
    now: Timestamp,
}

impl ExportedClaim {
    /// Returns its cells, one for each column, escaped so that no spreadsheet takes a cell for a formula.
    /// An import reads the original values.
    pub fn cells(&self) -> impl Iterator<Item = String> {
        self.form.columns().map(|column| match self.value(column) {
            Cow::Borrowed(value) => plain_cell(value).into_owned(),
            Cow::Owned(value) => match plain_cell(&value) {
                Cow::Owned(cell) => cell,
                Cow::Borrowed(_) => value,
            },
        })
    }

    fn value(&self, column: &str) -> Cow<'_, str> {
        let claim = &self.claim;
        let vacation = claim.vacation_at(self.now);
        let text = |value: Option<String>| Cow::Owned(value.unwrap_or_default());
        match column {
            "modemtype" => self.modem_type(0),
            "modemtype2" => self.modem_type(1),
            "modemtype3" => self.modem_type(2),
            "modemtype4" => self.modem_type(3),
            "modemid" => self.modem_id(0),
            "modemid2" => self.modem_id(1),
            "modemid3" => self.modem_id(2),
            "modemid4" => self.modem_id(3),
            "serial" => self.identifier(IdentifierKind::SerialNumber),
            "mac_address" => {
                let macs = self.identifiers().filter(|one| one.kind() == IdentifierKind::MacAddress);
                Cow::Owned(macs.map(Identifier::value).collect::<Vec<_>>().join(" "))
            }
            "profiletype" => Cow::Borrowed("ZERO_TOUCH"),
            "owner" => text(Some(claim.customer.to_string())),
            "profileid" => match claim.configuration {
                Some(configuration) => text(Some(configuration.to_string())),
                None => Cow::Borrowed(if self.form == ClaimsForm::Customer { "0" } else { "" }),
            },
            "devicemetadata" if claim.metadata.entries().is_empty() => Cow::Borrowed(""),
            "devicemetadata" => text(serde_json::to_string(&claim.metadata).ok()),
            MANUFACTURE_DATE => {
                Cow::Borrowed(claim.metadata.entries().get(MANUFACTURE_DATE).map_or("", String::as_str))
            }
            "proof" => Cow::Borrowed(claim.proof.name()),
            "order" => Cow::Borrowed(claim.order.as_ref().map_or("", |order| order.as_str())),
            "deviceid" => text(Some(claim.id.to_string())),
            "claimtime" => text(Some(claim.created_at.to_string())),
            "vacationmodestarttime" => text(vacation.map(|vacation| vacation.started_at.to_string())),
            "vacationmodeexpiretime" => text(vacation.map(|vacation| vacation.ends_at.to_string())),
            other => other.parse().map_or(Cow::Borrowed(""), |kind| self.identifier(kind)),
        }
    }

    fn identifiers(&self) -> impl Iterator<Item = &Identifier> {
        self.claim.sets.usable().iter().flat_map(IdentifierSet::members)
    }

    fn identifier(&self, kind: IdentifierKind) -> Cow<'_, str> {
        Cow::Borrowed(self.identifiers().find(|one| one.kind() == kind).map_or("", Identifier::value))
    }

    fn modem(&self, number: usize) -> Option<&Identifier> {
        let is_modem = |one: &&Identifier| matches!(one.kind(), IdentifierKind::Imei | IdentifierKind::Meid);
        self.identifiers().filter(is_modem).nth(number)
    }

    fn modem_type(&self, number: usize) -> Cow<'_, str> {
        Cow::Borrowed(match self.modem(number).map(Identifier::kind) {
            None => "",
            Some(IdentifierKind::Meid) => "MEID",
            Some(_) => "IMEI",
        })
    }

    fn modem_id(&self, number: usize) -> Cow<'_, str> {
        Cow::Borrowed(self.modem(number).map_or("", Identifier::value))
    }
}

/// Serializes the non-empty cells under the names of their columns.
impl Serialize for ExportedClaim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for column in self.form.columns() {
            let value = self.value(column);
            if !value.is_empty() {
                map.serialize_entry(column, &value)?;
            }
        }
        map.end()
    }
}
