//! The products, made from this workspace into `target/dist/`: three Debian packages and a static tarball.
//!
//! The same sources and the same date give the same bytes: contents are listed and sorted here, their times
//! are [`Release::epoch`], and the programs name no directory of the machine that built them.

mod binary;
mod compiler;
mod deb;
mod tarball;
mod tree;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::architecture::Architecture;
use crate::binaries::workspace;
use crate::host::{self, Program};

/// The workspace's version, which every product carries.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Product {
    /// The agent's Debian package.
    Deb,
    /// The server's Debian package.
    Server,
    /// The test station's Debian package.
    Station,
    /// The agent for any Linux, as a tarball without shared libraries.
    Static,
}

/// The effort of building the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As in the shipped products.
    Optimised,
    /// As fast as possible, for tests of a product's contents and start.
    Quick,
}

/// The products of one state of the workspace, at one time, for one kind of machine.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// The machine that it is for.
    machine: Architecture,
    /// The way in which the programs are built.
    build: Build,
    /// The date that everything in it carries, in seconds since 1970.
    epoch: u64,
}

impl Release {
    /// Returns the release of this workspace, dated by `SOURCE_DATE_EPOCH` or by its last commit.
    pub fn of_workspace(machine: Architecture, build: Build) -> Result<Self> {
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => Program::new("git")
                .args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"])
                .current_dir(workspace())
                .read()
                .context("set SOURCE_DATE_EPOCH where there is no git history")?,
        };
        let epoch = epoch.trim().parse().context("SOURCE_DATE_EPOCH is not a number of seconds")?;
        Ok(Self { machine, build, epoch })
    }

    /// Makes one product, and returns its path.
    pub fn make(self, product: Product) -> Result<PathBuf> {
        match product {
            Product::Deb => deb::agent(self),
            Product::Server => deb::server(self),
            Product::Station => deb::station(self),
            Product::Static => tarball::agent(self),
        }
        .with_context(|| format!("cannot make {}", file_name(product, self.machine)))
    }
}

/// Returns the path of a product for a machine, even before it is made.
#[must_use]
pub fn path(product: Product, machine: Architecture) -> PathBuf {
    host::target_directory().join("dist").join(file_name(product, machine))
}

fn file_name(product: Product, machine: Architecture) -> String {
    match product {
        Product::Deb => format!("unbox-agent_{VERSION}_{}.deb", machine.debian()),
        Product::Server => format!("unbox-server_{VERSION}_{}.deb", machine.debian()),
        Product::Station => format!("unbox-station_{VERSION}_{}.deb", machine.debian()),
        Product::Static => format!("unbox-agent-{VERSION}-{}-static.tar.gz", machine.processor()),
    }
}
