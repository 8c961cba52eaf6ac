//! The catalogue of DPCs, maintained by the operator and readable by everybody.

use super::configurations::check_artifact;
use crate::{
    domain::{
        catalogue::dpc::{self, CatalogueDpc},
        name::Name,
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{Catalogue, ServiceError},
    store::{Page, PageRequest},
};
use serde_json::json;
use unbox_common::payload::DpcName;

impl Catalogue {
    /// Adds a DPC from its JSON description, or replaces the one with its name. Existing configurations
    /// keep the version that they were made from.
    pub async fn save_dpc(
        &self,
        by: &Actor,
        title: Option<&str>,
        description: &str,
    ) -> Result<CatalogueDpc, ServiceError> {
        check_operator(by)?;
        let dpc = dpc::parse(description).map_err(|error| ServiceError::invalid("dpc", error))?;
        let title: Option<Name> =
            title.map(str::parse).transpose().map_err(|error| ServiceError::invalid("title", error))?;
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                check_artifact(tx, "dpc", None, &dpc.artifact)?;
                let was = tx.dpc(&dpc.name)?;
                let name = || dpc.name.to_string().parse::<Name>();
                let title = match title.clone().or_else(|| was.as_ref().map(|was| was.title.clone())) {
                    Some(title) => title,
                    None => name().map_err(|error| ServiceError::invalid("title", error))?,
                };
                let created_at = was.map_or(now, |was| was.created_at);
                let new = CatalogueDpc { title, dpc: dpc.clone(), created_at, updated_at: now };
                tx.save_dpc(&new)?;
                let detail = json!({"name": new.dpc.name, "version": new.dpc.version});
                this.core.note(tx, &by, Action::DpcSaved, Subject::Unknown, None, detail);
                Ok(new)
            })
            .await
    }

    /// Lists the catalogue, by name.
    pub async fn list_dpcs(&self, page: PageRequest) -> Result<Page<CatalogueDpc>, ServiceError> {
        self.core.read(move |reader| reader.dpcs(&page)).await
    }

    /// Finds a DPC by its name.
    pub async fn dpc(&self, name: &str) -> Result<CatalogueDpc, ServiceError> {
        let missing = || ServiceError::not_found("DPC", crate::service::tenancy::quote_name(name));
        let name: DpcName = name.parse().map_err(|_| missing())?;
        self.core.read(move |reader| reader.dpc(&name)).await?.ok_or_else(missing)
    }

    /// Removes a DPC from the catalogue. Configurations that were made from it keep it.
    pub async fn delete_dpc(&self, by: &Actor, name: &str) -> Result<(), ServiceError> {
        check_operator(by)?;
        let name = self.dpc(name).await?.dpc.name;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                if !tx.delete_dpc(&name)? {
                    return Err(ServiceError::not_found("DPC", &name));
                }
                this.core.note(tx, &by, Action::DpcDeleted, Subject::Unknown, None, json!({"name": name}));
                Ok(())
            })
            .await
    }
}

fn check_operator(by: &Actor) -> Result<(), ServiceError> {
    if by.scope() == Scope::Operator { Ok(()) } else { Err(ServiceError::OperatorOnly) }
}
