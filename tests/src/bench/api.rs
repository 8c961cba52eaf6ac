//! The management API among a million claims: a reseller's waiting times.

use super::{
    Size, median,
    report::{Row, Unit, format_grouped},
    usage::Usage,
};
use crate::{
    api::{ApiSandbox, Body},
    clock::Stopwatch,
};
use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path, time::Duration};
use tokio::time::sleep;

/// Devices of a page, the maximum.
const PAGE: usize = 100;
/// The pause between two looks at an operation.
const POLL: Duration = Duration::from_millis(20);

/// Fills a sandbox with claims from a file, then claims and looks for devices as resellers do.
///
/// # Errors
/// If anything is refused.
pub(super) async fn measure(folder: &Path, size: &Size) -> Result<Vec<Row>> {
    let floor = Floor::measure(&folder.join("floor"), size)?;
    let sandbox = ApiSandbox::start(&folder.join("sandbox"))?;
    let claims = format_grouped(f64::from(u32::try_from(size.claims)?));
    let mut rows = vec![measure_import(&sandbox, size, &claims, &floor).await?];
    rows.push(measure_single_claims(&sandbox, size, &claims, &floor).await?);
    rows.extend(measure_pages(&sandbox, size, &claims, &floor).await?);
    rows.push(measure_async_claims(&sandbox, size, &floor).await?);
    sandbox.stop()?;
    Ok(rows)
}

/// Measures `partners.devices.import` of a file in the portal's form, with the result of each row.
async fn measure_import(sandbox: &ApiSandbox, size: &Size, claims: &str, floor: &Floor) -> Result<Row> {
    let mut file = "modemtype,modemid,serial,model,manufacturer,profiletype,owner\n".to_owned();
    let owner = &sandbox.environment.customer_id;
    for number in 0..size.claims {
        writeln!(file, ",,FILE{number:08},Gateway 3,Acme,ZERO_TOUCH,{owner}")?;
    }
    let path = format!("/v1/partners/{}/devices:import", sandbox.environment.partner_id);
    let idle = Usage::of(sandbox.id())?.resident_mib();
    let started = Stopwatch::start();
    let results = sandbox.call("reseller", Method::POST, &path, Body::Csv(file)).await?;
    let took = started.elapsed().as_secs_f64();
    let growth = Usage::of(sandbox.id())?.peak_mib() - idle;
    let last = String::from_utf8_lossy(&results);
    let last = last.lines().last().unwrap_or_default();
    let imported = results.split(|byte| *byte == b'\n').filter(|line| contains(line, b",imported,")).count();
    ensure!(last.contains("done") && imported == size.claims, "{imported} rows were imported: {last}");
    let rows = f64::from(u32::try_from(size.claims)?);
    Ok(Row::new(format!("Portal's file of {claims} claims over HTTP"), took, Unit::Secs)
        .at_most(15.0)
        .with_floor(format!(
            "{} per second, the server grew by {growth:.1} MiB; as many bare inserts take {:.2} s",
            format_grouped(rows / took),
            floor.per_row.as_secs_f64() * rows,
        )))
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|part| part == word)
}

/// Measures `partners.devices.claim`, call after call on one connection.
async fn measure_single_claims(
    sandbox: &ApiSandbox,
    size: &Size,
    claims: &str,
    floor: &Floor,
) -> Result<Row> {
    let path = format!("/v1/partners/{}/devices:claim", sandbox.environment.partner_id);
    let mut times = Vec::with_capacity(size.samples);
    for number in 0..size.samples {
        let message = claim(sandbox, "ONE", number);
        let started = Stopwatch::start();
        sandbox.post("reseller", &path, &message).await?;
        times.push(started.elapsed());
    }
    let of_hundred = millis(percentile(times.clone(), 99));
    Ok(Row::new(format!("Claim by one call among {claims}, 99 of 100"), of_hundred, Unit::Millis)
        .at_most(5.0)
        .with_floor(format!(
            "median {:.2} ms; a bare durable insert among as many rows takes {:.2} ms, 99 of 100 within {:.2} ms",
            millis(median(times)),
            millis(floor.insert),
            millis(floor.insert_99),
        )))
}

/// Measures `partners.devices.findByOwner`: the first page and the last one.
async fn measure_pages(sandbox: &ApiSandbox, size: &Size, claims: &str, floor: &Floor) -> Result<Vec<Row>> {
    let last = (size.claims / PAGE).max(1);
    let mut token = String::new();
    for _ in 1..last {
        token = time_page(sandbox, &token).await?.1;
        ensure!(!token.is_empty(), "there are fewer pages than claims");
    }
    let (mut first, mut end) = (Vec::new(), Vec::new());
    for _ in 0..size.samples.min(100) {
        first.push(time_page(sandbox, "").await?.0);
        end.push(time_page(sandbox, &token).await?.0);
    }
    let (first, end) = (millis(median(first)), millis(median(end)));
    let row = |number: usize, time| {
        let number = format_grouped(f64::from(u32::try_from(number).unwrap_or(u32::MAX)));
        Row::new(
            format!("Page {number} of findByOwner, {PAGE} of {claims} devices, median"),
            time,
            Unit::Millis,
        )
    };
    let look_up = millis(floor.look_up);
    Ok(vec![
        row(1, first).with_floor(format!("{PAGE} bare look-ups among as many rows take {look_up:.2} ms")),
        row(last, end)
            .at_most((first * 1.5 * 100.0).round() / 100.0)
            .with_floor("flat is within a half of page 1"),
    ])
}

