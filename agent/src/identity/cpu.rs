//! The serial number in the processors of small ARM boards, from `/proc/cpuinfo`.

use super::Candidate;
use unbox_common::identity::{IdentifierKind, Source};

/// Path of the processor information.
pub(super) const CPUINFO: &str = "/proc/cpuinfo";

/// The largest file that is read, in bytes: that of an ARM board has a few kilobytes.
pub(super) const MAX_CPUINFO_BYTES: u64 = 1024 * 1024;

/// Returns the serial number, if there is one; a kernel that does not know it writes zeros.
pub(super) fn serial(cpuinfo: &[u8]) -> Option<Candidate> {
    let text = String::from_utf8_lossy(cpuinfo);
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "Serial").then(|| value.trim())
    })?;
    let known = value.bytes().any(|byte| byte != b'0');
    known.then(|| Candidate {
        kind: IdentifierKind::SerialNumber,
        value: value.to_owned(),
        source: Source::Cpu,
        from: CPUINFO.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_serial_number_that_is_one_counts() {
        for (cpuinfo, expected) in [
            (
                "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nSerial\t\t: 10000000abcd1234\n",
                Some("10000000abcd1234"),
            ),
            ("Hardware\t: sun8i\nSerial\t\t: 0000000000000000\n", None),
            ("Serial\t\t:\n", None),
            ("processor\t: 0\nmodel name\t: Some CPU, Serial\n", None),
            ("", None),
        ] {
            let found = serial(cpuinfo.as_bytes());
            assert_eq!(found.as_ref().map(|one| one.value.as_str()), expected, "{cpuinfo:?}");
        }
    }
}
