//! The queue of unacknowledged reports: numbered, durable, and sent until acknowledged.

use super::{Noted, OutcomeFile};
use crate::text::plain;
use serde::{Deserialize, Serialize};
use unbox_common::{
    digest::Sha256,
    ids::Generation,
    protocol::{
        latest::{Acknowledged, Outcome, Report, ReportEntry},
        limits::{MAX_DETAIL_BYTES, MAX_REPORT_BYTES, MAX_REPORT_ENTRIES},
    },
};

/// The most waiting entries; beyond that, the oldest are dropped.
const MAX_WAITING: usize = 512;

/// The largest queue that is read, in bytes: every entry at its maximum length, escaped.
pub(super) const MAX_QUEUE_BYTES: u64 = 4 * 1024 * 1024;

/// Room for a report's own fields and its outcome, in bytes.
const REPORT_OVERHEAD_BYTES: usize = 16 * 1024;

/// The reports of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    generation: Generation,
    last_sequence: u64,
    entries: Vec<ReportEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// Digest of the last outcome that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<Sha256>,
}

impl Queue {
    /// Makes an empty queue for a generation.
    #[must_use]
    pub const fn new(generation: Generation) -> Self {
        Self { generation, last_sequence: 0, entries: Vec::new(), outcome: None, taken: None }
    }

    /// Returns this queue, if it belongs to `generation`; otherwise a new one, because the server no
    /// longer accepts reports of an older generation.
    #[must_use]
    pub fn for_generation(self, generation: Generation) -> Self {
        if self.generation == generation { self } else { Self::new(generation) }
    }

    /// Adds one progress entry.
    pub fn add_entry(&mut self, noted: Noted) {
        self.last_sequence += 1;
        self.entries.push(ReportEntry {
            sequence: self.last_sequence,
            at: noted.at,
            progress: noted.progress,
            detail: noted.detail.map(|detail| plain(&detail, MAX_DETAIL_BYTES)),
        });
        let over = self.entries.len().saturating_sub(MAX_WAITING);
        self.entries.drain(..over);
    }

    /// Adds the outcome of an installation, once. Returns whether it was added: the outcome of another
    /// generation, or one that was added before, is ignored.
    pub fn add_outcome(&mut self, file: &OutcomeFile) -> bool {
        let digest = file.digest();
        if file.generation != self.generation || self.taken == Some(digest) {
            return false;
        }
        for noted in &file.entries {
            self.add_entry(noted.clone());
        }
        self.set_outcome(file.outcome.clone());
        self.taken = Some(digest);
        true
    }

