//! The limits of the server's load.

use super::{
    ConfigError, LimitsFragment, Proxies,
    value::{parse_number, parse_span},
};
use governor::Quota;
use std::{num::NonZeroU32, time::Duration};

/// The limits of the server's load, at once and from one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of devices; those of other listeners, about half as many, come on top.
    pub connections: usize,
    /// Open connections from one address; one reseller's warehouse may sit behind it. Two thirds of
    /// them may be without a request so far.
    pub connections_per_address: usize,
    /// Device messages that are handled at the same time.
    pub requests: usize,
    /// Memory for the bodies of requests and for answers, in bytes.
    pub memory_bytes: usize,
    /// Time for TLS, and for the head of a request; idle connections are closed after the same time.
    pub header_timeout: Duration,
    /// Time for the body of a request, and for its answer.
    pub request_timeout: Duration,
    /// The least speed of a file's upload, in bytes a second; 0 for no limit.
    pub least_bytes_per_s: u32,
    /// The proxies that are trusted about the client's address.
    pub proxies: Proxies,
    /// Time for requests to finish when the server stops.
    pub shutdown_timeout: Duration,
    /// The rate of handshake messages from one address.
    pub address: Rate,
    /// The rate of identifiers of one series that no claim names, from one address.
    pub series: HourlyRate,
    /// The reports and check-ins that one device may send at once; 0 for no limit.
    pub device_burst: u32,
    /// The reports and check-ins that one device may send each minute after that.
    pub device_per_minute: u32,
    /// Queries of one account in 100 seconds; 0 for no limit.
    pub api_queries_per_100s: u32,
}

/// A limit at once, and another for each second after that. A burst of 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// Each second after that.
    pub per_second: u32,
}

/// A limit at once, and another for each hour after that. A burst of 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourlyRate {
    /// At once.
    pub burst: u32,
    /// Each hour after that.
    pub per_hour: u32,
}

impl Limits {
    /// Returns the quota of one device's reports and check-ins.
    pub(crate) fn device_quota(&self) -> Option<Quota> {
        let burst = NonZeroU32::new(self.device_burst)?;
        Some(Quota::per_minute(NonZeroU32::new(self.device_per_minute)?).allow_burst(burst))
    }

    pub(super) fn parse(from: &LimitsFragment) -> Result<Self, ConfigError> {
        let count = |field, value, default| {
            parse_number(field, value, default, 1..=1_000_000)
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
        };
        let rate = |field, value, default| parse_number(field, value, default, 0..=1_000_000);
        let time = |field, value, secs| parse_span(field, value, Duration::from_secs(secs), 1..=600);
        Ok(Self {
            connections: count("limits.connections", from.connections, 2048)?,
            connections_per_address: count(
                "limits.connections_per_address",
                from.connections_per_address,
                1536,
            )?,
            requests: count("limits.requests", from.requests, 1024)?,
            memory_bytes: parse_number("limits.memory_mib", from.memory_mib, 96, 64..=65_536)
                .map(|mib| usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024))?,
            header_timeout: time("limits.header_timeout_s", from.header_timeout_s, 15)?,
            request_timeout: time("limits.request_timeout_s", from.request_timeout_s, 30)?,
            shutdown_timeout: time("limits.shutdown_timeout_s", from.shutdown_timeout_s, 20)?,
            least_bytes_per_s: rate("limits.least_bytes_per_s", from.least_bytes_per_s, 1024)?,
            proxies: Proxies::default(),
            address: Rate {
                burst: rate("limits.address_burst", from.address_burst, 4000)?,
                per_second: rate("limits.address_per_second", from.address_per_second, 50)?.max(1),
            },
            series: HourlyRate {
                burst: rate("limits.series_burst", from.series_burst, 500)?,
                per_hour: rate("limits.series_per_hour", from.series_per_hour, 60)?.max(1),
            },
            device_burst: rate("limits.device_burst", from.device_burst, 60)?,
            device_per_minute: rate("limits.device_per_minute", from.device_per_minute, 12)?.max(1),
            api_queries_per_100s: rate("limits.api_queries_per_100s", from.api_queries_per_100s, 1000)?,
        })
    }
}
