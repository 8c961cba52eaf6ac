//! `cargo bench-unbox`: the tables of the README, measured on this machine, in this run.

use anyhow::{Context as _, Result};
use clap::Parser;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_tests::bench::{agent, claims, enrollment, floor::Floor, payload};

/// Measures Unbox beside the floor of the same machine and run; prints Markdown.
#[derive(Debug, Parser)]
struct Arguments {
    /// Devices that power on.
    #[arg(long, default_value_t = 3000)]
    devices: usize,
    /// Devices in the middle of something at the same time.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Claims of the import, and of the larger look-up.
    #[arg(long, default_value_t = 1_000_000)]
    claims: usize,
    /// Starts of the real agent.
    #[arg(long, default_value_t = 25)]
    agents: usize,
    /// Where to work: on the disk that is to be measured. A temporary directory if absent.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir().context("make a directory")?;
    let folder = arguments.directory.as_deref().unwrap_or(temporary.path());
    let folder = tempfile::tempdir_in(folder).context("make a directory")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let mut tables = String::new();

    say("floor")?;
    let floor = Floor::measure(folder.path())?;
    floor_table(&mut tables, &floor)?;
    say("a fleet powers on")?;
    let place = folder.path().join("fleet");
    let fleet = runtime.block_on(enrollment::measure(&place, arguments.devices, arguments.at_once))?;
    enrollment_table(&mut tables, &fleet, &floor)?;
    say("the real agent")?;
    agent_table(&mut tables, folder.path(), arguments.agents)?;
    say("claims")?;
    let place = folder.path().join("claims");
    claims_table(&mut tables, &runtime.block_on(claims::measure(&place, arguments.claims))?)?;
    std::io::stdout().write_all(tables.as_bytes()).context("print the tables")
}

fn say(what: &str) -> Result<()> {
    writeln!(std::io::stderr(), "measuring: {what}").context("say what is measured")
}

fn floor_table(out: &mut String, floor: &Floor) -> Result<()> {
    writeln!(out, "| floor, this machine and run | |\n|---|---|")?;
    for (what, time) in [
        ("server half of a TLS 1.3 handshake", floor.tls_handshake),
        ("P-256 verification", floor.p256_verify),
        ("P-256 signature", floor.p256_sign),
        ("Ed25519 signature", floor.ed25519_sign),
        ("durable append (write and fdatasync)", floor.durable_write),
    ] {
        writeln!(out, "| {what} | {} |", micros(time))?;
    }
    Ok(())
}

fn enrollment_table(out: &mut String, found: &enrollment::EnrollmentFigures, floor: &Floor) -> Result<()> {
    let unavoidable = floor.enrollment_cpu();
    let ratio = found.server_cpu.as_secs_f64() / unavoidable.as_secs_f64();
    writeln!(out, "\n| {} devices power on, {} at once | |\n|---|---|", found.devices, found.at_once)?;
    writeln!(out, "| enrollments per second, load generator on the same cores | {:.0} |", found.per_second)?;
    writeln!(out, "| latency p50 / p99 | {} / {} |", millis(found.p50), millis(found.p99))?;
    writeln!(out, "| server CPU for one enrollment | {} |", micros(found.server_cpu))?;
    writeln!(
        out,
        "| of which unavoidable (floor: 2 TLS, 2 verify, 2 sign) | {} (x{ratio:.1}) |",
        micros(unavoidable)
    )?;
    writeln!(out, "| server memory idle / peak | {} / {} |", mib(found.idle_kib), mib(found.peak_kib))?;
    Ok(())
}

fn agent_table(out: &mut String, folder: &Path, agents: usize) -> Result<()> {
    let found = agent::measure(&folder.join("agents"), agents)?;
    writeln!(out, "\n| the real agent | |\n|---|---|")?;
    writeln!(out, "| process start to grant, p50 of {agents} | {} |", millis(found.median()))?;
    writeln!(out, "| memory of a managed agent that waits | {} |", mib(found.idle_kib))?;
    let tenths = found.binary_bytes / 100_000;
    writeln!(out, "| binary, stripped | {}.{} MB |", tenths / 10, tenths % 10)?;
    for mebibytes in [1, 64] {
        let found = payload::measure(&folder.join(format!("payload-{mebibytes}")), mebibytes)?;
        let ratio = found.floor.as_secs_f64() / found.agent.as_secs_f64();
        writeln!(
            out,
            "| {mebibytes} MiB payload: start to managed / `curl \\| sha256sum` | {} / {} (x{ratio:.2} of its speed) |",
            millis(found.agent),
            millis(found.floor)
        )?;
        writeln!(
            out,
            "| {mebibytes} MiB payload: peak of agent / growth of server | {} / {} |",
            mib(found.agent_peak_kib),
            mib(found.server_growth_kib)
        )?;
    }
    Ok(())
}

fn claims_table(out: &mut String, found: &claims::ClaimsFigures) -> Result<()> {
    writeln!(out, "\n| claims | |\n|---|---|")?;
    let rate = found.claims as u128 * 1000 / found.import.as_millis().max(1);
    writeln!(
        out,
        "| import of {} claims from CSV | {:.1} s ({rate}/s) |",
        found.claims,
        found.import.as_secs_f64()
    )?;
    writeln!(out, "| memory of the import | {} |", mib(found.import_peak_kib))?;
    writeln!(out, "| hello among {} claims, p50 | {} |", found.few, micros(found.hello_among_few))?;
    writeln!(out, "| hello among {} claims, p50 | {} |", found.claims, micros(found.hello_among_many))?;
    Ok(())
}

fn micros(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn mib(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}
