//! The journal of a transaction, from which it is resumed after a power cut.
//!
//! One JSON document a line. The first is the [`Plan`] with every state before and after; it is written
//! atomically, so a journal exists completely or not at all. The others are appended and made durable
//! before the action they announce. Only the last line can be torn, and the action it announces has not
//! begun.
//!
//! ```text
//! plan -> begin 1 -> begin 2 -> ... -> committed            (forward, then final)
//!              \-> back(failure)                            (taken back)
//! ```

use super::{
    Failure, States,
    plan::Plan,
    record::{Record, UnusableDocument, check_format},
};
use serde::{Deserialize, Serialize};

/// The version of the journal that this agent writes.
const FORMAT: u32 = 1;

/// The largest journal that is read, in bytes.
pub(crate) const MAX_JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// The first line, with everything needed to go forward or back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    format: u32,
    /// The changes.
    pub(crate) plan: Plan,
    /// The record to install once the plan is done; nothing if everything is removed.
    pub(crate) record: Option<Record>,
    /// True if it is a removal that had no room for a way back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) one_way: bool,
}

/// Every other line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// The first `n` steps may have begun.
    Begin(usize),
    /// The agent was restarted in the middle.
    Resumed,
    /// The transaction failed, and is being rolled back.
    Back(Failure),
    /// The new state is healthy and final.
    Committed,
}

/// The direction of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Forward to the new state.
    Forward,
    /// Back to the old state, because of this failure.
    Back(Failure),
    /// The new state is final; only cleaning up is left.
    Committed,
}

/// A parsed journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) head: Head,
    pub(crate) direction: Direction,
    /// The number of steps that may have begun.
    pub(crate) reached: usize,
    /// The number of times the agent was restarted in the middle.
    pub(crate) resumed: usize,
    /// Length of the durable part, in bytes; the rest is torn.
    pub(crate) durable_bytes: usize,
}

impl Head {
    pub(crate) const fn new(plan: Plan, record: Option<Record>) -> Self {
        Self { format: FORMAT, plan, record, one_way: false }
    }

    /// Makes the head of a removal without a way back.
    pub(crate) fn one_way_removal(plan: Plan) -> Self {
        let plan = Plan { put_back: States::new(), guards: Vec::new(), ..plan };
        Self { one_way: true, ..Self::new(plan, None) }
    }
}

impl Journal {
    /// Makes the journal of a new transaction.
    pub(crate) const fn begin(head: Head) -> Self {
        Self { head, direction: Direction::Forward, reached: 0, resumed: 0, durable_bytes: 0 }
    }

    /// Parses a journal.
    pub(crate) fn parse(journal: &[u8]) -> Result<Self, UnusableDocument> {
        let mut lines = journal.split_inclusive(|byte| *byte == b'\n');
        let head = lines.next().filter(|line| line.ends_with(b"\n"));
        let head = head.ok_or(UnusableDocument::Incomplete)?;
        check_format(head)?;
        let mut read = Self::begin(serde_json::from_slice(head).map_err(UnusableDocument::Unreadable)?);
        read.durable_bytes = head.len();
        // A line without its end was not durable: the action it announces has not begun.
        for line in lines.take_while(|line| line.ends_with(b"\n")) {
            read.apply(&serde_json::from_slice(line).map_err(UnusableDocument::Unreadable)?);
            read.durable_bytes += line.len();
        }
        Ok(read)
    }

    /// Applies an entry to the state of the transaction.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Begin(step) => self.reached = self.reached.max(*step),
            Entry::Resumed => self.resumed += 1,
            Entry::Back(failure) => self.direction = Direction::Back(failure.clone()),
            Entry::Committed => self.direction = Direction::Committed,
        }
    }
}

/// Serializes a line of the journal, with its line ending.
pub(crate) fn line(document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::refusal::Disposition;

    fn write_all(entries: &[Entry]) -> Vec<u8> {
        let plan = Plan::default();
        let mut journal = line(&Head::new(plan, None)).unwrap();
        for entry in entries {
            journal.extend(line(entry).unwrap());
        }
        journal
    }

    fn failure() -> Failure {
        Failure {
            kind: "unhealthy".to_owned(),
            detail: "it is not well".to_owned(),
            disposition: Disposition::WaitForAdministrator,
        }
    }

    #[test]
    fn the_lines_say_where_it_stands() {
        let entries = [Entry::Begin(1), Entry::Resumed, Entry::Begin(4), Entry::Begin(2)];
        let read = Journal::parse(&write_all(&entries)).unwrap();
        assert_eq!((read.reached, read.resumed, read.direction), (4, 1, Direction::Forward));
        let back = Journal::parse(&write_all(&[Entry::Begin(1), Entry::Back(failure())])).unwrap();
        assert_eq!(back.direction, Direction::Back(failure()));
        let final_ = Journal::parse(&write_all(&[Entry::Committed])).unwrap();
        assert_eq!(final_.direction, Direction::Committed);
    }

    #[test]
    fn a_torn_last_line_has_not_been_said() {
        let whole = write_all(&[Entry::Begin(1), Entry::Back(failure())]);
        let before = write_all(&[Entry::Begin(1)]);
        for end in before.len()..whole.len() {
            let read = Journal::parse(&whole[..end]).unwrap();
            assert_eq!((read.reached, read.direction), (1, Direction::Forward), "{end}");
            assert_eq!(read.durable_bytes, before.len());
        }
    }

    #[test]
    fn anything_else_that_is_broken_is_named() {
        let good = write_all(&[Entry::Begin(1)]);
        let head = good.iter().position(|byte| *byte == b'\n').unwrap();
        for end in 0..=head {
            assert!(Journal::parse(&good[..end]).is_err(), "{end}");
        }
        let mut broken = write_all(&[]);
        broken.extend(b"{\"begin\":\n{\"begin\":2}\n");
        assert!(matches!(Journal::parse(&broken), Err(UnusableDocument::Unreadable(_))));
        let newer = String::from_utf8(good).unwrap().replace("\"format\":1", "\"format\":2");
        assert!(matches!(Journal::parse(newer.as_bytes()), Err(UnusableDocument::TooNew(2))));
    }
}