async fn time_page(sandbox: &ApiSandbox, token: &str) -> Result<(Duration, String)> {
    let path = format!("/v1/partners/{}/devices:findByOwner", sandbox.environment.partner_id);
    let message = json!({
        "customerId": [sandbox.environment.customer_id],
        "limit": PAGE.to_string(),
        "pageToken": token,
        "sectionType": "SECTION_TYPE_ZERO_TOUCH",
    });
    let started = Stopwatch::start();
    let answer = sandbox.post("reseller", &path, &message).await?;
    let next = answer.get("nextPageToken").and_then(Value::as_str).unwrap_or_default();
    Ok((started.elapsed(), next.to_owned()))
}

/// Measures `partners.devices.claimAsync`, from the request to the end of the operation.
async fn measure_async_claims(sandbox: &ApiSandbox, size: &Size, floor: &Floor) -> Result<Row> {
    let devices = size.claims.min(100_000);
    let claims: Vec<Value> = (0..devices).map(|number| claim(sandbox, "ALL", number)).collect();
    let message = json!({"claims": claims});
    let path = format!("/v1/partners/{}/devices:claimAsync", sandbox.environment.partner_id);
    let started = Stopwatch::start();
    let operation = sandbox.post("reseller", &path, &message).await?;
    let accepted = started.elapsed();
    let name = operation.get("name").and_then(Value::as_str).context("an operation has a name")?;
    let poll = format!("/v1/{name}?fields=done,response/successCount");
    let ended = loop {
        let answer = sandbox.call("reseller", Method::GET, &poll, Body::Nothing).await?;
        let answer: Value = serde_json::from_slice(&answer).context("parse an operation")?;
        if answer.get("done") == Some(&Value::Bool(true)) {
            break answer;
        }
        sleep(POLL).await;
    };
    let took = started.elapsed().as_secs_f64();
    let succeeded = ended.pointer("/response/successCount").and_then(Value::as_u64);
    ensure!(succeeded == u64::try_from(devices).ok(), "of {devices} devices were claimed: {ended}");
    let devices = f64::from(u32::try_from(devices)?);
    Ok(Row::new(format!("claimAsync of {} devices", format_grouped(devices)), took, Unit::Secs)
        .at_most(5.0)
        .with_floor(format!(
            "accepted after {:.2} s; as many bare inserts in transactions of {} take {:.2} s",
            accepted.as_secs_f64(),
            Floor::ROWS,
            floor.per_row.as_secs_f64() * devices,
        )))
}

fn claim(sandbox: &ApiSandbox, series: &str, number: usize) -> Value {
    json!({
        "deviceIdentifier": {
            "serialNumber": format!("{series}{number:08}"),
            "manufacturer": "Acme",
            "model": "Gateway 3",
        },
        "sectionType": "SECTION_TYPE_ZERO_TOUCH",
        "customerId": sandbox.environment.customer_id,
    })
}

/// The cost of the database alone: one table, one index, the same durability.
struct Floor {
    insert: Duration,
    insert_99: Duration,
    /// The time to read [`PAGE`] rows by their key.
    look_up: Duration,
    /// The time for one of many rows in a transaction.
    per_row: Duration,
}

impl Floor {
    /// Rows of one transaction, as in an operation.
    const ROWS: usize = 500;

    fn measure(folder: &Path, size: &Size) -> Result<Self> {
        std::fs::create_dir_all(folder).context("make a directory for the floor")?;
        let database = Connection::open(folder.join("floor.db")).context("open a database")?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE claims (id INTEGER PRIMARY KEY, serial TEXT UNIQUE NOT NULL)",
        )?;
        let fill = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1) \
                    INSERT INTO claims (serial) SELECT printf('SB%08d', n) FROM numbers";
        let rows = i64::try_from(size.claims)?;
        database.execute(fill, [rows]).context("fill it")?;
        let (mut inserts, mut look_ups, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..size.samples {
            let started = Stopwatch::start();
            insert(&database, &format!("ONE{number:08}"))?;
            inserts.push(started.elapsed());
        }
        for round in 0..size.samples.min(20) {
            let started = Stopwatch::start();
            for number in 0..PAGE {
                let key = format!("SB{:08}", (round * PAGE + number) % size.claims);
                let mut found = database.prepare_cached("SELECT id FROM claims WHERE serial = $1")?;
                found.query_row([key], |row| row.get::<_, i64>(0)).context("look a row up")?;
            }
            look_ups.push(started.elapsed());
            let started = Stopwatch::start();
            database.execute_batch("BEGIN IMMEDIATE").context("begin")?;
            for number in 0..Self::ROWS {
                insert(&database, &format!("ALL{round:04}{number:08}"))?;
            }
            database.execute_batch("COMMIT").context("commit")?;
            batches.push(started.elapsed());
        }
        Ok(Self {
            insert: median(inserts.clone()),
            insert_99: percentile(inserts, 99),
            look_up: median(look_ups),
            per_row: median(batches) / u32::try_from(Self::ROWS)?,
        })
    }
}

fn insert(database: &Connection, serial: &str) -> Result<()> {
    let mut insert = database.prepare_cached("INSERT INTO claims (serial) VALUES ($1)")?;
    insert.execute([serial]).context("insert a row")?;
    Ok(())
}

/// Returns the time that this many of a hundred do not exceed.
fn percentile(mut times: Vec<Duration>, of_hundred: usize) -> Duration {
    times.sort_unstable();
    times
        .get((times.len() * of_hundred / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
