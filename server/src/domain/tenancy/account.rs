//! Accounts: the people and programs of a company, and what each may do.

use crate::domain::{closed_set::closed_set, name::Name};
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};
use unbox_common::{
    ids::{AccountId, CompanyId},
    timestamp::Timestamp,
};

/// The longest e-mail address (RFC 5321, section 4.5.3.1, as corrected by erratum 1690).
const MAX_EMAIL_BYTES: usize = 254;
/// The longest local part, before the `@`.
const MAX_LOCAL_BYTES: usize = 64;
/// The longest name of a service account: it has to fit before an `@`.
const MAX_SERVICE_NAME_BYTES: usize = MAX_LOCAL_BYTES - 1;
/// The domain of service accounts' addresses; mail never arrives there (RFC 2606, section 2).
const SERVICE_DOMAIN: &str = "unbox.invalid";

closed_set! {
    /// The kind of account.
    pub enum AccountKind {
        /// A person.
        User = "user",
        /// A program.
        ServiceAccount = "service_account",
    }
}

closed_set! {
    /// The role of an account. Each role includes those before it.
    pub enum Role {
        /// The role of a factory's test station: it looks devices up, registers them and reads
        /// registrations, where a method permits it. Only service accounts have this role.
        Station = "station",
        /// Read access.
        Viewer = "viewer",
        /// All rights except over owners.
        Admin = "admin",
        /// All rights.
        Owner = "owner",
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The company that it belongs to; `None` for accounts of the server's operator.
    pub company: Option<CompanyId>,
    /// Its kind: of a person or of a program.
    pub kind: AccountKind,
    /// The name that people use for it.
    pub name: Name,
    /// The e-mail address, unique within a company; for a service account, the name by which it signs in,
    /// given by this server.
    pub email: Email,
    /// Its role.
    pub role: Role,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The time from which it is disabled.
    pub disabled_at: Option<Timestamp>,
}

/// An e-mail address in lower case, so that two accounts never differ in case alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// The text cannot be the e-mail address of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an e-mail address such as it@acme.example")]
pub struct InvalidEmail;

/// The text cannot be the name of a service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to {MAX_SERVICE_NAME_BYTES} lower-case letters, digits and hyphens that start with a letter and \
     do not end with a hyphen"
)]
pub struct InvalidServiceName;

impl Role {
    /// Returns true if an account with this role may create and change accounts of role `other`, and issue
    /// their credentials. Nobody can grant more power than they have.
    #[must_use]
    pub fn may_manage(self, other: Self) -> bool {
        self >= Self::Admin && self >= other
    }
}

impl Account {
    /// Returns true if this is an owner that is not disabled.
    #[must_use]
    pub fn is_active_owner(&self) -> bool {
        self.role == Role::Owner && self.disabled_at.is_none()
    }

    /// Returns true if it may make changes on behalf of this company.
    #[must_use]
    pub fn may_change_for(&self, company: CompanyId) -> bool {
        self.company == Some(company) && self.role >= Role::Admin && self.disabled_at.is_none()
    }

    /// Returns true if a company that has `other_owners` beside this account would be left without an owner if
    /// the account became `after`, or were deleted (`None`). The operator's own accounts may all be deleted,
    /// because access to the machine is enough to administer the server.
    #[must_use]
    pub fn leaves_no_owner(&self, after: Option<&Self>, other_owners: u64) -> bool {
        self.company.is_some()
            && self.is_active_owner()
            && !after.is_some_and(Self::is_active_owner)
            && other_owners == 0
    }
}

