//! Devices, their handshakes and reports, the requests of those that wait, and tokens.

mod device;
mod enrollment;
mod reports;
mod requests;
mod tokens;

pub use device::DeviceFilter;
pub use enrollment::{EnrollmentFacts, ManagedFacts, OtherHolder, ShownSecrets, TokenFacts};
pub use reports::{REPORTS_KEPT, StoredReport};
pub use tokens::ResetTicket;
