//! Links between companies: resellers and vendors register a customer's devices, EMMs configure them.

use super::companies::customer_of;
use crate::{
    domain::tenancy::{
        actor::{Actor, Scope},
        audit::{Action, Subject},
        company::{Company, CompanyKind, Link},
    },
    service::{ServiceError, Tenancy},
    store::{Page, PageRequest, Tx},
};
use serde_json::json;
use unbox_common::ids::CompanyId;

impl Tenancy {
    /// Lists the companies that work for a customer, or the customers that another company works for. A
    /// company sees its own links.
    pub async fn list_links(
        &self,
        by: &Actor,
        of: &Company,
        page: PageRequest,
    ) -> Result<Page<Link>, ServiceError> {
        let (scope, of) = (by.scope(), of.clone());
        self.core.read(move |reader| reader.links(scope, &of, &page)).await
    }

    /// Links a reseller, vendor or EMM to a customer, or ends the link. A reseller's vendors lose their
    /// links with it.
    ///
    /// Claims that the company registered stay in force, and from then on belong to the customer alone.
    /// Temporary releases end, because nobody else could end them.
    pub async fn set_works_for(
        &self,
        by: &Actor,
        company: CompanyId,
        customer: CompanyId,
        works: bool,
    ) -> Result<(), ServiceError> {
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                // A customer decides for itself with whom it works.
                customer_of(tx, &by, customer)?;
                let found = tx.company(Scope::Operator, company)?;
                if found.is_none_or(|found| found.kind == CompanyKind::Customer) {
                    return Err(ServiceError::not_found("reseller, vendor or EMM", company));
                }
                if !works {
                    return this.end_links(tx, &by, company, customer);
                }
                if tx.link_companies(company, customer, now)? {
                    let (subject, detail) = (Subject::Company(company), json!({"customer": customer}));
                    this.core.note(tx, &by, Action::CompanyLinked, subject, Some(customer), detail);
                }
                Ok(())
            })
            .await
    }

    fn end_links(
        &self,
        tx: &mut Tx,
        by: &Actor,
        company: CompanyId,
        customer: CompanyId,
    ) -> Result<(), ServiceError> {
        let vendors = tx.vendors_working_for(company, customer)?;
        if !tx.unlink_companies(company, customer)? {
            return Ok(());
        }
        for gone in std::iter::once(company).chain(vendors) {
            tx.unlink_companies(gone, customer)?;
            let ended = tx.end_vacations(gone, customer)?;
            let detail = json!({"customer": customer, "temporary_releases_ended": ended});
            let subject = Subject::Company(gone);
            self.core.note(tx, by, Action::CompanyUnlinked, subject, Some(customer), detail);
        }
        Ok(())
    }
}
