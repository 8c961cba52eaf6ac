//! The catalogue of DPCs.

use crate::{
    domain::catalogue::dpc::CatalogueDpc,
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        row::{Fields, document, millis},
    },
};
use unbox_common::payload::DpcName;

const SELECT: &str = "SELECT name, title, document, created_at, updated_at FROM dpcs WHERE 1 = 1";

fn dpc(row: &Row) -> Result<CatalogueDpc, StoreError> {
    let fields = Fields::of(row, "dpcs", "name");
    Ok(CatalogueDpc {
        title: fields.parse("title")?,
        dpc: fields.json("document")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

impl Reader {
    /// Returns a DPC by its name.
    pub fn dpc(&mut self, name: &DpcName) -> Result<Option<CatalogueDpc>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("name =", Some(name.to_string()));
        let row = sql.query().fetch_optional(self.connection(), "find a DPC")?;
        row.as_ref().map(dpc).transpose()
    }

    /// Lists DPCs, by name.
    pub fn dpcs(&mut self, page: &PageRequest) -> Result<Page<CatalogueDpc>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("name >", page.after.clone()).push(" ORDER BY name LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list DPCs")?;
        let dpcs = rows.iter().map(dpc).collect::<Result<_, _>>()?;
        Ok(page.page(dpcs, |one: &CatalogueDpc| one.dpc.name.to_string()))
    }
}

impl Tx {
    /// Adds a DPC, or replaces the one with its name.
    pub fn save_dpc(&mut self, new: &CatalogueDpc) -> Result<(), StoreError> {
        let own = new.dpc.artifact.url.is_none().then(|| new.dpc.artifact.sha256.to_string());
        query(
            "INSERT INTO dpcs (name, title, document, sha256, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET title = excluded.title, document = excluded.document,
                 sha256 = excluded.sha256, updated_at = excluded.updated_at",
        )
        .bind(new.dpc.name.to_string())
        .bind(new.title.as_str())
        .bind(document(&new.dpc))
        .bind(own)
        .bind(millis(new.created_at))
        .bind(millis(new.updated_at))
        .execute(self.connection(), "save a DPC")?;
        Ok(())
    }

    /// Removes a DPC from the catalogue; returns `false` if it was not there.
    pub fn delete_dpc(&mut self, name: &DpcName) -> Result<bool, StoreError> {
        let done = query("DELETE FROM dpcs WHERE name = $1")
            .bind(name.to_string())
            .execute(self.connection(), "delete a DPC")?;
        Ok(done == 1)
    }
}
