//! Ids that the server assigns: opaque to devices, `int64` inside the server.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The error for a text that is not the decimal form of a positive 64-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a positive decimal number of at most 19 digits")]
pub struct NotAnId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// A positive `int64`; a decimal string in JSON, so that no client rounds it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// Makes an id from the number in the database.
            ///
            /// # Errors
            /// [`NotAnId`] unless it is positive.
            pub const fn new(value: i64) -> Result<Self, NotAnId> {
                if value > 0 { Ok(Self(value)) } else { Err(NotAnId) }
            }

            /// Returns the number in the database.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(NotAnId);
                }
                text.parse().map_err(|_| NotAnId).and_then(Self::new)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One physical device, for as long as it is known.
    DeviceId
);
id!(
    /// One claim: a reseller's registration of a device for a customer.
    ClaimId
);
id!(
    /// One device as a factory registered it.
    FactoryRecordId
);
id!(
    /// A company: reseller, customer or EMM.
    CompanyId
);
id!(
    /// A customer's configuration: DPC, policy and contact.
    ConfigurationId
);
id!(
    /// A pre-provisioning token: its name, not its secret.
    TokenId
);
id!(
    /// A long-running operation.
    OperationId
);
id!(
    /// One registration of an artifact: its owner, and the owner's name for it.
    ArtifactId
);
id!(
    /// An upload in several requests.
    UploadId
);
id!(
    /// An account: a person or a program that may call the server.
    AccountId
);
id!(
    /// An API key: its name, not its secret.
    ApiKeyId
);

/// The count of a device's enrollments; the first enrollment is 1, and it never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// Returns the generation of the next enrollment.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positive_decimal_strings() {
        assert_eq!("42".parse::<DeviceId>().map(DeviceId::get), Ok(42));
        assert_eq!(serde_json::to_string(&DeviceId(42)).unwrap(), "\"42\"");
        for bad in ["", "0", "-1", "+1", "4 2", "9223372036854775808", "x"] {
            assert_eq!(bad.parse::<DeviceId>(), Err(NotAnId), "{bad}");
        }
    }
}
