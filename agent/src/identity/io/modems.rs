//! Queries `ModemManager` for the modems, over D-Bus: only if there is a modem, and with a short timeout.

use super::reader::Reader;
use crate::identity::{State, modem::Modem};
use std::{collections::HashMap, time::Duration};
use zbus::{
    Connection,
    connection::Builder,
    fdo,
    names::{BusName, WellKnownName},
    zvariant::{OwnedObjectPath, OwnedValue},
};

/// Time limit for all queries. A modem that is still starting is found at the next boot.
const LIMIT: Duration = Duration::from_secs(3);

/// The most modems of one machine.
const MAX_MODEMS: usize = 16;

const SERVICE: WellKnownName<'static> =
    WellKnownName::from_static_str_unchecked("org.freedesktop.ModemManager1");
const OBJECT: &str = "/org/freedesktop/ModemManager1";
const GSM: &str = "org.freedesktop.ModemManager1.Modem.Modem3gpp";
const CDMA: &str = "org.freedesktop.ModemManager1.Modem.ModemCdma";
const MODEM: &str = "org.freedesktop.ModemManager1.Modem";

/// The objects of a service, by interface and property.
type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedValue>>>;

/// Returns true if the kernel knows a modem. Most machines have none, and then D-Bus is not used.
pub(super) fn has_modem(reader: &mut Reader<'_>) -> bool {
    let usb = reader.names("/sys/class/usbmisc").iter().any(|name| name.starts_with("cdc-wdm"));
    usb || !reader.names("/sys/class/wwan").is_empty()
}

/// Queries all modems; otherwise returns the state and reason of the failure.
pub(super) async fn query() -> Result<Vec<Modem>, (State, String)> {
    let builder = Builder::system().map_err(|error| (State::Failed, error.to_string()))?;
    query_within(builder, LIMIT).await
}

async fn query_within(builder: Builder<'_>, limit: Duration) -> Result<Vec<Modem>, (State, String)> {
    match tokio::time::timeout(limit, query_bus(builder)).await {
        Ok(Ok(Some(modems))) => Ok(modems),
        Ok(Ok(None)) => Err((State::Absent, "ModemManager is not installed".to_owned())),
        Ok(Err(error)) => Err((State::Failed, error.to_string())),
        Err(_) => {
            let waited =
                format!("no answer within {} ms; it is asked again at the next start", limit.as_millis());
            Err((State::TimedOut, waited))
        }
    }
}

/// Queries over a connection; `None` if the service is neither running nor activatable.
async fn query_bus(builder: Builder<'_>) -> Result<Option<Vec<Modem>>, zbus::Error> {
    let connection = builder.build().await?;
    let bus = fdo::DBusProxy::new(&connection).await?;
    let running = bus.name_has_owner(BusName::WellKnown(SERVICE)).await?;
    if !running && !bus.list_activatable_names().await?.iter().any(|name| *name.inner() == SERVICE) {
        return Ok(None);
    }
    objects(&connection).await.map(|objects| Some(modems(objects)))
}

async fn objects(connection: &Connection) -> Result<Objects, zbus::Error> {
    let manager = Some("org.freedesktop.DBus.ObjectManager");
    let reply = connection.call_method(Some(SERVICE), OBJECT, manager, "GetManagedObjects", &()).await?;
    reply.body().deserialize()
}

