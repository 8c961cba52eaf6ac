//! The other end of a connection.

use crate::keys::DeviceCertificate;
use std::net::SocketAddr;

/// The other end, as the connection proves it. Made once for each connection, where TLS ends.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The device in its client certificate; `None` if it showed none.
    pub device: Option<DeviceCertificate>,
    /// True if the connection came in without TLS, on an address meant for operators.
    pub plain: bool,
}
