//! The agent's only binary: reads the command line, and returns the exit status.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};
use tracing_subscriber::EnvFilter;
use unbox_agent::{
    cli::{self, Args, station},
    clock::Stopwatch,
    exit::Exit,
    text::chain,
};

fn main() -> ExitCode {
    let stopwatch = Stopwatch::start();
    let arguments: Vec<OsString> = env::args_os().collect();
    if station::is_asked(&arguments) {
        let error = station::start(&arguments);
        // Standard error may be closed, and the exit code carries the result anyway.
        let _ = writeln!(
            io::stderr(),
            "unbox-station cannot be started: {error}. Install the package unbox-station."
        );
        return Exit::Administrator.into();
    }
    let args = match Args::read(arguments) {
        Ok(args) => args,
        Err((error, exit)) => {
            // The stream may be closed, and the exit code carries the result anyway.
            let _ = error.print();
            return exit.into();
        }
    };
    // Messages for users go to standard output; this log is for troubleshooting.
    let filter = EnvFilter::try_from_env("UNBOX_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    match cli::run(args, stopwatch) {
        Ok(exit) => exit.into(),
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            Exit::TryAgain.into()
        }
    }
}
