//! A device is claimed by two customers, each by another of its identifiers.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;
use unbox_tests::{
    files,
    process::{Running, wait_for},
    sandbox::{Firmware, Sandbox},
    scene::{CUSTOMER, Scene},
};

const UUID: &str = "4c4c4544-0058-4b10-8039-b7c04f513133";
const OTHER_CUSTOMER: &str = "Bolt";

/// The device of the claims, with a UUID beside its serial number.
fn device_with_uuid(scene: &Scene, folder: &Path) -> Result<Sandbox> {
    let device = device(scene, folder)?;
    device.write("/sys/class/dmi/id/product_uuid", &format!("{UUID}\n"))?;
    Ok(device)
}

fn claim_for_the_other(scene: &Scene) -> Result<String> {
    let claim = scene.server.admin_json(&["claim", "add", "--customer", OTHER_CUSTOMER, "--uuid", UUID])?;
    Ok(claim.get("id").and_then(Value::as_str).context("an id")?.to_owned())
}

fn waits_for(device: &Sandbox, agent: &Running, kind: &str) -> Result<()> {
    wait_for(LIMIT, &format!("the device to say {kind}"), || {
        Ok(device.failure()?.is_some_and(|found| found == kind).then_some(()))
    })
    .with_context(|| agent.output())
}

#[test]
fn a_device_of_two_owners_waits_until_one_claim_is_ended_and_then_stays_with_its_owner() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    scene.server.admin(&["customer", "create", OTHER_CUSTOMER])?;
    let other = claim_for_the_other(&scene)?;

    let fresh = device_with_uuid(&scene, &folder.path().join("device"))?;
    let before = fresh.snapshot()?;
    let mut agent = Running::start(fresh.agent(&["run", "--once"])?, &folder.path().join("agent.log"))?;
    waits_for(&fresh, &agent, "ambiguous_identity")?;
    assert_eq!(fresh.snapshot()?, before);
    assert!(scene.devices()?.is_empty());
    let listed = scene.server.admin_json(&["claim", "list", "--colliding"])?;
    let collisions: Vec<&Value> =
        listed["claims"].as_array().context("claims")?.iter().map(|claim| &claim["collision"]).collect();
    assert_eq!(collisions.len(), 2, "{listed:#}");
    let text = listed.to_string();
    assert!(
        text.contains("serial_number AC-0007") && text.contains(&format!("system_uuid {UUID}")),
        "{text}"
    );

    scene.server.admin(&["claim", "remove", &other, "--yes"])?;
    assert!(agent.wait(LIMIT)?.success(), "{}", agent.output());
    assert_eq!(fresh.read("/etc/motd")?, "mine\n");

    // Claimed once more by somebody else, and then its disk is lost.
    claim_for_the_other(&scene)?;
    let wiped = device_with_uuid(&scene, &folder.path().join("new-disk"))?;
    let agent = Running::start(wiped.agent(&["run", "--once"])?, &folder.path().join("wiped.log"))?;
    waits_for(&wiped, &agent, "pending_approval")?;
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    assert_eq!(scene.audit("claim_contested")?.len(), 2, "both sides are told");
    Ok(())
}

/// The ranks that a sandbox can show: the column, or columns, of a claim by each.
const RANKS: [&str; 4] =
    ["manufacturer,model,serial_number", "modemtype,modemid", "mac_address", "system_uuid"];

/// A machine with an identifier of each rank, all of them from its number.
struct Machine(u8);

impl Machine {
    fn serial_number(&self) -> String {
        format!("AC-1{:03}", self.0)
    }

    fn imei(&self) -> String {
        with_check_digit(&format!("490154203237{:02}", self.0))
    }

    fn mac_address(&self) -> String {
        format!("54:05:db:00:00:{:02x}", self.0)
    }

    fn uuid(&self) -> String {
        format!("4c4c4544-0058-4b10-8039-b7c04f5131{:02x}", self.0)
    }

    /// Returns the identifier of a rank, and the fields before it in a claim.
    fn identifier(&self, rank: &str) -> (String, &'static str) {
        match rank {
            "modemtype,modemid" => (self.imei(), "IMEI,"),
            "mac_address" => (self.mac_address(), ""),
            "system_uuid" => (self.uuid(), ""),
            _ => (self.serial_number(), "Acme,Gateway 3,"),
        }
    }