fn modems(objects: Objects) -> Vec<Modem> {
    let mut modems: Vec<Modem> = objects
        .into_iter()
        .map(|(object, interfaces)| {
            let text = |interface: &str, property: &str| {
                let value = interfaces.get(interface)?.get(property)?;
                value.downcast_ref::<&str>().ok().map(str::to_owned)
            };
            Modem {
                object: object.to_string(),
                device: text(MODEM, "Device"),
                imei: text(GSM, "Imei"),
                meid: text(CDMA, "Meid"),
            }
        })
        .collect();
    modems.sort_by(|one, other| one.object.cmp(&other.object));
    modems.truncate(MAX_MODEMS);
    modems
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::{net::UnixListener, task::JoinHandle};
    use zbus::{Guid, interface, zvariant::Value};

    /// The part of a bus that a client needs.
    struct Bus {
        client: &'static str,
        running: Vec<&'static str>,
        activatable: Vec<&'static str>,
    }

    #[interface(name = "org.freedesktop.DBus")]
    impl Bus {
        #[zbus(name = "Hello")]
        fn hello(&self) -> &'static str {
            self.client
        }

        #[zbus(name = "NameHasOwner")]
        fn name_has_owner(&self, name: &str) -> bool {
            self.running.contains(&name)
        }

        #[zbus(name = "ListActivatableNames")]
        fn list_activatable_names(&self) -> Vec<&'static str> {
            self.activatable.clone()
        }
    }

    /// A fake `ModemManager`, which can be made to hang.
    struct Manager {
        hangs: bool,
    }

    #[interface(name = "org.freedesktop.DBus.ObjectManager")]
    impl Manager {
        #[zbus(name = "GetManagedObjects")]
        async fn get_managed_objects(&self) -> Objects {
            if self.hangs {
                pending::<()>().await;
            }
            let property = |name: &str, value: &str| {
                (name.to_owned(), OwnedValue::try_from(Value::from(value)).unwrap())
            };
            let path = |text: &str| OwnedObjectPath::try_from(text).unwrap();
            let gsm = HashMap::from([
                (
                    MODEM.to_owned(),
                    HashMap::from([property("Device", "/sys/devices/pci0000:00/0000:00:14.0")]),
                ),
                (GSM.to_owned(), HashMap::from([property("Imei", "490154203237518")])),
            ]);
            let cdma =
                HashMap::from([(CDMA.to_owned(), HashMap::from([property("Meid", "A1000000123456")]))]);
            // A value of the wrong type counts as absent.
            let odd = HashMap::from([(
                GSM.to_owned(),
                HashMap::from([("Imei".to_owned(), OwnedValue::from(7_u32))]),
            )]);
            HashMap::from([
                (path("/org/freedesktop/ModemManager1/Modem/1"), cdma),
                (path("/org/freedesktop/ModemManager1/Modem/0"), gsm),
                (path("/org/freedesktop/ModemManager1/Modem/2"), odd),
            ])
        }
    }

    /// Starts a bus on a socket of its own, for one client.
    fn bus(folder: &tempfile::TempDir, bus: Bus, manager: Manager) -> (String, JoinHandle<()>) {
        let socket = folder.path().join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let builder = Builder::unix_stream(stream).server(Guid::generate()).unwrap().p2p();
            let builder = builder.serve_at("/org/freedesktop/DBus", bus).unwrap();
            let connection = builder.serve_at(OBJECT, manager).unwrap().build().await.unwrap();
            pending::<()>().await;
            drop(connection);
        });
        (format!("unix:path={}", socket.display()), serving)
    }

    const NAME: &str = "org.freedesktop.ModemManager1";

    async fn query_fake(
        running: &[&'static str],
        activatable: &[&'static str],
        hangs: bool,
    ) -> Result<Vec<Modem>, (State, String)> {
        let folder = tempfile::tempdir().unwrap();
        let own = Bus { client: ":1.7", running: running.to_vec(), activatable: activatable.to_vec() };
        let (address, serving) = bus(&folder, own, Manager { hangs });
        let limit = if hangs { Duration::from_millis(200) } else { Duration::from_secs(20) };
        let answer = query_within(Builder::address(address.as_str()).unwrap(), limit).await;
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn what_modem_manager_knows_is_taken() {
        let modems = query_fake(&[NAME], &[], false).await.unwrap();
        assert_eq!(modems.len(), 3);
        assert_eq!(modems[0].imei.as_deref(), Some("490154203237518"));
        assert_eq!(modems[0].device.as_deref(), Some("/sys/devices/pci0000:00/0000:00:14.0"));
        assert_eq!(modems[1].meid.as_deref(), Some("A1000000123456"));
        assert_eq!((&modems[2].imei, &modems[2].meid), (&None, &None));
        assert_eq!(
            query_fake(&[], &[NAME], false).await.unwrap(),
            modems,
            "one that is started when it is asked"
        );
    }

    #[tokio::test]
    async fn nobody_to_ask_is_said_and_so_is_one_who_does_not_answer() {
        let others = ["org.freedesktop.hostname1"];
        assert_eq!(query_fake(&others, &others, false).await.unwrap_err().0, State::Absent);
        assert_eq!(query_fake(&[NAME], &[], true).await.unwrap_err().0, State::TimedOut);
        let nowhere = Builder::address("unix:path=/nowhere/at/all").unwrap();
        assert_eq!(query_within(nowhere, LIMIT).await.unwrap_err().0, State::Failed);
    }
}
