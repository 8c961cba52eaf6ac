//! Artifacts: what is registered, not the bytes.

use super::{
    Page, PageRequest, Reader, StoreError, Tx,
    error::{failed, one_row},
    row::{Fields, millis, number},
};
use crate::domain::artifact::Artifact;
use sqlx::{Row as _, any::AnyRow};
use unbox_common::digest::Sha256;

const SELECT: &str = "SELECT sha256, size, name, created_at FROM artifacts WHERE 1 = 1";

fn artifact(row: &AnyRow) -> Result<Artifact, StoreError> {
    let fields = Fields::of(row, "artifacts", "sha256");
    Ok(Artifact {
        sha256: fields.parse("sha256")?,
        size: fields.count("size")?,
        name: fields.parse("name")?,
        created_at: fields.time("created_at")?,
    })
}

impl Reader {
    /// An artifact by its digest.
    pub async fn artifact(&mut self, sha256: Sha256) -> Result<Option<Artifact>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("sha256 =", Some(sha256.to_string()));
        let row = sql.query().fetch_optional(self.connection()).await.map_err(failed("find an artifact"))?;
        row.as_ref().map(artifact).transpose()
    }

    /// Artifacts, ordered by digest.
    pub async fn artifacts(&mut self, page: &PageRequest) -> Result<Page<Artifact>, StoreError> {
        let after: Option<Sha256> = page.key()?;
        let mut sql = self.sql(SELECT);
        sql.filter("sha256 >", after.map(|digest| digest.to_string()))
            .push(" ORDER BY sha256 LIMIT ")
            .bind(page.limit());
        let rows = sql.query().fetch_all(self.connection()).await.map_err(failed("list artifacts"))?;
        let artifacts = rows.iter().map(artifact).collect::<Result<_, _>>()?;
        Ok(page.page(artifacts, |one: &Artifact| one.sha256))
    }

    /// How many configurations and DPCs of the catalogue need an artifact.
    pub async fn artifact_uses(&mut self, sha256: Sha256) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM configuration_artifacts WHERE sha256 = $1)
                  + (SELECT COUNT(*) FROM dpcs WHERE sha256 = $1) AS uses",
        )
        .bind(sha256.to_string())
        .fetch_one(self.connection())
        .await
        .map_err(failed("see what uses an artifact"))?;
        let uses: i64 = row.try_get("uses").map_err(failed("see what uses an artifact"))?;
        Ok(u64::try_from(uses).unwrap_or_default())
    }
}

impl Tx {
    /// Registers an artifact; `false` if it is registered already.
    pub async fn insert_artifact(&mut self, new: &Artifact) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO artifacts (sha256, size, name, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (sha256) DO NOTHING",
        )
        .bind(new.sha256.to_string())
        .bind(number(new.size))
        .bind(new.name.as_str())
        .bind(millis(new.created_at))
        .execute(self.connection())
        .await
        .map_err(failed("register an artifact"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Forgets an artifact that nothing uses.
    pub async fn delete_artifact(&mut self, sha256: Sha256) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM artifacts WHERE sha256 = $1")
            .bind(sha256.to_string())
            .execute(self.connection())
            .await
            .map_err(failed("delete an artifact"))?;
        one_row("delete an artifact", done.rows_affected())
    }
}
