//! What the screen of a station knows, and what follows from a key, a result or the clock.
//!
//! One unit is tested at a time. A scan that comes meanwhile waits in line, and is refused in words when
//! too many wait; a line is one scan, and nothing of it ever becomes a part of another.

use super::keys::Key;
use crate::{
    console::plain,
    station::{
        Reason,
        bench::{Upload, name_of},
        check::Tested,
        shift::Tally,
        verdict::Verdict,
    },
};
use std::{collections::VecDeque, time::Duration};
use unbox_common::{label::MAX_SCAN_BYTES, timestamp::Timestamp};

/// The most scans that wait.
pub const MAX_WAITING: usize = 8;
/// The most units that are kept for the list of the last ones.
pub const MAX_EARLIER: usize = 8;
/// A line that nobody went on with for so long is no scan.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

/// The station as its screen shows it.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The name of the log.
    pub log: String,
    /// What the clock says.
    pub now: Timestamp,
    /// The shift so far.
    pub tally: Tally,
    /// What is known of the server.
    pub server: Server,
    /// What is typed.
    pub line: Line,
    /// The unit that is tested, and since when.
    pub testing: Option<(String, Timestamp)>,
    /// Scans that wait for it.
    pub waiting: VecDeque<Vec<u8>>,
    /// The unit that was tested last.
    pub last: Option<Tested>,
    /// Verdicts and names of those before it, the latest first.
    pub earlier: VecDeque<(Verdict, String)>,
    /// What somebody has to know beside the verdict.
    pub notice: Option<String>,
    /// Whether the end of the shift was asked for.
    pub ending: bool,
}

/// What a station knows of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// It is not asked.
    Unasked,
    /// Nobody knows yet.
    Unknown,
    /// It answered.
    Reached,
    /// It could not be asked.
    Away {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
    },
}

/// A line that is typed.
#[derive(Debug, Clone, Default)]
pub struct Line {
    bytes: Vec<u8>,
    too_long: bool,
    changed: Timestamp,
}

/// What the desk is told.
#[derive(Debug)]
pub enum Event {
    /// A key.
    Key(Key),
    /// The unit was tested, and it is on the disk.
    Tested(Box<Tested>, Tally),
    /// What became of what the server does not know yet.
    Uploaded(Upload, Tally),
    /// The time.
    Tick(Timestamp),
}

/// What has to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing but to draw.
    Draw,
    /// Test the unit of this scan.
    Test(Vec<u8>),
    /// End.
    End,
}

impl Desk {
    /// A desk at the beginning of a shift, or in the middle of one that goes on.
    #[must_use]
    pub fn new(log: &str, tally: Tally, asks_server: bool, now: Timestamp) -> Self {
        Self {
            log: plain(log, 64),
            now,
            tally,
            server: if asks_server { Server::Unknown } else { Server::Unasked },
            line: Line::default(),
            testing: None,
            waiting: VecDeque::new(),
            last: None,
            earlier: VecDeque::new(),
            notice: None,
            ending: false,
        }
    }

