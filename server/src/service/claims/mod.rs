//! Claims: one by one, from files, and in long-running operations.

mod claim;
mod export;
mod import;
mod item_results;
mod item_spool;
mod operations;
mod register_claims;
mod reseller_claims;

pub use claim::{ClaimView, NewClaim};
pub use export::{ClaimExport, ClaimsForm, ExportedClaim};
pub use import::{Import, ImportDefaults, ImportSummary, RowOutcome, RowResult};
pub use item_spool::ItemSpool;
pub use reseller_claims::ResellerClaims;

use super::{Catalogue, Tenancy, core::Core};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;
use unbox_common::ids::{CompanyId, OperationId};

/// Claims.
#[derive(Clone)]
pub struct Claims {
    core: Core,
    tenancy: Tenancy,
    catalogue: Catalogue,
    /// The operation of each company that was continued last.
    operation_turns: Arc<Mutex<BTreeMap<CompanyId, OperationId>>>,
    /// Wakes the worker of operations.
    operation_waits: Arc<Notify>,
}

impl Claims {
    pub(super) fn new(core: Core, tenancy: Tenancy, catalogue: Catalogue) -> Self {
        Self { core, tenancy, catalogue, operation_turns: Arc::default(), operation_waits: Arc::default() }
    }
}
