//! The server's certificate comes from an authority that speaks ACME: Pebble, by the makers of Let's Encrypt.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::{Context as _, Result};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};
use unbox_tests::{
    files,
    process::{Running, command, run, wait_for},
    sandbox::Sandbox,
    scene::Scene,
    server,
};

/// The life of certificates that are not to be renewed.
const YEAR: Duration = Duration::from_hours(24 * 365);

#[test]
#[ignore = "needs pebble: run tests/run"]
fn an_acme_authority_issues_the_servers_certificate_and_devices_stay() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let authority = Pebble::start(&folder.path().join("pebble"), scene.server.address.port(), YEAR)?;
    let settings = folder.path().join("server/server.toml");
    let before = fs::read_to_string(&settings)?;

    // Devices would refuse what it issues: the server does not start so.
    scene.server.stop()?;
    files::write(&settings, authority.settings(&before)?.as_bytes())?;
    let refused = scene.server.start_again().err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(refused.contains("key rotate-anchors --anchor FILE"), "{refused}");

    files::write(&settings, before.as_bytes())?;
    scene.server.start_again()?;
    change_to(&authority, &mut scene, &device, &settings)?;

    // Now nobody else has to be believed any more.
    let anchored = scene.server.admin_json(&["key", "retire-anchors", "--yes"])?;
    assert_eq!(anchored["anchors"].as_array().map(Vec::len), Some(1));
    assert!(anchored.to_string().contains("Pebble Root CA"), "{anchored}");
    scene.server.stop()?;
    scene.server.start_again()?;
    device.check_in()?;
    assert_eq!(scene.device()?["generation"], 1, "it is enrolled as before");
    Ok(())
}

#[test]
#[ignore = "needs pebble: run tests/run"]
fn a_due_certificate_is_issued_anew_with_the_same_account_also_after_the_authority_was_away() -> Result<()> {
    const LIFE: Duration = Duration::from_mins(3);
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let authority = Pebble::start(&folder.path().join("pebble"), scene.server.address.port(), LIFE)?;
    let settings = folder.path().join("server/server.toml");
    change_to(&authority, &mut scene, &device, &settings)?;
    let keys = folder.path().join("server/keys");
    let [in_use, next, account] =
        ["acme.pem", "acme-next.pem", "acme-account.json"].map(|name| keys.join(name));
    let (first, accounts) = (folder.path().join("first.pem"), fs::read(&account)?);
    fs::copy(&in_use, &first)?;
    // The server asks for another one when two thirds of its life are over.
    sleep(LIFE * 2 / 3 + Duration::from_secs(1));

    // The authority is away: the certificate that is there goes on being used.
    let present = fs::read_to_string(&settings)?;
    let away = present.replace(&format!(":{}/dir", authority.port), &format!(":{}/dir", free_port()?));
    let mut start_with = |text: &str| {
        scene.server.stop()?;
        files::write(&settings, text.as_bytes())?;
        scene.server.start_again()
    };
    start_with(&away)?;
    let log = || fs::read_to_string(folder.path().join("server/serve.log"));
    wait_for(LIMIT, "a warning", || {
        Ok(log()?.contains("no certificate came from the ACME authority").then_some(()))
    })?;
    device.check_in()?;
    assert_eq!(fs::read(&in_use)?, fs::read(&first)?);

    start_with(&present)?;
    wait_for(LIMIT, "another certificate", || Ok((fs::read(&in_use)? != fs::read(&first)?).then_some(())))?;
    assert_eq!(fs::read(&account)?, accounts, "the account is the same");
    device.check_in()?;

    // One that waits is used with the next start, before anybody is asked.
    fs::copy(&in_use, &next)?;
    fs::copy(&first, &in_use)?;
    let waited = fs::read(&next)?;
    start_with(&away)?;
    assert_eq!((fs::read(&in_use)?, next.exists()), (waited, false));
    device.check_in()?;
    Ok(())
}

/// Lets the root of this authority count, so that the device hears of that before anything else changes, and
/// has the authority issue the server's certificate.
fn change_to(authority: &Pebble, scene: &mut Scene, device: &Sandbox, settings: &Path) -> Result<()> {
    let before = fs::read_to_string(settings)?;
    let root = authority.root()?;
    scene.server.admin(&["key", "rotate-anchors", "--anchor", &root.to_string_lossy()])?;
    scene.server.stop()?;
    scene.server.start_again()?;
    device.check_in()?;
    scene.server.stop()?;
    files::write(settings, authority.settings(&before)?.as_bytes())?;
    scene.server.start_again()?;
    wait_for(LIMIT, "a certificate", || {
        Ok(scene.server.log().contains("the ACME authority issued the server's certificate").then_some(()))
    })
    .with_context(|| format!("{}\n{}", scene.server.log(), authority.process.output()))?;
    device.check_in()?;
    Ok(())
}

/// An authority on this machine, which asks on the port of the server.
struct Pebble {
    process: Running,
    folder: PathBuf,
    port: u16,
    management: u16,
}

impl Pebble {
    /// Starts an authority whose certificates have this life.
    fn start(folder: &Path, asks_on: u16, life: Duration) -> Result<Self> {
        fs::create_dir(folder)?;
        let [port, management] = [free_port()?, free_port()?];
        let own = rcgen::generate_simple_self_signed([server::NAME.to_owned()])?;
        files::write(&folder.join("own.pem"), own.cert.pem().as_bytes())?;
        files::write(&folder.join("own.key"), own.signing_key.serialize_pem().as_bytes())?;
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.join("own.pem"),
            "privateKey": folder.join("own.key"),
            "httpPort": 1,
            "tlsPort": asks_on,
            "certificateValidityPeriod": life.as_secs(),
        }});
        files::write(&folder.join("config.json"), config.to_string().as_bytes())?;
        let mut pebble = command("pebble", &["-config"]);
        pebble.arg(folder.join("config.json")).env("PEBBLE_VA_NOSLEEP", "1");
        let process = Running::start(pebble, &folder.join("log"))?;
        let authority = Self { process, folder: folder.to_owned(), port, management };
        wait_for(LIMIT, "Pebble", || Ok(authority.root().ok()))
            .with_context(|| authority.process.output())?;
        Ok(authority)
    }

    /// The root certificate of what it issues.
    fn root(&self) -> Result<PathBuf> {
        let url = format!("https://{}:{}/roots/0", server::NAME, self.management);
        let mut curl = command("curl", &["--silent", "--show-error", "--fail", &url, "--cacert"]);
        curl.arg(self.folder.join("own.pem"));
        let pem = run(curl)?.success()?;
        let path = self.folder.join("root.pem");
        files::write(&path, pem.as_bytes())?;
        Ok(path)
    }

    /// A server's settings with this authority. It can resolve one of the server's names only.
    fn settings(&self, before: &str) -> Result<String> {
        let names = before.lines().find(|line| line.starts_with("names = ")).context("the names")?;
        let own = self.folder.join("own.pem");
        let (name, port) = (server::NAME, self.port);
        let acme =
            format!("[acme]\ndirectory = \"https://{name}:{port}/dir\"\nroot = \"{}\"\n", own.display());
        Ok(before.replace(names, &format!("names = [\"{}\"]", server::NAME)).replace("[acme]\n", &acme))
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