    /// Takes in an event; what has to be done.
    pub fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Tested(tested, tally) => return self.tested(*tested, tally),
            Event::Uploaded(upload, tally) => self.uploaded(upload, tally),
            Event::Tick(now) => {
                self.now = now;
                if !self.line.is_empty() && now.since(self.line.changed) >= LINE_TIMEOUT {
                    self.line = Line::default();
                    self.notice = Some("A line that nobody finished was cleared. Scan again.".to_owned());
                }
            }
        }
        Next::Draw
    }

    /// For how long the shift has gone on.
    #[must_use]
    pub fn clock(&self) -> Duration {
        self.tally.began.map_or(Duration::ZERO, |began| self.now.since(began))
    }

    fn key(&mut self, key: Key) -> Next {
        let asked = std::mem::take(&mut self.ending);
        self.line.changed = self.now;
        match key {
            Key::Byte(byte) => self.line.push(byte),
            Key::Backspace => self.line.pop(),
            Key::Clear => {
                self.line = Line::default();
                self.notice = None;
            }
            Key::Stop => return self.end(asked),
            Key::Enter => {
                let line = std::mem::take(&mut self.line);
                match line.bytes.trim_ascii() {
                    _ if line.too_long => {
                        let text = "Refused: longer than any label. Scan the unit again.";
                        self.notice = Some(text.to_owned());
                    }
                    // An Enter too many neither asks for the end nor takes the question back.
                    b"" => self.ending = asked,
                    b"quit" => return self.end(asked),
                    scan => return self.scanned(scan.to_vec()),
                }
            }
        }
        Next::Draw
    }

    fn end(&mut self, asked: bool) -> Next {
        self.line = Line::default();
        self.ending = true;
        if asked { Next::End } else { Next::Draw }
    }

    fn scanned(&mut self, scan: Vec<u8>) -> Next {
        self.notice = None;
        if self.testing.is_none() {
            return self.begin(scan);
        }
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(scan);
        } else {
            let text = format!("Refused: {MAX_WAITING} scans wait. Scan {} again later.", name_of(&scan));
            self.notice = Some(text);
        }
        Next::Draw
    }

    /// Nothing of the unit before stays in the place of the verdict.
    fn begin(&mut self, scan: Vec<u8>) -> Next {
        if let Some(last) = self.last.take() {
            self.earlier.push_front((last.judged.verdict, last.name));
            self.earlier.truncate(MAX_EARLIER);
        }
        self.testing = Some((name_of(&scan), self.now));
        Next::Test(scan)
    }

    fn tested(&mut self, tested: Tested, tally: Tally) -> Next {
        let away = tested.judged.findings.iter().find(|one| one.reason == Reason::ServerUnavailable);
        match (away, &self.server) {
            (_, Server::Unasked) => {}
            (Some(finding), _) => self.away(finding.problem.clone()),
            (None, _) => self.server = Server::Reached,
        }
        self.tally = tally;
        self.testing = None;
        self.last = Some(tested);
        self.waiting.pop_front().map_or(Next::Draw, |scan| self.begin(scan))
    }

    fn uploaded(&mut self, upload: Upload, tally: Tally) {
        self.tally = tally;
        match upload {
            Upload::Nothing => {}
            Upload::Waits { reason } => self.away(reason),
            Upload::Sent { refused } => {
                self.server = Server::Reached;
                let first = refused.first().map(|problem| {
                    let more = refused.len() - 1;
                    let more = if more == 0 { String::new() } else { format!(" And {more} more.") };
                    format!("The server refused a unit. {problem}{more}")
                });
                self.notice = first.or(self.notice.take());
            }
        }
    }

    /// It is away since the first time that it could not be asked.
    fn away(&mut self, reason: String) {
        let since = if let Server::Away { since, .. } = &self.server { *since } else { self.now };
        self.server = Server::Away { since, reason };
    }
}

impl Line {
    /// Whether nothing is typed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The end of it, fit for a terminal.
    #[must_use]
    pub fn shown(&self, most_bytes: usize) -> String {
        let from = self.bytes.len().saturating_sub(most_bytes);
        plain(&String::from_utf8_lossy(self.bytes.get(from..).unwrap_or_default()), most_bytes)
    }

    fn push(&mut self, byte: u8) {
        if self.bytes.len() < MAX_SCAN_BYTES {
            self.bytes.push(byte);
        } else {
            self.too_long = true;
        }
    }

