//! Queries the kernel for the interfaces of the running system.

use super::reader::MAX_ENTRIES;
use crate::identity::network::Link;
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};

/// Returns every Ethernet interface with `IFLA_PERM_ADDRESS`: the address of the hardware, whatever a
/// bond or a user has set since.
pub(super) async fn interfaces() -> Result<Vec<Link>, rtnetlink::Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| rtnetlink::Error::NamespaceError(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    connection.abort();
    let mut links: Vec<Link> = links.iter().take(MAX_ENTRIES).filter_map(parse_link).collect();
    links.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(links)
}

fn parse_link(message: &LinkMessage) -> Option<Link> {
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mut link = Link::default();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::PermAddress(bytes) => link.permanent = mac_address(bytes),
            LinkAttribute::LinkInfo(infos) => {
                let kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
                link.kind = kind.or(link.kind);
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn mac_address(bytes: &[u8]) -> Option<String> {
    let address: [u8; 6] = bytes.try_into().ok()?;
    Some(address.map(|byte| format!("{byte:02x}")).join(":"))
}
