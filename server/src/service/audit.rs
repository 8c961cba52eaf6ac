//! The audit trail, as administrators read it.

use super::{ServiceError, Services};
use crate::{
    domain::{actor::Actor, audit::Entry},
    store::{AuditFilter, Page, PageRequest},
};

impl Services {
    /// Lists the audit trail, newest first.
    pub async fn list_audit(
        &self,
        by: &Actor,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<Entry>, ServiceError> {
        Err(ServiceError::Busy)
    }
}
