//! The address at which a server is reached.

use std::net::SocketAddr;
use url::{Host, Url};

/// Parses the address at which a server is reached: a host, and a port unless it is 443.
///
/// # Errors
/// The form that was expected.
pub fn server_url(text: &str) -> Result<Url, &'static str> {
    let expected = "an address such as https://enroll.example.com:8443";
    let url: Url = text.parse().map_err(|_| expected)?;
    let plain = url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.has_host();
    if plain && url.username().is_empty() && url.password().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(expected)
    }
}

/// Builds the address from the main name and the first port; `None` without a name, or while the system
/// has yet to choose the port.
#[must_use]
pub fn build_url(names: &[String], listen: &[SocketAddr]) -> Option<Url> {
    let name = names.first()?;
    let host = match name.parse::<std::net::Ipv6Addr>() {
        Ok(address) => Host::Ipv6(address),
        Err(_) => Host::parse(name).ok()?,
    };
    let port = listen.first().map(SocketAddr::port).filter(|port| *port != 0)?;
    format!("https://{host}:{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{default_file, tests::parse};

    #[test]
    fn the_address_is_what_is_said_or_made_of_the_first_name_and_port() {
        for (name, listen, expected) in [
            ("enroll.example.com", "[::]:8443", Some("https://enroll.example.com:8443/")),
            ("192.0.2.7", "0.0.0.0:443", Some("https://192.0.2.7/")),
            ("2001:db8::7", "[::]:8443", Some("https://[2001:db8::7]:8443/")),
            ("localhost", "127.0.0.1:0", None),
        ] {
            let made = build_url(&[name.to_owned()], &[listen.parse().unwrap()]);
            assert_eq!(made.as_ref().map(Url::as_str), expected, "{name}");
            let said: Url = "https://front.example.com".parse().unwrap();
            let file = default_file(&[name.to_owned()], Some(&said), &[listen.parse().unwrap()], None);
            assert_eq!(parse(&file).unwrap().services.url, Some(said), "{name}");
            let file = default_file(&[name.to_owned()], made.as_ref(), &[listen.parse().unwrap()], None);
            assert_eq!(parse(&file).unwrap().services.url, made, "{name}");
        }
        for names in [&[][..], &["a b".to_owned()]] {
            assert_eq!(build_url(names, &["[::]:443".parse().unwrap()]), None);
        }
        for bad in ["http://x.example", "https://x.example/y", "https://u@x.example", "https://x.example/?q"]
        {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }
}
