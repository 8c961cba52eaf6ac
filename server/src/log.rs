//! The log: set up once, one line for each event, on standard error.

use crate::config::LogFormat;
use std::{error::Error, io};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

/// Starts the log of this process.
///
/// # Errors
/// If the filter, such as `warn,request=info`, cannot be parsed.
pub fn start(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    // A second start, as in tests, keeps the first: there is one log for each process.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// Checks a filter.
///
/// # Errors
/// If it cannot be parsed.
pub fn check_filter(filter: &str) -> Result<(), ParseError> {
    EnvFilter::builder().parse(filter).map(drop)
}

/// Formats an error with its causes, in one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the file could not be read")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "the file could not be read: disk on fire");
    }
}
