//! Claims files: whatever bytes arrive, every row has at most one result, and nothing panics.

use proptest::{collection::vec, prelude::*};
use std::{
    io::Cursor,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use unbox_server::{
    clock::{Clock as _, SystemClock},
    domain::tenancy::{actor::Actor, company::CompanyKind},
    entropy::SystemEntropy,
    keys::{self, Founding, Keyring, Layout},
    service::{ImportDefaults, NewCompany, RowResult, Services, Settings},
    store::Store,
};

/// A server with one customer, for all files.
struct World {
    runtime: Runtime,
    services: Services,
    operator: Actor,
    customer: ImportDefaults,
    _dir: TempDir,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let founding = Founding { names: vec!["localhost".to_owned()], url: "https://localhost:8443".to_owned() };
    let entropy = Arc::new(SystemEntropy::new());
    keys::initialise(&layout, &founding, SystemClock.now(), &*entropy).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let operator = Actor::operator("test");
    let (services, customer) = runtime.block_on(async {
        let store = Store::create(&Store::sqlite_url(&dir.path().join("unbox.db"))).await.unwrap();
        let signer = Keyring::load(layout, Duration::from_hours(1), entropy.clone()).unwrap();
        let settings = Settings::new(dir.path().to_owned());
        let services =
            Services::new(store, Arc::new(signer), Arc::new(SystemClock), entropy, settings).unwrap();
        let acme = NewCompany::new(CompanyKind::Customer, "Acme");
        let customer = services.tenancy.create_company(&operator, acme).await.unwrap().id;
        (services, ImportDefaults { customer: Some(customer), ..ImportDefaults::default() })
    });
    World { runtime, services, operator, customer, _dir: dir }
});

/// The results of a file's rows, and whether it was read to its end.
fn import(file: Vec<u8>) -> (Vec<RowResult>, bool) {
    let World { runtime, services, operator, customer, .. } = &*WORLD;
    let mut results = Vec::new();
    let done =
        services.claims.import_claims(operator, customer.clone(), Cursor::new(file), |row| results.push(row));
    let done = runtime.block_on(done).is_ok();
    (results, done)
}

/// A file that begins with a header of the portals, or with any that is made of such pieces.
fn file() -> impl Strategy<Value = Vec<u8>> {
    const HEADERS: [&str; 5] = [
        "serial,model,manufacturer,profiletype,owner\n",
        "modemtype,modemid,modemtype2,modemid2,profileid,devicemetadata\n",
        "serial_number,manufacturer,model,mac_address,proof\n",
        "",
        "\u{feff}owner,",
    ];
    const PIECES: [&str; 24] = [
        ",",
        ",",
        ",",
        "\n",
        "\n",
        "\r\n",
        "\"",
        "'",
        "=",
        "S1",
        "G3",
        "Acme",
        "ZERO_TOUCH",
        "IMEI",
        "MEID",
        "123456789012347",
        "00163e000001 ",
        "{\"a\":\"b\"}",
        "\\",
        "\u{0}",
        "\u{feff}",
        "token",
        "0",
        " ",
    ];
    let bytes = prop_oneof![
        9 => proptest::sample::select(PIECES.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..8),
    ];
    (proptest::sample::select(HEADERS.to_vec()), vec(bytes, 0..120))
        .prop_map(|(header, rest)| [header.as_bytes(), &rest.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_rows_with_one_result_each(file in file()) {
        let lines = file.split(|byte| *byte == b'\n').count();
        let (results, done) = import(file.clone());
        prop_assert!(results.len() < lines.max(1), "{} results of {lines} lines", results.len());
        prop_assert!(results.windows(2).all(|pair| pair[0].line < pair[1].line));
        prop_assert!(results.iter().all(|row| row.line >= 2 && row.line <= lines as u64));
        // Again: every row says the same or that it is there, and a device is never claimed twice.
        let (again, still_done) = import(file);
        prop_assert_eq!((again.len(), still_done), (results.len(), done));
        for (first, second) in results.iter().zip(&again) {
            prop_assert_eq!(first.line, second.line);
            prop_assert!(!matches!(second.outcome.status(), "imported"), "{second:?}");
            prop_assert_eq!(first.outcome.claim(), second.outcome.claim());
        }
    }
}
