//! The question before something that cannot be undone.

use super::output::printable;
use anyhow::bail;
use clap::Args;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// The consent to something that cannot be undone.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Consent {
    /// Do it without asking. Without a terminal, where nobody can be asked, this is required.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Names the consequence and asks for confirmation, unless the command line has given it.
    pub(super) fn ask(self, consequence: &str) -> anyhow::Result<()> {
        if self.yes { Ok(()) } else { confirm(consequence, "--yes") }
    }
}

/// Asks for confirmation at a terminal; without one, the option has to give it.
pub(super) fn confirm(consequence: &str, option: &str) -> anyhow::Result<()> {
    let consequence = printable(consequence);
    if !io::stdin().is_terminal() {
        bail!("{consequence}: nothing was changed. Say {option} if that is meant");
    }
    let mut prompt = io::stderr();
    write!(prompt, "{consequence}. Go on? Type yes: ")?;
    prompt.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { bail!("nothing was changed") }
}
