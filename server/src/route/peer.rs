//! Who is at the other end of a connection.

use crate::keys::DeviceCertificate;
use std::net::SocketAddr;

/// The other end, as the connection proves it. Made once for each connection, where TLS ends.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What its client certificate says; nothing if it showed none.
    pub device: Option<DeviceCertificate>,
    /// Whether the connection came in without TLS, on an address meant for operators.
    pub plain: bool,
}
