//! The proxies that are trusted about the client's address.

use super::{ConfigError, value::value_error};
use ipnet::IpNet;
use serde::Deserialize;
use std::{net::IpAddr, sync::Arc};

/// The header in which a proxy names its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, as most proxies write it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The trusted proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    networks: Arc<[IpNet]>,
    /// The header that they write. The other header is passed on as a client sent it.
    pub header: ProxyHeader,
}

impl Proxies {
    /// Reads addresses and networks.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for anything else.
    pub fn parse(networks: &[String], header: ProxyHeader) -> Result<Self, ConfigError> {
        let network = |text: &String| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                value_error(
                    "trusted_proxies",
                    "addresses and networks such as \"192.0.2.7\" or \"10.1.0.0/16\"",
                )
            })
        };
        Ok(Self { networks: networks.iter().map(network).collect::<Result<_, _>>()?, header })
    }

    /// Returns true if the proxy at this address is trusted.
    #[must_use]
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns true if no proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}
