//! A database for one test, empty but for its schema, and a snapshot of its contents.

use super::{beside, postgres::Cluster};
use std::collections::BTreeMap;
use tempfile::TempDir;
use unbox_server::store::{Dumped, Reader, Store, StoreError, Value};

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

    /// Reads from the store.
    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.read(job).await.unwrap()
    }

    /// Runs one statement that the store never would.
    pub fn tamper(&self, statement: &'static str) {
        beside(&self.url, |database| database.run(statement));
    }

    /// Returns every row of every table but the audit trail.
    pub async fn snapshot(&self) -> BTreeMap<&'static str, Vec<String>> {
        let store = Store::inspect(&self.url).await.unwrap();
        let dumped = store
            .dump((Snapshot::default(), None), |all, part| {
                take_row(all, part);
                Ok::<_, StoreError>(())
            })
            .await;
        store.close().await;
        let (Snapshot(mut all), _) = dumped.unwrap();
        for rows in all.values_mut() {
            rows.sort();
        }
        for table in TABLES {
            all.entry(table).or_default();
        }
        all
    }
}

/// The rows of the tables that a refusal must leave unchanged.
#[derive(Default)]
struct Snapshot(BTreeMap<&'static str, Vec<String>>);

/// The table whose rows come next, and its columns.
type Head = Option<(&'static str, Vec<String>)>;

fn take_row((all, head): &mut (Snapshot, Head), part: Dumped) {
    match (part, head) {
        (Dumped::Table { table, columns }, head) => {
            *head = TABLES.into_iter().find(|known| *known == table).map(|table| (table, columns));
        }
        (Dumped::Row(values), Some((table, columns))) => {
            all.0.entry(table).or_default().push(text(columns, &values));
        }
        (Dumped::Row(_), None) => {}
    }
}

fn text(columns: &[String], values: &[Value]) -> String {
    let cells = columns.iter().zip(values).map(|(column, value)| format!("{column}={value:?}"));
    cells.collect::<Vec<_>>().join(" ")
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
