//! The agent's one binary: reads the command line, says how it ended.

use std::{env, io, process::ExitCode};
use tracing_subscriber::EnvFilter;
use unbox_agent::{
    cli::{self, Args, Exit},
    clock::Stopwatch,
    console::chain,
    station::screen,
};

fn main() -> ExitCode {
    let stopwatch = Stopwatch::start();
    let args = match Args::read(env::args_os().collect()) {
        Ok(args) => args,
        Err((error, exit)) => {
            // Nobody may be listening, and the exit code says it, too.
            let _ = error.print();
            return exit.into();
        }
    };
    // What people read goes to standard output; this is for whoever looks for a cause.
    let filter = EnvFilter::try_from_env("UNBOX_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(log).init();
    match cli::run(args, stopwatch) {
        Ok(exit) => exit.into(),
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            Exit::TryAgain.into()
        }
    }
}

/// Standard error, but not across the screen of a station.
fn log() -> Box<dyn io::Write> {
    if screen::io::covers_errors() { Box::new(io::sink()) } else { Box::new(io::stderr()) }
}
