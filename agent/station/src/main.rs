//! The test station's only binary: reads the command line, and returns the exit status.

use std::{env, io, process::ExitCode};
use tracing_subscriber::EnvFilter;
use unbox_station::{
    cli::{self, Args},
    screen,
};

fn main() -> ExitCode {
    let args = match Args::read(env::args_os().collect()) {
        Ok(args) => args,
        Err((error, exit)) => {
            // The stream may be closed, and the exit code carries the result anyway.
            let _ = error.print();
            return exit;
        }
    };
    // Messages for users go to standard output; this log is for troubleshooting.
    let filter = EnvFilter::try_from_env("UNBOX_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(log).init();
    cli::run(&args)
}

/// Returns standard error, unless the screen of a station covers it.
fn log() -> Box<dyn io::Write> {
    if screen::io::covers_errors() { Box::new(io::sink()) } else { Box::new(io::stderr()) }
}
