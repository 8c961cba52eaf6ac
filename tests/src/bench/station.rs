//! The test station: thousands of captured machines in one run, and one unit from its scan to the verdict.

use super::{
    Size, median,
    report::{Row, Unit, format_grouped},
    usage::Usage,
};
use crate::{
    clock::Stopwatch,
    process::{Running, command, run, wait_for},
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest that one run may take.
const LIMIT: Duration = Duration::from_mins(10);

/// Tests captured machines against their labels and an order of as many rows.
///
/// # Errors
/// If a unit does not pass.
pub(super) fn measure(folder: &Path, size: &Size) -> Result<Vec<Row>> {
    let units = folder.join("units");
    for number in 0..size.units {
        capture(&units, number)?;
    }
    let order = folder.join("orders.csv");
    write_new(&order, &rows(size.units))?;
    let count = f64::from(u32::try_from(size.units)?);
    let (mut rates, mut floors, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for round in 0..size.rounds {
        let floor = Stopwatch::start();
        let bytes = read_bare(&units)?;
        floors.push(count / floor.elapsed().as_secs_f64());
        ensure!(bytes > 0, "read the same files bare");
        let mut verify = command(&size.station, &["verify", "--units"]);
        verify.arg(&units).arg("--expect").arg(&order);
        let started = Stopwatch::start();
        let mut running = Running::start(verify, &folder.join(format!("verify-{round}.log")))?;
        let process = running.id();
        let took = wait_for(LIMIT, "the units to be tested", || {
            peak = Usage::of(process).map_or(0.0, |usage| usage.peak_mib()).max(peak);
            Ok((!running.is_running()).then(|| started.elapsed()))
        })?;
        let expected = format!("{} units: {} pass.", size.units, size.units);
        ensure!(running.output().contains(&expected), "a unit did not pass: {}", running.output());
        rates.push(count / took.as_secs_f64());
    }
    let (rate, floor) = (super::median_of(rates), super::median_of(floors));
    let one = measure_one_unit(&units, &order, size)?;
    let bare = super::agent::measure_bare_start(size)?;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        Row::new(
            format!("Captured units tested in a run of {} with labels and order", format_grouped(count)),
            rate,
            Unit::PerSecond,
        )
        .with_floor(format!(
            "{} per second only to read the same files, on one core; with at most {peak:.0} MiB of memory",
            format_grouped(floor)
        )),
        Row::new(
            "One unit from its scan to the verdict, process and order included",
            millis(one),
            Unit::Millis,
        )
        .at_most(50.0)
        .with_floor(format!("a start that only prints the version takes {:.1} ms", millis(bare))),
    ])
}

/// Writes a machine as `identity --capture` leaves it, and its label.
fn capture(units: &Path, number: usize) -> Result<()> {
    let root = units.join(format!("unit-{number:06}"));
    let serial = serial(number);
    let mac = mac(number);
    let fields = [
        ("sys/class/dmi/id/sys_vendor", "Acme Devices Inc."),
        ("sys/class/dmi/id/product_name", "Gateway 3"),
        ("sys/class/dmi/id/product_sku", "GW3-EU"),
        ("sys/class/dmi/id/product_serial", &serial),
        ("sys/class/dmi/id/product_uuid", &format!("4c4c4544-0058-4b10-8039-{number:012x}")),
        ("sys/class/dmi/id/board_serial", &format!("B{serial}")),
        ("sys/class/dmi/id/chassis_serial", "Default string"),
        ("sys/class/net/eth0/type", "1"),
        ("sys/class/net/eth0/addr_assign_type", "0"),
        ("sys/class/net/eth0/address", &mac),
        ("labels.txt", &serial),
    ];
    fs::create_dir_all(root.join("sys/class/dmi/id")).context("make a machine")?;
    fs::create_dir_all(root.join("sys/class/net/eth0/device")).context("make a machine")?;
    for (path, value) in fields {
        write_new(&root.join(path), &format!("{value}\n"))?;
    }
    Ok(())
}

/// Writes a new file, one of many: none of them has to survive a power cut.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::File::create_new(path).context("make a file of a machine")?;
    file.write_all(text.as_bytes()).context("write a file of a machine")
}

fn serial(number: usize) -> String {
    format!("GW3A{number:06}")
}

fn mac(number: usize) -> String {
    let [.., high, middle, low] = number.to_be_bytes();
    format!("00:16:3e:{high:02x}:{middle:02x}:{low:02x}")
}

fn rows(count: usize) -> String {
    let mut csv = String::from("serial_number,manufacturer,model,mac_address,order\n");
    for number in 0..count {
        // Writing to a String cannot fail.
        let _ = writeln!(csv, "{},Acme Devices,Gateway 3,{},PO 1", serial(number), mac(number));
    }
    csv
}

/// Reads every file below once: the floor.
fn read_bare(folder: &Path) -> Result<u64> {
    let (mut bytes, mut folders) = (0, vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).context("list a machine")? {
            let entry = entry.context("list a machine")?;
            if entry.file_type().context("look at a file")?.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += fs::read(entry.path()).context("read a file")?.len() as u64;
            }
        }
    }
    Ok(bytes)
}

fn measure_one_unit(units: &Path, order: &Path, size: &Size) -> Result<Duration> {
    let each = (0..size.agents).map(|number| {
        let mut verify = command(&size.station, &["verify", "--label", &serial(number), "--root"]);
        verify.arg(units.join(format!("unit-{number:06}"))).arg("--expect").arg(order);
        let started = Stopwatch::start();
        run(verify)?.success()?;
        Ok(started.elapsed())
    });
    Ok(median(each.collect::<Result<_>>()?))
}
