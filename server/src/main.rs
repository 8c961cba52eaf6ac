//! The `unbox-server` program: reads the command line, runs the command, and ends with an exit
//! code that scripts can rely on.

use clap::Parser as _;
use std::{io::Write as _, process::ExitCode};
use unbox_server::cli::{Cli, Exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(exit) => exit.into(),
        // The reader of the output, such as `head`, has seen enough.
        Err(error) if is_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            // If standard error is gone, too, there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "unbox-server: {error:#}");
            Exit::Failed.into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
