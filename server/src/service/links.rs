//! Who works for a customer: resellers and vendors register its devices, EMMs configure them.

use super::{ServiceError, Services, companies::customer_of};
use crate::{
    domain::{
        actor::{Actor, Scope},
        audit::{Action, Subject},
        company::{Company, CompanyKind, Link},
    },
    store::{Page, PageRequest},
};
use serde_json::json;
use unbox_common::ids::CompanyId;

impl Services {
    /// Lists who works for a customer, or for whom a company of another kind works. A company sees its
    /// own.
    pub async fn list_links(
        &self,
        by: &Actor,
        of: &Company,
        page: PageRequest,
    ) -> Result<Page<Link>, ServiceError> {
        Ok(self.0.store.reader().await?.links(by.scope(), of, &page).await?)
    }

    /// Lets a reseller, vendor or EMM work for a customer, or ends that. What it has claimed stays
    /// claimed.
    pub async fn set_works_for(
        &self,
        by: &Actor,
        company: CompanyId,
        customer: CompanyId,
        works: bool,
    ) -> Result<(), ServiceError> {
        let now = self.now();
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by) = (services.clone(), by.clone());
                Box::pin(async move {
                    // Whom a customer works with is its own decision.
                    customer_of(tx, &by, customer).await?;
                    let found = tx.company(Scope::Operator, company).await?;
                    if found.is_none_or(|found| found.kind == CompanyKind::Customer) {
                        return Err(ServiceError::not_found("reseller, vendor or EMM", company));
                    }
                    let (changed, action) = if works {
                        (tx.link_companies(company, customer, now).await?, Action::CompanyLinked)
                    } else {
                        (tx.unlink_companies(company, customer).await?, Action::CompanyUnlinked)
                    };
                    if changed {
                        let (subject, detail) = (Subject::Company(company), json!({"customer": customer}));
                        services.note(tx, &by, action, subject, Some(customer), detail);
                    }
                    Ok(())
                })
            })
            .await
    }
}
