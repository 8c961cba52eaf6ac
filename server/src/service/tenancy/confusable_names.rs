//! Companies whose names look alike, so that people may confuse them. Nothing is refused because of it: two
//! companies can have nearly the same name, and those who decide are warned.

use crate::{
    domain::tenancy::{actor::Actor, company::Company},
    service::{ServiceError, Tenancy},
    store::{StoreError, Tx},
};
use serde_json::{Map, Value, json};
use unbox_common::ids::CompanyId;

impl Tenancy {
    /// Returns a warning if other companies' names look like this one's. Companies that the actor does not
    /// see are counted but not named.
    pub async fn confusable_name_warning(
        &self,
        by: &Actor,
        company: &Company,
    ) -> Result<Option<String>, ServiceError> {
        let (scope, new) = (by.scope(), company.clone());
        let found = self.core.read(move |reader| {
            let (mut named, mut unseen) = (Vec::new(), 0);
            for other in reader.companies_like(&new)? {
                match reader.company(scope, other.id)? {
                    Some(other) => named.push(format!("{} {:?} ({})", other.kind, other.name, other.id)),
                    None => unseen += 1,
                }
            }
            Ok::<_, StoreError>((named, unseen))
        });
        let (mut named, unseen) = found.await?;
        if unseen > 0 {
            named.push(format!("{unseen} that your organisation does not see"));
        }
        Ok((!named.is_empty()).then(|| {
            format!(
                "The name {:?} looks like that of {}. Choose another, or make sure that nobody takes one for \
                 the other.",
                company.name,
                named.join(", ")
            )
        }))
    }
}

/// Adds the companies with similar names to the audit detail of a company.
pub(super) fn add_confusable_names(
    tx: &mut Tx,
    company: &Company,
    mut detail: Map<String, Value>,
) -> Result<Value, ServiceError> {
    let alike: Vec<CompanyId> = tx.companies_like(company)?.into_iter().map(|other| other.id).collect();
    if !alike.is_empty() {
        detail.insert("looks_like".to_owned(), json!(alike));
    }
    Ok(Value::Object(detail))
}
