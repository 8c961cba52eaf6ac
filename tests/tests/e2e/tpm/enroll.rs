//! From power-on to managed by a TPM, a factory reset, and a copy of the disk in another device.

use super::{device, manufactured};
use anyhow::{Context as _, Result};
use serde_json::Value;
use unbox_tests::{
    sandbox::Sandbox,
    scene::Scene,
    swtpm::{Certified, SimulatedTpm},
};

const KEY: &str = "/var/lib/unbox/exchange/device.key";
const SOCKET: &str = "/dev/tpmrm0";

/// A scene that believes the manufacturer, and a device of it with a TPM.
struct Bench {
    folder: tempfile::TempDir,
    scene: Scene,
    device: Sandbox,
    maker: unbox_tests::swtpm::Manufacturer,
    tpm: SimulatedTpm,
}

impl Bench {
    fn set(claims: &str, proof: &str, certified: Certified, believed: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (maker, mut tpm) = manufactured(folder.path(), certified, &folder.path().join("s"))?;
        let roots = if believed { format!("{:?}", maker.roots()?.to_string_lossy()) } else { String::new() };
        let settings = [("roots", roots.as_str())];
        let scene = Scene::create_with(folder.path(), if believed { &settings } else { &[] })?;
        scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &super::policy())?;
        scene.claim(claims, &["--proof", proof])?;
        let device = device(&scene, &folder.path().join("d"))?;
        tpm.serve(&device.path(SOCKET))?;
        Ok(Self { folder, scene, device, maker, tpm })
    }

    fn power_on(&self, log: &str) -> Result<String> {
        self.device.power_on(&self.folder.path().join(log))
    }

    /// One try, which is refused: the last word on the console.
    fn refused(&self) -> Result<String> {
        let ended = self.device.run_agent(&["run", "--once", "--attempts", "1"])?;
        assert!(!ended.status.success(), "{}", ended.stdout);
        Ok(ended.stdout + &ended.stderr)
    }

    /// The ties to the device of the requests that wait for approval.
    fn ties(&self) -> Result<Vec<String>> {
        let listed = self.scene.server.admin_json(&["device", "requests"])?;
        let requests = listed.get("requests").and_then(Value::as_array).context("requests")?;
        let tie = |one: &Value| one.get("tie").and_then(Value::as_str).map(str::to_owned).context("a tie");
        requests.iter().map(tie).collect()
    }

    /// The identifier of the device's TPM, as the agent shows it.
    fn tpm_key(&self) -> Result<String> {
        let shown: Value = serde_json::from_str(&self.device.run_agent(&["identity", "--json"])?.success()?)?;
        let all = shown.get("identifiers").and_then(Value::as_array).context("identifiers")?;
        let tpm = all.iter().find(|one| one.get("source") == Some(&"tpm".into())).context("a TPM's key")?;
        Ok(tpm.get("value").and_then(Value::as_str).context("a value")?.to_owned())
    }
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_device_enrolls_by_its_tpm_and_comes_back_by_it_after_a_reset() -> Result<()> {
    let bench = Bench::set(super::CLAIMS, "tpm", Certified::Rsa, true)?;
    bench.power_on("first.log")?;
    let key: Value = serde_json::from_str(&bench.device.read(KEY)?)?;
    assert_eq!(key["held_in"], "tpm");
    assert!(!bench.device.read(KEY)?.contains("PRIVATE"));
    let granted = bench.scene.audit("granted")?;
    assert_eq!(granted.len(), 1);
    let detail = &granted[0]["detail"];
    assert_eq!((detail["proof"].as_str(), detail["why"].as_str()), (Some("tpm"), Some("first_key")));
    assert_eq!(detail["tpm"]["key"], bench.tpm_key()?);
    assert_eq!(
        (detail["tpm"]["rooted"].as_bool(), detail["tpm"]["pcrs"].as_array().map(Vec::len)),
        (Some(true), Some(8))
    );
    let known = bench.scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));

    // Switched on again, the key in the TPM speaks TLS.
    let said = bench.power_on("again.log")?;
    assert!(said.contains("managed") || !said.is_empty());
    assert_eq!(bench.scene.device()?["generation"].as_u64(), Some(1));

    bench.device.wipe()?;
    bench.power_on("wiped.log")?;
    let other: Value = serde_json::from_str(&bench.device.read(KEY)?)?;
    assert_ne!(other["salt"], key["salt"], "a wiped disk has a new key");
    let granted = bench.scene.audit("granted")?;
    assert_eq!(granted[0]["detail"]["why"], "tpm", "and the TPM stands for it");
    let known = bench.scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(2)));
    assert!(bench.scene.audit("refused")?.is_empty());
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_copy_of_the_disk_beside_another_tpm_is_refused_and_changes_nothing() -> Result<()> {
    let mut bench = Bench::set(super::CLAIMS, "tpm", Certified::Rsa, true)?;
    bench.power_on("first.log")?;
    let known = bench.scene.device()?;

    // The same disk and the same label, in front of another TPM of the same manufacturer.
    bench.tpm.switch_off();
    let mut another = bench.maker.make(&bench.folder.path().join("another"), Certified::Rsa)?;
    another.serve(&bench.device.path(SOCKET))?;
    let ended = bench.device.run_agent(&["check-in"])?;
    assert!(!ended.status.success());
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("another TPM") && said.contains("other_tpm"), "{said}");
    assert_eq!(bench.scene.device()?, known, "nothing was even asked");

    // With a key of its own, it is told that its hardware changed.
    bench.device.run_agent(&["reset"])?.success()?;
    let said = bench.refused()?;
    assert!(said.contains("hardware_changed") || said.contains("replaced"), "{said}");
    let now = bench.scene.device()?;
    assert_eq!((now["state"].as_str(), now["generation"].as_u64()), (Some("managed"), Some(1)));
    assert_eq!(bench.scene.audit("granted")?.len(), 1);
    let asked = bench.scene.audit("approval_requested")?;
    assert_eq!(asked[0]["detail"]["replaced"][0]["kind"], "tpm_key", "{asked:#?}");
    assert_eq!(bench.ties()?, ["network"], "a TPM that is not the device's is no proof");
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_request_for_which_the_devices_own_tpm_stands_is_tied_to_it_by_proof() -> Result<()> {
    const BOARD: &str = "/sys/class/dmi/id/board_serial";
    let bench = Bench::set(super::CLAIMS, "tpm", Certified::Rsa, true)?;
    bench.device.write(BOARD, "L1HF111\n")?;
    bench.power_on("first.log")?;
    assert_eq!(bench.ties()?, [""; 0]);

    // A repair: another board and a wiped disk, with the TPM that was there before.
    bench.device.wipe()?;
    bench.device.write(BOARD, "L1HF222\n")?;
    let said = bench.refused()?;
    assert!(said.contains("hardware_changed") || said.contains("replaced"), "{said}");
    let asked = bench.scene.audit("approval_requested")?;
    assert_eq!(asked[0]["detail"]["replaced"][0]["kind"], "board_serial", "{asked:#?}");
    assert_eq!(bench.ties()?, ["proof"]);
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_registered_tpm_is_found_by_its_key_and_needs_no_roots() -> Result<()> {
    // P-256, which no certificate certifies: the registration alone vouches for it.
    let bench = Bench::set("mac_address\n00163e000001\n", "identifiers", Certified::Not, false)?;
    let key = bench.tpm_key()?;
    bench.scene.claim(&format!("tpm_key\n{key}\n"), &["--proof", "tpm"])?;
    bench.power_on("first.log")?;
    let granted = bench.scene.audit("granted")?;
    assert_eq!(
        (granted[0]["detail"]["why"].as_str(), granted[0]["detail"]["tpm"]["rooted"].as_bool()),
        (Some("tpm"), Some(false))
    );
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_tpm_that_nobody_vouches_for_is_refused() -> Result<()> {
    let bench = Bench::set(super::CLAIMS, "tpm", Certified::Rsa, false)?;
    let said = bench.refused()?;
    assert!(said.contains("tpm.roots"), "what to do is said: {said}");
    assert!(bench.scene.devices()?.is_empty());

    // Certified by somebody that the server does not know.
    let stranger = unbox_tests::swtpm::Manufacturer::new(&bench.folder.path().join("stranger"))?;
    let mut bench = Bench::set(super::CLAIMS, "tpm", Certified::P384, true)?;
    let mut tpm = stranger.make(&bench.folder.path().join("forged"), Certified::Rsa)?;
    bench.tpm.switch_off();
    tpm.serve(&bench.device.path(SOCKET))?;
    let ended = bench.device.run_agent(&["run", "--once", "--attempts", "1"])?;
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("no root that this server trusts"), "{said}");
    assert!(bench.scene.devices()?.is_empty());
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_key_in_software_is_no_proof_and_works_where_none_is_asked() -> Result<()> {
    let bench = Bench::set(super::CLAIMS, "tpm", Certified::Rsa, true)?;
    let text = bench.device.read("/etc/unbox/agent.toml")?;
    bench.device.write("/etc/unbox/agent.toml", &format!("{text}tpm = \"never\"\n"))?;
    let said = bench.refused()?;
    assert!(said.contains("TPM"), "{said}");
    assert!(bench.device.read(KEY)?.contains("PRIVATE KEY"));
    assert!(bench.scene.devices()?.is_empty());

    let bench = Bench::set(super::CLAIMS, "identifiers", Certified::Rsa, false)?;
    bench.power_on("first.log")?;
    assert_eq!(
        serde_json::from_str::<Value>(&bench.device.read(KEY)?)?["held_in"],
        "tpm",
        "made in the TPM all the same"
    );
    Ok(())
}
