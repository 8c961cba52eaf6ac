//! The client behind a proxy: the proxy's address is that of the connection, the client's is in a header.
//! Only proxies that the settings name are trusted, and only the header that they write.

use super::{App, Peer};
use crate::config::{Proxies, ProxyHeader};
use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Makes the client the peer of a request that came through a proxy.
pub(super) async fn set_client_address(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(peer) = request.extensions().get::<Peer>().copied()
        && let Some(client) = client(peer.address.ip(), request.headers(), &app.proxies)
    {
        let address = SocketAddr::new(client, 0);
        request.extensions_mut().insert(Peer { address, ..peer });
    }
    next.run(request).await
}

/// Returns the client behind a proxy: the last address that is not a trusted proxy's. Nobody vouches for
/// the addresses before it.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> Option<IpAddr> {
    if !proxies.trust(peer) {
        return None;
    }
    let lines = headers.get_all(name(proxies.header)).iter().map(|line| line.to_str().unwrap_or_default());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let mut client = None;
    for hop in hops.into_iter().rev() {
        let node = match proxies.header {
            ProxyHeader::XForwardedFor => Some(hop),
            ProxyHeader::Forwarded => forwarded_for(hop),
        };
        let Some(address) = node.and_then(address) else { break };
        client = Some(address);
        if !proxies.trust(address) {
            break;
        }
    }
    client
}

const fn name(header: ProxyHeader) -> &'static str {
    match header {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    }
}

/// Returns the client's node of an element (RFC 7239, section 5.2).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// Returns the address of a node, which may have a port; an IPv6 address then stands in brackets.
fn address(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    let parsed = node.parse().or_else(|_| node.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    let parsed = parsed.or_else(|_| node.trim_matches(['[', ']']).parse());
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_client(header: ProxyHeader, peer: &str, lines: &[&str]) -> Option<String> {
        let proxies = Proxies::parse(&["192.0.2.0/24".to_owned(), "2001:db8::1".to_owned()], header).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name(header), line.parse().unwrap());
        }
        // Headers other than the one that the proxy writes are ignored.
        for other in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            if other != name(header) {
                headers.append(other, "for=203.0.113.66".parse().unwrap());
            }
        }
        client(peer.parse().unwrap(), &headers, &proxies).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_taken_from_trusted_proxies_alone() {
        for (peer, lines, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], Some("198.51.100.7")),
            ("203.0.113.1", &["198.51.100.7"], None),
            ("192.0.2.1", &["203.0.113.9, 198.51.100.7"], Some("198.51.100.7")),
            ("192.0.2.1", &["203.0.113.9", "198.51.100.7,192.0.2.9"], Some("198.51.100.7")),
            ("::ffff:192.0.2.1", &["198.51.100.7:4711"], Some("198.51.100.7")),
            ("2001:db8::1", &["[2001:db8::7]:4711"], Some("2001:db8::7")),
            ("192.0.2.1", &["2001:db8::7"], Some("2001:db8::7")),
            ("192.0.2.1", &["198.51.100.7, unknown"], None),
            ("192.0.2.1", &[], None),
        ] {
            let found = find_client(ProxyHeader::XForwardedFor, peer, lines);
            assert_eq!(found.as_deref(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn elements_of_forwarded_are_read() {
        for (lines, expected) in [
            (&["for=198.51.100.7"][..], Some("198.51.100.7")),
            (&["For=\"[2001:db8::17]:4711\";proto=https;by=192.0.2.43"], Some("2001:db8::17")),
            (&["for=203.0.113.9, for=198.51.100.7;proto=http", "for=192.0.2.3"], Some("198.51.100.7")),
            (&["for=unknown"], None),
            (&["proto=https"], None),
        ] {
            assert_eq!(
                find_client(ProxyHeader::Forwarded, "192.0.2.1", lines).as_deref(),
                expected,
                "{lines:?}"
            );
        }
    }
}
