//! The server's counters, in the form that Prometheus reads.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use std::{fmt, time::Duration};
use unbox_common::{refusal::RefusalKind, timestamp::Timestamp};

/// Counters, and the registry that shows them.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram>,
    enrollments: Family<EnrollmentLabel, Counter>,
    refusals: Family<RefusalLabel, Counter>,
    connections: Gauge,
    in_progress: Gauge,
    waiting_writes: Gauge,
    memory: Gauge,
    disk_free: Gauge,
    disk_full: Gauge,
    handshake_failures: Counter,
    connections_refused: Counter,
    certificate_end: Gauge,
}

/// Values that are measured at each scrape.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measured {
    /// Writes that wait for the database.
    pub(super) waiting_writes: usize,
    /// Memory that requests and answers hold.
    pub(super) memory_bytes: usize,
    /// Free bytes of the disk.
    pub(super) disk_free_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EnrollmentLabel {
    generation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabel {
    kind: &'static str,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("unbox"),
            requests: Family::default(),
            // From 250 microseconds to about 8 seconds.
            durations: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
            }),
            enrollments: Family::default(),
            refusals: Family::default(),
            connections: Gauge::default(),
            in_progress: Gauge::default(),
            waiting_writes: Gauge::default(),
            memory: Gauge::default(),
            disk_free: Gauge::default(),
            disk_full: Gauge::default(),
            handshake_failures: Counter::default(),
            connections_refused: Counter::default(),
            certificate_end: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let registry = &mut self.registry;
        registry.register("build", "This server", build);
        registry.register("requests", "Requests by route and status", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to the head of its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("enrollments", "Grants, first and later generations", self.enrollments.clone());
        registry.register("refusals", "Refusals by kind", self.refusals.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "messages_in_progress",
            "Messages of devices that are worked on",
            self.in_progress.clone(),
        );
        registry.register("waiting_writes", "Writes that wait for the database", self.waiting_writes.clone());
        registry.register_with_unit(
            "request_memory",
            "Memory that requests and answers hold",
            Unit::Bytes,
            self.memory.clone(),
        );
        registry.register_with_unit(
            "disk_free",
            "Free bytes of the disk that uploads are written to",
            Unit::Bytes,
            self.disk_free.clone(),
        );
        registry.register(
            "disk_full_timestamp_seconds",
            "When uploads will find no room, at the pace of the last days",
            self.disk_full.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "Connections that ended before TLS was set up",
            self.handshake_failures.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed because there were too many",
            self.connections_refused.clone(),
        );
        registry.register(
            "certificate_end_timestamp_seconds",
            "When the server's certificate ends",
            self.certificate_end.clone(),
        );
    }

    /// Returns all metrics as text, together with the present measurements.
    pub(super) fn encode(&self, now: &Measured) -> Result<String, fmt::Error> {
        self.waiting_writes.set(i64::try_from(now.waiting_writes).unwrap_or(i64::MAX));
        self.memory.set(i64::try_from(now.memory_bytes).unwrap_or(i64::MAX));
        self.disk_free.set(i64::try_from(now.disk_free_bytes).unwrap_or(i64::MAX));
        let mut buffer = String::new();
        text::encode(&mut buffer, &self.registry)?;
        Ok(buffer)
    }

    pub(super) fn count_request(&self, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.durations.get_or_create(&RouteLabel { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
    }

    pub(super) fn count_refusal(&self, kind: RefusalKind) {
        self.refusals.get_or_create(&RefusalLabel { kind: kind.name() }).inc();
    }

    pub(super) fn count_enrollment(&self, first: bool) {
        let generation = if first { "first" } else { "later" };
        self.enrollments.get_or_create(&EnrollmentLabel { generation }).inc();
    }

    /// Counts an open connection until the guard is dropped.
    #[must_use]
    pub fn count_connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// Counts a message in progress until the guard is dropped.
    #[must_use]
    pub(super) fn count_in_progress(&self) -> Counted {
        Counted::new(&self.in_progress)
    }

    /// Counts a connection that ended before TLS was set up.
    pub fn count_handshake_failure(&self) {
        self.handshake_failures.inc();
    }

    /// Sets the end of the server's certificate.
    pub fn set_certificate_end(&self, end: Timestamp) {
        self.certificate_end.set(i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
    }

    /// Stores the time at which uploads will find no room; `None` if the disk does not fill.
    pub fn set_disk_full(&self, at: Option<Timestamp>) {
        self.disk_full.set(at.map_or(0, |at| i64::try_from(at.as_secs()).unwrap_or(i64::MAX)));
    }

    /// Counts a connection that was closed because there were too many.
    pub fn count_refused_connection(&self) {
        self.connections_refused.inc();
    }
}

/// One unit of a gauge, until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.count_request("/device/v1/hello", 404, Duration::from_millis(3));
        metrics.count_refusal(RefusalKind::NotClaimed);
        metrics.count_enrollment(true);
        metrics.set_certificate_end(Timestamp(1_800_000_000_000));
        metrics.set_disk_full(Some(Timestamp(1_900_000_000_000)));
        let open = metrics.count_connection();
        let text =
            metrics.encode(&Measured { waiting_writes: 3, memory_bytes: 4096, disk_free_bytes: 7 }).unwrap();
        for line in [
            "unbox_requests_total{route=\"/device/v1/hello\",status=\"404\"} 1",
            "unbox_request_duration_seconds_count{route=\"/device/v1/hello\"} 1",
            "unbox_refusals_total{kind=\"not_claimed\"} 1",
            "unbox_enrollments_total{generation=\"first\"} 1",
            "unbox_connections 1",
            "unbox_certificate_end_timestamp_seconds 1800000000",
            "unbox_waiting_writes 3",
            "unbox_request_memory_bytes 4096",
            "unbox_disk_free_bytes 7",
            "unbox_disk_full_timestamp_seconds 1900000000",
            "unbox_build_info{version=\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        drop(open);
        assert!(
            metrics
                .encode(&Measured { waiting_writes: 3, memory_bytes: 4096, disk_free_bytes: 7 })
                .unwrap()
                .contains("unbox_connections 0")
        );

        let readme = include_str!("../../README.md");
        let (_, table) = readme.split_once("| metric | labels |").unwrap();
        let mut listed: Vec<&str> = table
            .lines()
            .take_while(|line| !line.is_empty())
            .skip(2)
            .filter_map(|row| row.split('`').nth(1))
            .collect();
        let counted = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let mut shown: Vec<String> = counted
            .map(|(name, kind)| match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            })
            .collect();
        listed.sort_unstable();
        shown.sort();
        assert_eq!(listed, shown, "the table in the README is this one");
    }
}