impl Email {
    /// Returns the address by which a service account signs in.
    ///
    /// # Errors
    /// [`InvalidServiceName`] if the name cannot be a local part.
    pub fn of_service_account(name: &str, company: Option<CompanyId>) -> Result<Self, InvalidServiceName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=MAX_SERVICE_NAME_BYTES).contains(&name.len())
            && name.bytes().all(plain)
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && !name.ends_with('-');
        if !good {
            return Err(InvalidServiceName);
        }
        let company = company.map_or_else(|| "operator".to_owned(), |id| id.to_string());
        Ok(Self(format!("{name}@{company}.{SERVICE_DOMAIN}")))
    }

    /// Reads an address from the database.
    ///
    /// # Errors
    /// [`InvalidEmail`] unless it is a service account's address or a person's.
    pub fn from_stored(text: &str) -> Result<Self, InvalidEmail> {
        if text.ends_with(SERVICE_DOMAIN) { Ok(Self(text.to_owned())) } else { text.parse() }
    }

    /// Returns the address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;

    /// Reads a person's address. Quoted and non-ASCII addresses are refused: few systems accept them.
    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        let (local, host) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        let atom = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
            !part.is_empty() && part.bytes().all(allowed)
        };
        let label = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&part.len())
                && part.bytes().all(allowed)
                && !(part.starts_with('-') || part.ends_with('-'))
        };
        let good = text.len() <= MAX_EMAIL_BYTES
            && local.len() <= MAX_LOCAL_BYTES
            && local.split('.').all(atom)
            && host.split('.').all(label)
            && host.contains('.');
        let email = text.to_ascii_lowercase();
        // A person must not look like a program.
        if good && !email.ends_with(".invalid") { Ok(Self(email)) } else { Err(InvalidEmail) }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_one_person() {
        let email: Email = " IT.Admin+zt@Acme.Example ".parse().unwrap();
        assert_eq!(email.as_str(), "it.admin+zt@acme.example");
        let (long_local, long_host) = ("a".repeat(65), format!("{}.example", "b.".repeat(120)));
        for bad in [
            "",
            "it",
            "@acme.example",
            "it@",
            "it@acme",
            "it@acme..example",
            "it@-acme.example",
            ".it@acme.example",
            "i t@acme.example",
            "it@acme.example\r\nBcc: x",
            "\"it\"@acme.example",
            "\u{fc}ber@acme.example",
            "a@b@acme.example",
            "robot@7.unbox.invalid",
            &format!("{long_local}@acme.example"),
            &format!("it@{long_host}"),
        ] {
            assert_eq!(bad.parse::<Email>(), Err(InvalidEmail), "{bad}");
        }
    }

    #[test]
    fn a_service_account_is_named_by_its_company() {
        let company = CompanyId::new(7).unwrap();
        let of = |name, company| Email::of_service_account(name, company).map(|email| email.to_string());
        assert_eq!(of("order-system", Some(company)).unwrap(), "order-system@7.unbox.invalid");
        assert_eq!(of("robot", None).unwrap(), "robot@operator.unbox.invalid");
        let long = "a".repeat(64);
        for bad in ["", "Order", "1st", "-x", "x-", "a b", "a@b", "a.b", long.as_str()] {
            assert_eq!(of(bad, None), Err(InvalidServiceName), "{bad}");
        }
    }

    #[test]
    fn nobody_manages_their_betters() {
        use Role::{Admin, Owner, Viewer};
        for (own, other, may) in [
            (Viewer, Viewer, false),
            (Admin, Viewer, true),
            (Admin, Admin, true),
            (Admin, Owner, false),
            (Owner, Owner, true),
        ] {
            assert_eq!(own.may_manage(other), may, "{own} {other}");
        }
    }

    #[test]
    fn the_last_owner_of_a_company_stays() {
        let owner = Account {
            id: AccountId::new(1).unwrap(),
            company: Some(CompanyId::new(7).unwrap()),
            kind: AccountKind::User,
            name: "IT".parse().unwrap(),
            email: "it@acme.example".parse().unwrap(),
            role: Role::Owner,
            created_at: Timestamp(1),
            disabled_at: None,
        };
        let demoted = Account { role: Role::Admin, ..owner.clone() };
        let disabled = Account { disabled_at: Some(Timestamp(2)), ..owner.clone() };
        let renamed = Account { name: "X".parse().unwrap(), ..owner.clone() };
        for after in [None, Some(&demoted), Some(&disabled)] {
            assert!(owner.leaves_no_owner(after, 0), "{after:?}");
            assert!(!owner.leaves_no_owner(after, 1), "{after:?}");
        }
        assert!(!owner.leaves_no_owner(Some(&renamed), 0));
        assert!(!disabled.leaves_no_owner(None, 0), "it owned nothing any more");
        assert!(!Account { company: None, ..owner }.leaves_no_owner(None, 0));
    }
}
