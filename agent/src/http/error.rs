//! The reasons why a message got no answer, by the party at fault, each with its meaning for the device.

use crate::failure::{CLOCK_SKEW_PAUSE, Diagnose, advice};
use std::time::Duration;
use unbox_common::{
    protocol::problem::Problem,
    refusal::{Disposition, RefusalKind},
};

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The TLS configuration could not be built from the image's anchors.
    #[error("the image's trust anchors cannot be used")]
    Anchors(#[source] rustls::Error),
    /// The HTTP client could not be built.
    #[error("no connection could be prepared")]
    Client(#[source] reqwest::Error),
}

/// The connection to the server failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection: no network, unknown host name, or no listener.
    #[error("the server could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server was too slow, or silent.
    #[error("the server did not answer in time")]
    TimedOut(#[source] reqwest::Error),
    /// The connection broke during a message.
    #[error("the connection to the server was cut")]
    Cut(#[source] reqwest::Error),
    /// The server's certificate does not chain to an anchor of this image, or names another server.
    #[error("the server's certificate is not one that this device trusts")]
    Untrusted(#[source] rustls::Error),
    /// The server's certificate is outside its validity: one of the two clocks is wrong.
    #[error("the server's certificate is not valid at this device's time")]
    OutsideItsTime(#[source] rustls::Error),
    /// The server rejects this device's certificate: another authority issues them now, or it has expired
    /// by the server's clock.
    #[error("the server does not accept this device's certificate")]
    CertificateRefused(#[source] rustls::Error),
    /// The server does not speak TLS 1.3, or not correctly.
    #[error("no TLS 1.3 connection with the server was possible")]
    Tls(#[source] rustls::Error),
}

/// The server answered, but not as the protocol requires.
#[derive(Debug, thiserror::Error)]
pub enum Misbehaviour {
    /// The server redirected the device.
    #[error("the server redirects to another place (status {0}), which this device does not follow")]
    Redirected(u16),
    /// The HTTP status is not defined here by the protocol.
    #[error("the server answered with status {status}")]
    UnexpectedStatus {
        /// The HTTP status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The answer's media type is wrong.
    #[error("the server's answer is not {expected}")]
    WrongContentType {
        /// The media type required here.
        expected: &'static str,
    },
    /// The answer is too large.
    #[error("the server's answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer could not be parsed.
    #[error("the server's {what} cannot be read")]
    Unreadable {
        /// Name of the message.
        what: &'static str,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
}

/// The server's refusal, with everything it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server refused: {}", problem.kind)]
pub struct Refusal {
    /// The problem document.
    pub problem: Box<Problem>,
    /// The earliest time for the next try.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Returns true if the server refused the token it was shown.
    #[must_use]
    pub fn is_about_the_token(&self) -> bool {
        matches!(self.problem.kind, RefusalKind::InvalidToken | RefusalKind::RevokedToken)
    }

    /// Returns true if the server may be asking for a token, or for another one.
    #[must_use]
    pub fn asks_for_a_token(&self) -> bool {
        self.is_about_the_token() || self.problem.kind == RefusalKind::ProofRequired
    }
}

impl Diagnose for ClientError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Anchors(_) => "no_trust",
            Self::Client(_) => "device_state",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Anchors(_) => Disposition::Fatal,
            Self::Client(_) => Disposition::Retry,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Anchors(_) => advice::IMAGE,
            Self::Client(_) => advice::STATE,
        }
    }
}

impl Diagnose for TransportError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Cut(_) => "connection_cut",
            Self::Untrusted(_) => "server_untrusted",
            Self::OutsideItsTime(_) => RefusalKind::ClockSkew.name(),
            Self::CertificateRefused(_) => "certificate_refused",
            Self::Tls(_) => "tls_failed",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Cut(_) => {
                "Check that this device is connected to a network that reaches the server. It tries again by itself."
            }
            Self::Untrusted(_) => {
                "Another server answers in the place of the right one, or this image is for another server. Try \
                 another network, or tell your IT department."
            }
            Self::OutsideItsTime(_) => RefusalKind::ClockSkew.advice(),
            Self::CertificateRefused(_) => {
                "The server replaced what it knows its devices by. This device enrolls again by itself."
            }
            Self::Tls(_) => {
                "Something between this device and the server changes or blocks the connection. Try another network."
            }
        }
    }

    fn longest_pause(&self) -> Duration {
        match self {
            Self::OutsideItsTime(_) => CLOCK_SKEW_PAUSE,
            _ => Duration::MAX,
        }
    }
}

impl Diagnose for Misbehaviour {
    fn kind(&self) -> &'static str {
        match self {
            Self::Redirected(_) => "redirected",
            Self::UnexpectedStatus { .. } => "unexpected_status",
            Self::WrongContentType { .. } => "wrong_content_type",
            Self::TooLarge { .. } => "answer_too_large",
            Self::Unreadable { .. } => "answer_unreadable",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        advice::MISBEHAVED
    }

    fn hint(&self) -> Option<Duration> {
        match self {
            Self::UnexpectedStatus { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Diagnose for Refusal {
    fn kind(&self) -> &'static str {
        self.problem.kind.name()
    }

    fn disposition(&self) -> Disposition {
        self.problem.kind.disposition()
    }

    fn advice(&self) -> &'static str {
        self.problem.kind.advice()
    }

    fn hint(&self) -> Option<Duration> {
        self.retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn a_refusal_speaks_with_the_servers_words() {
        for kind in RefusalKind::ALL {
            let refused = Failure::from(Refusal {
                problem: Box::new(Problem::new(kind)),
                retry_after: Some(Duration::from_secs(7)),
            });
            assert_eq!(refused.kind(), kind.name());
            assert_eq!(refused.disposition(), kind.disposition());
            assert_eq!(refused.advice(), kind.advice());
            assert_eq!(refused.hint(), Some(Duration::from_secs(7)));
        }
    }
}
