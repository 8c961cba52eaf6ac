//! The PROXY protocol, versions 1 and 2: a balancer in front of TLS names its client, so that limits and
//! log refer to the client and not to the balancer.

use ppp::{HeaderResult, v1, v2};
use std::{io, net::SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest header of version 1, with its end of line (PROXY protocol, section 2.1).
const MAX_V1_BYTES: usize = 107;
/// The longest header of version 2, which exceeds the addresses and extensions of any balancer.
const MAX_V2_BYTES: usize = 1024;
/// The length that both versions have at least.
const START_BYTES: usize = 12;

/// Reads exactly the header. Returns `None` if the balancer speaks for itself, as in its health checks.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for anything that is not such a header.
pub(super) async fn client_address(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; START_BYTES];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        header.extend_from_slice(&rest);
        let [.., high, low] = rest;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_V2_BYTES {
            return Err(no_header());
        }
        let start = header.len();
        header.resize(start + length, 0);
        stream.read_exact(header.get_mut(start..).unwrap_or_default()).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        while !header.ends_with(v1::PROTOCOL_SUFFIX.as_bytes()) {
            if header.len() >= MAX_V1_BYTES {
                return Err(no_header());
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(no_header());
    }
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(v1_client(header.addresses)),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(v2_client(header.addresses)),
        _ => Err(no_header()),
    }
}

fn v1_client(addresses: v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        v1::Addresses::Unknown => None,
    }
}

fn v2_client(addresses: v2::Addresses) -> Option<SocketAddr> {
    match addresses {
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    }
}

fn no_header() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "expected a header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (io::Result<Option<String>>, usize) {
        let mut stream = bytes;
        let found = client_address(&mut stream).await;
        (found.map(|address| address.map(|address| address.to_string())), stream.len())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, body, b"TLS"].concat()
    }

    #[tokio::test]
    async fn the_client_behind_a_balancer_is_known_and_tls_is_left_alone() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb];
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\nTLS".to_vec(), Some("192.0.2.7:12345")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\nTLS".to_vec(), Some("[2001:db8::7]:12345")),
            (b"PROXY UNKNOWN\r\nTLS".to_vec(), None),
            (v2(1, 0x11, &v4), Some("192.0.2.7:12345")),
            // With an extension after the addresses.
            (v2(1, 0x11, &[&v4[..], &[0x04, 0, 1, 9]].concat()), Some("192.0.2.7:12345")),
            (v2(0, 0x00, b""), None),
        ] {
            let (found, left) = read(&bytes).await;
            assert_eq!(found.unwrap().as_deref(), expected, "{bytes:?}");
            assert_eq!(left, 3, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 500]].concat();
        for bytes in [
            b"".to_vec(),
            b"PROXY".to_vec(),
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abc".to_vec(),
            b"PROXY TCP4 localhost 198.51.100.1 12345 443\r\n".to_vec(),
            endless,
            v2(1, 0x11, &[1, 2, 3]),
            v2(1, 0x11, &[0; MAX_V2_BYTES + 1]),
            v2(7, 0x11, &[0; 12]),
        ] {
            assert!(read(&bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