    fn pop(&mut self) {
        while self.bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::{Finding, Judged};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn desk() -> Desk {
        Desk::new("day.jsonl", Tally::default(), true, NOW)
    }

    fn typed(desk: &mut Desk, text: &[u8]) -> Vec<Next> {
        let keys = super::super::keys::Keyboard::default().keys(text);
        let all = keys.into_iter().map(|key| desk.handle(Event::Key(key)));
        all.filter(|next| *next != Next::Draw).collect()
    }

    fn tested(name: &str, findings: Vec<Finding>) -> Event {
        let judged = Judged::by(findings);
        Event::Tested(Box::new(Tested { name: name.to_owned(), judged, identity: None }), Tally::default())
    }

    fn test(scan: &str) -> Next {
        Next::Test(scan.as_bytes().to_vec())
    }

    #[test]
    fn scans_are_tested_one_after_the_other_and_none_becomes_a_part_of_another() {
        let mut desk = desk();
        assert_eq!(typed(&mut desk, b"A\r\n\r\nB\rC\rhalf"), [test("A")]);
        assert_eq!((desk.waiting.len(), desk.line.shown(9)), (2, "half".to_owned()));
        assert_eq!(desk.handle(tested("A", vec![])), test("B"));
        assert_eq!(desk.testing.as_ref().unwrap().0, "B");
        assert!(desk.last.is_none(), "the verdict of A is not shown while B is tested");
        assert_eq!(desk.earlier, [(Verdict::Pass, "A".to_owned())]);
        assert_eq!(desk.handle(tested("B", vec![])), test("C"));
        assert_eq!(desk.handle(tested("C", vec![])), Next::Draw);
        assert_eq!(desk.last.as_ref().unwrap().name, "C");
        assert_eq!(typed(&mut desk, b" way \r"), [test("half way")]);
    }

    #[test]
    fn a_scan_too_many_is_refused_in_words_and_the_others_stay() {
        let mut desk = desk();
        assert_eq!(typed(&mut desk, b"A\r"), [test("A")]);
        for _ in 0..MAX_WAITING {
            typed(&mut desk, b"B\r");
        }
        assert_eq!(desk.notice, None);
        typed(&mut desk, b"X\x1d\x9b9\r");
        assert_eq!(desk.notice.as_deref(), Some("Refused: 8 scans wait. Scan X \u{fffd}9 again later."));
        assert_eq!(desk.waiting.len(), MAX_WAITING);
    }

    #[test]
    fn a_line_longer_than_any_label_is_refused_whole() {
        let mut desk = desk();
        let long = [&[b'A'; MAX_SCAN_BYTES + 1], b"\r".as_slice()].concat();
        assert_eq!(typed(&mut desk, &long), []);
        assert!(desk.notice.as_ref().unwrap().starts_with("Refused: longer than any label."));
        assert_eq!(typed(&mut desk, b"B\r"), [test("B")]);
        assert_eq!(desk.notice, None);
    }

    #[test]
    fn a_line_that_nobody_finishes_is_no_beginning_of_the_next_scan() {
        let mut desk = desk();
        typed(&mut desk, b"half");
        desk.handle(Event::Tick(NOW.after(Duration::from_secs(19))));
        assert_eq!(desk.line.shown(9), "half");
        desk.handle(Event::Tick(NOW.after(Duration::from_secs(20))));
        assert!(desk.line.is_empty() && desk.notice.is_some());
        assert_eq!(typed(&mut desk, b"B\r"), [test("B")]);
    }

    #[test]
    fn what_is_typed_can_be_taken_back() {
        let mut desk = desk();
        typed(&mut desk, "aü\u{7f}\u{7f}b".as_bytes());
        assert_eq!(desk.line.shown(9), "b");
        typed(&mut desk, b"\x1b");
        assert!(desk.line.is_empty());
        typed(&mut desk, b"\x7f");
        assert!(desk.line.is_empty());
    }

    #[test]
    fn the_end_is_asked_for_twice_and_a_scan_goes_on() {
        for (keys, ends) in [
            (b"\x03\x03".as_slice(), true),
            (b"quit\r\x03", true),
            (b"quit\rquit\r", false),
            (b"\x03\r\n\x03", true),
            (b"\x03", false),
            (b"\x03\x1b\x03", false),
            (b"\x03A\r\x03", false),
        ] {
            let mut desk = desk();
            let ended = typed(&mut desk, keys).contains(&Next::End);
            assert_eq!(ended, ends, "{keys:?}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_away_since_the_first_time() {
        let mut desk = desk();
        let away = || {
            let (reason, verdict) = (Reason::ServerUnavailable, Verdict::CouldNotCheck);
            tested("A", vec![Finding::new(reason, verdict, "No network.", "Wait.")])
        };
        desk.handle(away());
        desk.handle(Event::Tick(NOW.after(Duration::from_mins(1))));
        desk.handle(away());
        assert_eq!(desk.server, Server::Away { since: NOW, reason: "No network.".to_owned() });
        desk.handle(Event::Uploaded(Upload::Nothing, Tally::default()));
        assert!(matches!(desk.server, Server::Away { .. }), "nothing to send says nothing of the server");
        let refused = vec!["Its key is another.".to_owned(), "b".to_owned()];
        desk.handle(Event::Uploaded(Upload::Sent { refused }, Tally::default()));
        assert_eq!(desk.server, Server::Reached);
        assert_eq!(
            desk.notice.as_deref(),
            Some("The server refused a unit. Its key is another. And 1 more.")
        );
        let mut alone = Desk::new("a", Tally::default(), false, NOW);
        alone.handle(tested("A", vec![]));
        assert_eq!(alone.server, Server::Unasked);
    }
}
