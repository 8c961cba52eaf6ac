//! A database for one test, empty but for its schema, and a snapshot of its contents.

use super::postgres::Cluster;
use sqlx::{AnyConnection, AssertSqlSafe, Column as _, Connection as _, Row as _, any::AnyRow};
use std::collections::BTreeMap;
use tempfile::TempDir;
use unbox_server::store::Store;

/// The tables that a refusal must leave unchanged. The audit trail is not among them: it records that
/// somebody was refused.
const TABLES: [&str; 23] = [
    "companies",
    "company_links",
    "configurations",
    "configuration_artifacts",
    "artifacts",
    "artifact_registrations",
    "uploads",
    "dpcs",
    "tokens",
    "claims",
    "claim_keys",
    "claim_search",
    "claim_counts",
    "factory_records",
    "factory_keys",
    "devices",
    "approval_requests",
    "reset_tickets",
    "reports",
    "accounts",
    "api_keys",
    "service_account_keys",
    "access_tokens",
];

/// A database for one test.
pub struct TestDatabase {
    pub url: String,
    pub store: Store,
    /// The directory of an SQLite file and of artifacts; removed with the test.
    pub directory: TempDir,
}

impl TestDatabase {
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = Store::sqlite_url(&directory.path().join("unbox.db"));
        Self { store: Store::create(&url).await.unwrap(), url, directory }
    }

    pub async fn postgres() -> Self {
        let url = Cluster::shared().database().await;
        let directory = tempfile::tempdir().unwrap();
        Self { store: Store::create(&url).await.unwrap(), url, directory }
    }

    /// Opens a connection beside the store, for statements that the store never runs.
    pub async fn connection(&self) -> AnyConnection {
        AnyConnection::connect(&self.url).await.unwrap()
    }

    /// Runs one statement that the store never would.
    pub async fn tamper(&self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.connection().await).await.unwrap();
    }

    /// Returns every row of every table but the audit trail.
    pub async fn snapshot(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut connection = self.connection().await;
        let mut all = BTreeMap::new();
        for table in TABLES {
            let rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}")))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let mut texts: Vec<String> = rows.iter().map(text).collect();
            texts.sort();
            all.insert(table, texts);
        }
        all
    }
}

fn text(row: &AnyRow) -> String {
    let cell = |at: usize| {
        row.try_get::<Option<i64>, _>(at)
            .map(|number| format!("{number:?}"))
            .or_else(|_| row.try_get::<Option<String>, _>(at).map(|text| format!("{text:?}")))
            .unwrap()
    };
    row.columns()
        .iter()
        .map(|column| format!("{}={}", column.name(), cell(column.ordinal())))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs every test on SQLite, and on PostgreSQL where that can be started.
macro_rules! battery {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::support::TestDatabase::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            #[ignore = "needs PostgreSQL: run tests/run"]
            async fn $test() {
                super::$test(crate::support::TestDatabase::postgres().await).await;
            })+
        }
    };
}
