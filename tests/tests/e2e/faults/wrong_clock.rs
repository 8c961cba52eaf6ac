//! The clock is in 2001, because its battery is empty, or in 2040, because somebody set it so.

use super::{device, fails, scene};
use anyhow::{Context as _, Result};
use unbox_common::timestamp::Timestamp;
use unbox_server::clock::{Clock as _, SystemClock};
use unbox_tests::sandbox::Trouble;

const WRONG: [&str; 2] = ["2001-01-01T00:00:00Z", "2040-01-01T00:00:00Z"];

#[test]
fn a_new_device_with_a_wrong_clock_says_so_and_enrolls_once_it_is_set() -> Result<()> {
    for wrong in WRONG {
        let folder = tempfile::tempdir()?;
        let scene = scene(folder.path())?;
        let device = device(&scene, &folder.path().join("device"))?;
        let before = device.snapshot()?;
        let agent = device.agent_in(&in_the(wrong)?, &["run", "--once", "--attempts", "1"])?;
        let (code, said) = fails(agent, &folder.path().join("wrong.log"))?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("The clock of this device says 20"), "{said}");
        let status = device.status()?;
        assert_eq!(status["installer"]["kind"], "clock_skew", "{status:#}");
        assert_eq!(status["phase"], "unenrolled");
        assert_eq!(device.snapshot()?, before, "{wrong}");
        assert!(scene.devices()?.is_empty(), "{wrong}");

        device.power_on(&folder.path().join("right.log"))?;
        let known = scene.device()?;
        assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    }
    Ok(())
}

/// It has been told the time before, by a server that it verified.
#[test]
fn a_managed_device_with_a_wrong_clock_stays_managed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let (before, ledger) = (device.snapshot()?, device.read("/var/lib/unbox/ledger.json")?);
    for wrong in WRONG {
        let agent = device.agent_in(&in_the(wrong)?, &["run", "--once", "--attempts", "1"])?;
        let (code, said) = fails(agent, &folder.path().join(format!("{wrong}.log")))?;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("This device is managed by Acme AG"), "{said}");
        assert_eq!(device.snapshot()?, before, "{wrong}");
        assert_eq!(device.read("/var/lib/unbox/ledger.json")?, ledger, "{wrong}");
    }
    device.power_on(&folder.path().join("right.log"))?;
    assert_eq!(device.snapshot()?, before);
    assert_eq!(scene.audit("granted")?.len(), 1, "it enrolled again");
    assert_eq!(scene.device()?["state"], "managed");
    Ok(())
}

/// A clock that shows this time.
fn in_the(wrong: &str) -> Result<Trouble<'static>> {
    let shown = Timestamp::parse_rfc3339(wrong).context("a time")?;
    let clock_offset_s = i64::try_from(shown.as_secs())? - i64::try_from(SystemClock.now().as_secs())?;
    Ok(Trouble { clock_offset_s, ..Trouble::default() })
}
