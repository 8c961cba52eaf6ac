//! `cargo dist`: makes the products, for this kind of machine or another, in `target/dist/`, and prints their
//! sizes.

use anyhow::Result;
use clap::{Parser, ValueEnum as _};
use unbox_tests::{
    architecture::Architecture,
    dist::{Build, Product, Release},
};

/// Makes the Debian packages of agent, server and test station, and the agent's static tarball, in target/dist/.
///
/// The same sources give the same bytes. Their date is `SOURCE_DATE_EPOCH`, or that of the last commit.
#[derive(Debug, Parser)]
#[command(name = "cargo dist")]
struct Arguments {
    /// Make these only; may be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Product>,
    /// Make it for this kind of machine. For a foreign one, the compiler comes from Debian's archive, and the
    /// linker from a package that has to be installed, such as gcc-aarch64-linux-gnu.
    #[arg(long, value_enum, default_value_t = Architecture::HERE)]
    machine: Architecture,
    /// Do not optimise. For tests alone: the result is ten times as large.
    #[arg(long)]
    quick: bool,
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> Result<()> {
    let Arguments { only, machine, quick } = Arguments::parse();
    let products = if only.is_empty() { Product::value_variants() } else { &only };
    let release = Release::of_workspace(machine, if quick { Build::Quick } else { Build::Optimised })?;
    for product in products {
        let path = release.make(*product)?;
        let bytes = path.metadata()?.len();
        println!("{:>8} KiB  {}", bytes.div_ceil(1024), path.display());
    }
    Ok(())
}
