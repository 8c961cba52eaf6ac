//! Hostility on the wire: a server that misbehaves, clients that do, and a network between them.

mod clients;
mod network;
mod server;