    /// Sets the outcome.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        let short = |text: String| plain(&text, MAX_DETAIL_BYTES);
        self.outcome = Some(match outcome {
            Outcome::Managed { version } => Outcome::Managed { version },
            Outcome::RolledBack { version, kind, detail } => {
                Outcome::RolledBack { version, kind: short(kind), detail: short(detail) }
            }
            Outcome::Rejected { version, kind, detail } => {
                Outcome::Rejected { version, kind: short(kind), detail: short(detail) }
            }
        });
    }

    /// Returns the next report to send; `None` if everything was acknowledged.
    #[must_use]
    pub fn next(&self) -> Option<Report> {
        let mut room = MAX_REPORT_BYTES - REPORT_OVERHEAD_BYTES;
        let entries: Vec<ReportEntry> = self
            .entries
            .iter()
            .take(MAX_REPORT_ENTRIES)
            .take_while(|entry| {
                let size = serde_json::to_vec(entry).map_or(usize::MAX, |json| json.len() + 1);
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .cloned()
            .collect();
        // The outcome is sent last: the server then knows everything that led to it.
        let is_last = entries.len() == self.entries.len();
        let outcome = self.outcome.clone().filter(|_| is_last);
        (!entries.is_empty() || outcome.is_some()).then_some(Report {
            generation: self.generation,
            entries,
            outcome,
        })
    }

    /// Drops the entries that the server has stored.
    ///
    /// A server that has seen higher numbers than this queue shows that the queue was lost once: the
    /// waiting entries are renumbered above them, and sent again.
    pub fn acknowledge(&mut self, sent: &Report, answer: &Acknowledged) {
        let sent_up_to = sent.entries.last().map_or(0, |entry| entry.sequence);
        if answer.sequence > self.last_sequence && !sent.entries.is_empty() {
            for (number, entry) in (answer.sequence + 1..).zip(&mut self.entries) {
                entry.sequence = number;
            }
            self.last_sequence = answer.sequence + self.entries.len() as u64;
            return;
        }
        let stored = answer.sequence.min(sent_up_to);
        self.entries.retain(|entry| entry.sequence > stored);
        if self.entries.is_empty() && sent.outcome == self.outcome {
            self.outcome = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unbox_common::{protocol::progress::Progress, timestamp::Timestamp};

    fn noted(detail: &str) -> Noted {
        Noted { at: Timestamp(5), progress: Progress::Informational, detail: Some(detail.to_owned()) }
    }

    fn outcome_file(grant: &[u8]) -> OutcomeFile {
        let outcome = Outcome::Managed { version: 50 };
        OutcomeFile::new(Generation(1), Sha256::of(grant), vec![noted("a"), noted("b")], outcome, false)
    }

    fn answer(sequence: u64) -> Acknowledged {
        Acknowledged { sequence, server_time: Timestamp(0) }
    }

    #[test]
    fn an_outcome_is_taken_once_and_sent_until_acknowledged() {
        let mut queue = Queue::new(Generation(1));
        assert_eq!(queue.next(), None);
        assert!(queue.add_outcome(&outcome_file(b"one")));
        assert!(!queue.add_outcome(&outcome_file(b"one")));
        let report = queue.next().unwrap();
        assert_eq!(report.entries.len(), 2);
        assert!(report.outcome.is_some());
        assert_eq!(queue.next(), Some(report.clone()), "sent again until acknowledged");
        queue.acknowledge(&report, &answer(2));
        assert_eq!(queue.next(), None);
        assert!(queue.add_outcome(&outcome_file(b"two")));
        assert_eq!(queue.next().unwrap().entries[0].sequence, 3);
    }

    #[test]
    fn another_generation_starts_anew() {
        let mut queue = Queue::new(Generation(1));
        queue.add_entry(noted("x"));
        let mut queue = queue.for_generation(Generation(2));
        assert_eq!(queue, Queue::new(Generation(2)));
        assert!(!queue.add_outcome(&outcome_file(b"one")), "an outcome of generation 1");
    }

    #[test]
    fn a_long_story_is_told_in_parts_that_fit() {
        let mut queue = Queue::new(Generation(1));
        for _ in 0..300 {
            queue.add_entry(noted(&"\"quoted\" ".repeat(200)));
        }
        queue.set_outcome(Outcome::Rejected {
            version: None,
            kind: "k".repeat(5000),
            detail: "\u{1b}[2Jdetail".repeat(5000),
        });
        let mut parts = 0;
        while let Some(report) = queue.next() {
            assert!(serde_json::to_vec(&report).unwrap().len() <= MAX_REPORT_BYTES);
            assert!(report.entries.len() <= MAX_REPORT_ENTRIES);
            let last = report.entries.last().map_or(300, |entry| entry.sequence);
            assert_eq!(report.outcome.is_some(), last == 300);
            queue.acknowledge(&report, &answer(last));
            parts += 1;
        }
        assert!(parts > 3);
    }

    #[test]
    fn a_lost_queue_goes_on_above_what_the_server_has() {
        let mut queue = Queue::new(Generation(1));
        queue.add_entry(noted("after the loss"));
        queue.set_outcome(Outcome::Managed { version: 1 });
        let report = queue.next().unwrap();
        queue.acknowledge(&report, &answer(9));
        let again = queue.next().unwrap();
        assert_eq!(again.entries[0].sequence, 10);
        assert!(again.outcome.is_some());
        queue.acknowledge(&again, &answer(10));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_crowd_of_entries_keeps_the_newest() {
        let mut queue = Queue::new(Generation(1));
        for n in 0..2000 {
            queue.add_entry(noted(&n.to_string()));
        }
        assert_eq!(queue.entries.len(), MAX_WAITING);
        assert_eq!(queue.entries.last().unwrap().sequence, 2000);
        let json = serde_json::to_vec(&queue).unwrap();
        assert!((json.len() as u64) < MAX_QUEUE_BYTES);
    }

    proptest! {
        /// Checks that every entry arrives, once, in order, at a server that stores everything it
        /// receives, with power cuts after any step.
        #[test]
        fn nothing_is_lost_and_nothing_told_twice(steps in proptest::collection::vec(0u8..4, 1..60)) {
            let mut disk = Queue::new(Generation(1));
            let (mut stored, mut said) = (Vec::<(u64, String)>::new(), 0);
            for step in steps {
                let mut queue = disk.clone();
                match step {
                    // Something happens, and is on disk before anything else.
                    0 => {
                        said += 1;
                        queue.add_entry(noted(&said.to_string()));
                        disk = queue;
                    }
                    // A report; the answer is lost in steps 2 and 3.
                    _ => if let Some(report) = queue.next() {
                        for entry in &report.entries {
                            let seen = stored.last().map_or(0, |(sequence, _)| *sequence);
                            if entry.sequence > seen {
                                stored.push((entry.sequence, entry.detail.clone().unwrap()));
                            }
                        }
                        if step == 1 {
                            queue.acknowledge(&report, &answer(stored.last().map_or(0, |(sequence, _)| *sequence)));
                            disk = queue;
                        }
                    }
                }
            }
            let waiting = disk.entries.iter().map(|entry| entry.detail.clone().unwrap());
            let mut told: Vec<String> = stored.into_iter().map(|(_, detail)| detail).collect();
            for detail in waiting {
                if !told.contains(&detail) {
                    told.push(detail);
                }
            }
            let expected: Vec<String> = (1..=said).map(|n| n.to_string()).collect();
            prop_assert_eq!(told, expected);
        }
    }
}
