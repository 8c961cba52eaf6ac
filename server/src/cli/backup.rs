//! `backup` and `restore`: a server's data in one file, and back.

use super::{Exit, Global, confirm::confirm, output::Output};
use crate::{
    backup::{self, Backup, Summary},
    clock::{Clock as _, SystemClock},
    config::Fragment,
    files::{self, PRIVATE_DIRECTORY},
    keys::{KeyLock, Layout},
    store::{Occupancy, Store},
};
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use unbox_common::secret::Secret;
use url::Url;

/// Writes the database into one private file, also while it is served.
#[derive(Debug, Args)]
#[command(after_help = "\
Artifacts are not in it: copy their directory beside it. A backup with keys is enough to pose as this server: \
keep it as you keep the keys.

Examples:
  unbox-server backup /backup/unbox-data
  unbox-server backup --with-keys /safe/unbox-all")]
pub(super) struct BackupCommand {
    /// The file.
    file: PathBuf,
    /// Also the settings and keys of this server: server.toml, keys, roots and trust.
    #[arg(long)]
    with_keys: bool,
    /// Replace an existing file, without asking.
    #[arg(long)]
    overwrite: bool,
}

/// Replaces the database by a backup, and puts back the keys if they are in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Stop every server of the database first. What a database file held before is kept beside it, as \
unbox.db.replaced, and as unbox.db.replaced-2 and so on if that exists already. A restore that was interrupted is \
finished by the same command. Rows go to the database in the server's directory, or to the one that its settings name \
already; if the settings in the backup name another, say --database.

Examples:
  unbox-server restore --dry-run /backup/unbox-data
  unbox-server restore /backup/unbox-data")]
pub(super) struct RestoreCommand {
    /// The file.
    file: PathBuf,
    /// Only check the file and say what would be replaced.
    #[arg(long)]
    dry_run: bool,
    /// Replace an existing database and existing keys, without asking.
    #[arg(long)]
    overwrite: bool,
}

impl BackupCommand {
    pub(super) async fn run(self, global: &Global, output: &mut Output) -> anyhow::Result<Exit> {
        let settings = global.settings(Fragment::default())?;
        let is_there = self.file.symlink_metadata().is_ok();
        if is_there && !self.overwrite {
            confirm(&format!("{} is there already", self.file.display()), "--overwrite")?;
        }
        let store = Store::open_for_backup(settings.database.expose()).await?;
        let layout = self.with_keys.then_some(&settings.layout);
        // Keys and roots that a command is about to change would not fit together.
        let _lock = layout.map(KeyLock::take).transpose()?;
        let written = backup::write(&store, layout, &self.file, SystemClock.now(), is_there).await;
        store.close().await;
        let summary = written?;
        let text = format!(
            "Wrote {} rows{} to {}. The artifacts in {} are not in it: copy that directory, too.",
            summary.rows,
            if self.with_keys { " and the keys" } else { "" },
            self.file.display(),
            settings.services.artifact_directory.display()
        );
        output.show(&json!({ "file": self.file, "backup": summary }), &text)?;
        Ok(Exit::Done)
    }
}

impl RestoreCommand {
    pub(super) async fn run(self, global: &Global, output: &mut Output) -> anyhow::Result<Exit> {
        let layout = global.layout();
        let backup = Backup::open(&self.file)
            .with_context(|| format!("{} cannot be restored", self.file.display()))?;
        let database = choose_database(global, &layout, &backup)?;
        let mut replaced: Vec<String> =
            backup.conflicts(&layout)?.iter().map(|path| path.display().to_string()).collect();
        if Store::occupancy(database.expose()).await? == Occupancy::Occupied {
            replaced.push("the database".to_owned());
        }
        let summary = backup.summary();
        if self.dry_run {
            return show(output, summary, &replaced, true);
        }
        if !(self.overwrite || replaced.is_empty()) {
            confirm(&format!("This replaces {}", replaced.join(", ")), "--overwrite")?;
        }
        files::make_directory(layout.dir(), PRIVATE_DIRECTORY)?;
        // The rows come first, because they are restored completely or not at all.
        backup.restore_rows(database.expose()).await.context("nothing was restored")?;
        restore_files(&backup, &layout).context(
            "the database was restored, but not all keys and settings: put right what is wrong, and run the \
             same command again",
        )?;
        show(output, summary, &replaced, false)
    }
}

fn restore_files(backup: &Backup, layout: &Layout) -> anyhow::Result<()> {
    if backup.summary().files > 0 {
        files::make_directory(&layout.keys(), PRIVATE_DIRECTORY)?;
        let _lock = KeyLock::take(layout)?;
        backup.restore_files(layout)?;
    }
    Ok(())
}

/// Chooses the database that the rows go to: the one in the server's directory, the one that its settings
/// name already, or the one that the operator names. A database that only the backup's settings name is not
/// trusted: they may have been changed, and could name any file of this machine.
fn choose_database(global: &Global, layout: &Layout, backup: &Backup) -> anyhow::Result<Secret> {
    let here = Fragment::read(&layout.settings());
    let Some(contents) = backup.settings()? else {
        let here = here?;
        return Ok(global.database.clone().unwrap_or_else(|| here.database_url(layout)));
    };
    let restored = Fragment::parse(&layout.settings(), &contents).context("the settings in the backup")?;
    if let Some(named) = &global.database {
        return Ok(named.clone());
    }
    let wanted = restored.database_url(layout);
    let is_own = wanted == Fragment::default().database_url(layout);
    if !(is_own || here.is_ok_and(|here| here.database_url(layout) == wanted)) {
        bail!(
            "the settings in the backup keep the database outside of {}: {}. Nothing was changed. If its rows \
             are to go there, name it with --database",
            layout.dir().display(),
            without_password(&wanted)
        );
    }
    Ok(wanted)
}

/// Returns the address of a database in a form that may be shown.
fn without_password(url: &Secret) -> String {
    let Ok(mut shown) = Url::parse(url.expose()) else {
        return "at an address that cannot be read".to_owned();
    };
    // A URL without a host has no password, either.
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.to_string()
}

fn show(output: &mut Output, summary: &Summary, replaced: &[String], dry: bool) -> anyhow::Result<Exit> {
    let done = if dry { "Would restore" } else { "Restored" };
    let over = if replaced.is_empty() { String::new() } else { format!(" over {}", replaced.join(", ")) };
    let text = format!(
        "{done} {} rows and {} files of {}{over}. Next: put the artifact directory back, then \
         `unbox-server doctor` and `unbox-server serve`.",
        summary.rows, summary.files, summary.head.made_at
    );
    output.show(&json!({ "backup": summary, "replaced": replaced, "dry_run": dry }), &text)?;
    Ok(Exit::Done)
}