    /// Makes the machine: its network card and its modem as a capture notes them.
    fn make(&self, scene: &Scene, folder: &Path) -> Result<Sandbox> {
        const MODEM: &str = "/sys/devices/pci0000:00/0000:00:1c.6";
        let firmware = Firmware::new("Acme", "Gateway 3", &self.serial_number());
        let device = Sandbox::unpack(folder, &firmware, &scene.server.url(), &scene.server.bundle())?;
        device.write("/sys/class/dmi/id/product_uuid", &self.uuid())?;
        for (name, noted) in [
            (
                "capture",
                json!({"format": 1, "agent": "0.1.0", "kernel": "6.1", "captured": 0, "unreadable": []}),
            ),
            ("interfaces", json!([{"name": "lan0", "permanent": self.mac_address()}])),
            ("links", json!({"/sys/class/net/lan0/device": "/sys/devices/pci0000:00/0000:00:1f.6"})),
            ("modems", json!([{"object": "/Modem/0", "device": MODEM, "imei": self.imei()}])),
        ] {
            device.write(&format!("/unbox/{name}.json"), &noted.to_string())?;
        }
        Ok(device)
    }
}

/// Appends the check digit of an IMEI (Luhn).
fn with_check_digit(digits: &str) -> String {
    let doubled = |at: usize, digit: u32| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit };
    let sum: u32 = digits
        .chars()
        .filter_map(|char| char.to_digit(10))
        .enumerate()
        .map(|(at, digit)| doubled(at, digit))
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// Claims a machine for a customer by one rank, and returns the claim's id.
fn claim_by(scene: &Scene, folder: &Path, customer: &str, machine: &Machine, rank: &str) -> Result<String> {
    let (identifier, before) = machine.identifier(rank);
    let file = folder.join("claim.csv");
    files::write(&file, format!("{rank}\n{before}{identifier}\n").as_bytes())?;
    scene.server.admin(&["import", file.to_str().context("a path that is text")?, "--customer", customer])?;
    let listed = scene.server.admin_json(&["claim", "list", "--customer", customer])?;
    let claims = listed.get("claims").and_then(Value::as_array).context("claims")?;
    let of_machine = |claim: &&Value| claim.to_string().contains(&identifier);
    let claim = claims.iter().find(of_machine).with_context(|| format!("{identifier} in {listed:#}"))?;
    Ok(claim.get("id").and_then(Value::as_str).context("an id")?.to_owned())
}

#[test]
fn whichever_two_ranks_two_owners_claim_by_the_device_waits_and_then_goes_to_the_one_that_is_left()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("mine\n"))?;
    scene.server.admin(&["customer", "create", OTHER_CUSTOMER])?;
    let pairs = RANKS
        .iter()
        .flat_map(|own| RANKS.iter().filter(move |other| *other != own).map(move |other| (own, other)));
    for ((own, other), number) in pairs.zip(0..) {
        let (machine, case) = (Machine(number), format!("{own} against {other}"));
        claim_by(&scene, folder.path(), CUSTOMER, &machine, own)?;
        let others = claim_by(&scene, folder.path(), OTHER_CUSTOMER, &machine, other)?;
        let device = machine.make(&scene, &folder.path().join(format!("device-{number}")))?;
        let (before, known) = (device.snapshot()?, scene.devices()?.len());
        device.run_agent(&["run", "--once", "--attempts", "1"])?;
        assert_eq!(device.failure()?.as_deref(), Some("ambiguous_identity"), "{case}");
        assert_eq!((device.snapshot()?, scene.devices()?.len()), (before, known), "{case}");
        let listed = scene.server.admin_json(&["claim", "list", "--colliding"])?;
        assert_eq!(listed["claims"].as_array().context("claims")?.len(), 2, "{case}: {listed:#}");

        scene.server.admin(&["claim", "remove", &others, "--yes"])?;
        let ended = device.run_agent(&["run", "--once"])?;
        assert!(ended.status.success(), "{case}: {}", ended.stderr);
        assert_eq!(device.read("/etc/motd")?, "mine\n", "{case}");
    }
    Ok(())
}
