//! Who works for a customer: resellers and vendors register its devices, EMMs configure them.

use super::{ServiceError, Services, companies::customer_of};
use crate::{
    domain::{
        actor::{Actor, Scope},
        audit::{Action, Subject},
        company::{Company, CompanyKind, Link},
    },
    store::{Page, PageRequest, Tx},
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

    /// Lets a reseller, vendor or EMM work for a customer, or ends that. With a reseller go its vendors.
    ///
    /// Claims that it registered stay in force, and are the customer's alone from then on: a temporary
    /// release, which nobody else could end, is over.
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
                    if !works {
                        return services.end_links(tx, &by, company, customer).await;
                    }
                    if tx.link_companies(company, customer, now).await? {
                        let (subject, detail) = (Subject::Company(company), json!({"customer": customer}));
                        services.note(tx, &by, Action::CompanyLinked, subject, Some(customer), detail);
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn end_links(
        &self,
        tx: &mut Tx,
        by: &Actor,
        company: CompanyId,
        customer: CompanyId,
    ) -> Result<(), ServiceError> {
        let vendors = tx.vendors_working_for(company, customer).await?;
        if !tx.unlink_companies(company, customer).await? {
            return Ok(());
        }
        for gone in std::iter::once(company).chain(vendors) {
            tx.unlink_companies(gone, customer).await?;
            let ended = tx.end_vacations(gone, customer).await?;
            let detail = json!({"customer": customer, "temporary_releases_ended": ended});
            let subject = Subject::Company(gone);
            self.note(tx, by, Action::CompanyUnlinked, subject, Some(customer), detail);
        }
        Ok(())
    }
}
