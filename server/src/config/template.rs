//! The settings file of a new server: the chosen values, and everything else as a comment.

use super::build_url;
use std::net::SocketAddr;
use unbox_common::secret::Secret;
use url::Url;

/// Returns the settings file of a new server: the chosen values, and everything else as a comment.
#[must_use]
pub fn default_file(
    names: &[String],
    url: Option<&Url>,
    listen: &[SocketAddr],
    database: Option<&Secret>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    let url = match (url, build_url(names, listen)) {
        (Some(url), made) if made.as_ref() != Some(url) => format!("url = {}", quoted(url.as_str())),
        (_, Some(made)) => format!("#url = {}", quoted(made.as_str())),
        (_, None) => "#url = \"https://enroll.example.com/\"".to_owned(),
    };
    let names = list(&mut names.iter().map(|name| quoted(name)));
    let listen = list(&mut listen.iter().map(|address| quoted(&address.to_string())));
    let database = match database {
        Some(url) => format!("database = {}", quoted(url.expose())),
        None => "#database = \"postgres://unbox@db.example.com/unbox\"".to_owned(),
    };
    TEMPLATE
        .replace("{names}", &names)
        .replace("{url}", &url)
        .replace("{listen}", &listen)
        .replace("{database}", &database)
}
const TEMPLATE: &str = "\
# Settings of unbox-server. A line that starts with # shows the default.
# Changes count after a restart; keys and certificates also after SIGHUP.

# Names and addresses under which devices reach this server; they stand in its certificate.
# After a change: unbox-server key renew-server
names = [{names}]

# Where devices and clients reach it, if the first name and port do not say it.
{url}

# Where devices connect. TLS 1.3, with client certificates once they are enrolled.
listen = [{listen}]

# Health and artifacts without TLS, for a load balancer. Device messages are never taken here.
#listen_plain = []

# Metrics, for a scraper: they say how many devices there are, and are served nowhere else.
#listen_metrics = [\"127.0.0.1:9470\"]

# The management API without TLS; with TLS it is where devices connect. Credentials pass here, so only
# addresses of this machine are taken, unless a proxy that speaks TLS is in front of them.
#listen_api = []
#api_behind_tls_proxy = false

# Proxies and balancers in front of this server, as addresses or networks. Limits and log count those for
# whom they ask, and not them. What anybody else says about that is passed over.
#trusted_proxies = []
# The header in which they write for whom: x-forwarded-for or forwarded.
#proxy_header = \"x-forwarded-for\"
# Whether those of them that pass TLS through to `listen` say with the PROXY protocol (1 or 2) for whom.
#proxy_protocol = false

# The database: a file in this directory, or PostgreSQL.
{database}

# What devices download, each file under its SHA-256.
#artifacts = \"artifacts\"

# ChromeOS models beside those that this version knows: CSV with the columns model, brand,
# manufactured_from, certified_id and footnote.
#models = \"/etc/unbox/chromeos-models.csv\"

# A certificate by an authority of your own, in place of the one that init made. Put the
# authority's certificate into the image's anchors.pem.
[tls]
#certificate = \"/etc/ssl/enroll.pem\"
#key = \"/etc/ssl/private/enroll.pem\"

# Or one by an authority that speaks ACME, got and renewed by the server itself. The authority asks on port
# 443 of each name above. First: unbox-server key rotate-anchors --anchor FILE, with the certificate of the
# authority's root, and wait until every device has checked in.
[acme]
#directory = \"https://acme-v02.api.letsencrypt.org/directory\"
#contact = \"mailto:acme@example.com\"
#root = \"/etc/ssl/acme-root.pem\"

[log]
# text or json, one line for each request; never a token, a body or an identifier.
#format = \"text\"
#filter = \"info\"

[devices]
# How long a device's certificate lasts; devices renew it when they check in.
#certificate_days = 365
# How often managed devices ask for news.
#check_in_s = 3600
# How long a device may take between the two messages of its handshake.
#challenge_s = 120
# How long a device may take from the grant to the end of its installation.
#payload_days = 7
# How long after a claim the first key is bound without asking anybody.
#activation_days = 90
# How long a reset ticket can be used.
#reset_ticket_days = 7
# When a device asks again that waits for an administrator.
#retry_waiting_s = 30

# Whose TPMs are believed where a claim asks for one: their manufacturers' certificates, in a file or a
# folder. Without them, only TPMs whose keys are registered.
[tpm]
#roots = \"/etc/ssl/tpm-roots\"

[limits]
# Open connections of devices in all, and from one address or its network (IPv4: /24; IPv6: /64, /56,
# /48); two thirds of those may be without a request so far. Where all are taken, the network that holds
# most makes room for one that holds less: first what waits without a request. Each may take 50 KiB of memory.
#connections = 2048
#connections_per_address = 1536
# Device messages at the same time; more are told to come back.
#requests = 1024
# Whoever sends a file more slowly than this, in bytes a second, is sent away. 0: no limit.
#least_bytes_per_s = 1024
# Memory for the bodies of requests and for answers, all together. Nobody gets more of it than is left
# for the others; who finds none is told to come back. Small messages do not need it: each connection has 12 KiB
# of its own. MemoryMax= of the unit has to be higher.
#memory_mib = 96
# Time for TLS and the head of a request, for the whole request, and for requests to finish
# when the server stops.
#header_timeout_s = 15
#request_timeout_s = 30
#shutdown_timeout_s = 20
# Handshake messages from one address: so many at once, and so many more each second. 1,000
# devices behind one address take about 2,000 when they are switched on. 0 at once: no limit.
#address_burst = 4000
#address_per_second = 50
# Identifiers that no claim names, from one address (IPv6: one /64; four times as many from a /56, and
# sixteen times from a /48): so many of one kind and maker at once, and so many more each hour. Devices
# that are claimed cost nothing, and neither does asking again. 0 at once: no limit.
#series_burst = 500
#series_per_hour = 60
# Reports and check-ins of one device, and enrollments of one key: so many at once, and so many more each
# minute. 0 at once: no limit.
#device_burst = 60
#device_per_minute = 12
# Queries of one account of the management API in 100 seconds. 0: no limit.
#api_queries_per_100s = 1000
# Operations of one reseller or vendor that are not finished.
#operations_per_company = 50
# Configurations of one customer, and accounts of one organisation.
#configurations_per_customer = 1000
#accounts_per_company = 1000

# How long the server keeps what is over, before it deletes it by itself.
[retention]
# Operations with what became of each device, from their end on.
#operations_days = 30
# What devices reported on their way.
#reports_days = 365
# Claims that ended, with their devices: what became of them stays in the audit trail.
#claims_days = 1095
# Entries of the audit trail; before they are deleted they are written to files in the directory audit.
# 0: they stay.
#audit_days = 0

# Room on the disk, in MiB.
[storage]
# For artifacts and uploads of one customer.
#company_mib = 32768
# For operations of one reseller or vendor: where there are more, those that ended first are forgotten.
#operations_mib = 1024
# Kept free: no upload gets it, so that the database can go on.
#reserve_mib = 1024
";
