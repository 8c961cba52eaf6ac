//! The state of a station's screen, and its reaction to keys, results and the clock.
//!
//! One unit is tested at a time. Further scans wait in line, and are refused with a message if too many
//! wait; a line is one scan, and never becomes part of another. Earlier units can be viewed again until
//! the next scan, and verdicts change when the server is back.

use super::keys::Key;
use crate::{
    console::plain,
    station::{
        bench::{CaughtUp, Server, Standing, name_of},
        check::Tested,
        report::again_text,
        shift::Tally,
        verdict::Verdict,
    },
};
use std::{collections::VecDeque, time::Duration};
use unbox_common::{identity::HardwareIdentity, label::MAX_SCAN_BYTES, timestamp::Timestamp};

/// The most waiting scans.
pub const MAX_WAITING: usize = 8;
/// The most earlier units that can be viewed again.
pub const MAX_EARLIER: usize = 32;
/// The longest reason for a failed print, in bytes.
const MAX_PROBLEM_BYTES: usize = 512;
/// The time after which an unfinished line is no longer a scan.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of the station as shown on its screen.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The name of the log.
    pub log: String,
    /// The current time.
    pub now: Timestamp,
    /// The counts of the shift.
    pub tally: Tally,
    /// The state of the server.
    pub server: Server,
    /// The line being typed.
    pub line: Line,
    /// The unit under test, with its start time.
    pub testing: Option<(String, Timestamp)>,
    /// The scans waiting to be tested.
    pub waiting: VecDeque<Vec<u8>>,
    /// The last tested unit.
    pub last: Option<Tested>,
    /// The units before it, the latest first.
    pub earlier: VecDeque<Tested>,
    /// Index of the earlier unit on display.
    pub selected: Option<usize>,
    /// The number of lines scrolled past in a long text.
    pub scroll: usize,
    /// The visible part of that text.
    view: View,
    /// A message that the worker must see apart from the verdict.
    pub notice: Option<String>,
    /// Whether the end of the shift was requested.
    pub ending: bool,
}

/// The size of the text about a unit, and of its visible part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// The number of lines shown.
    pub rows: usize,
    /// The number of all lines.
    pub lines: usize,
}

/// The line being typed.
#[derive(Debug, Clone, Default)]
pub struct Line {
    bytes: Vec<u8>,
    too_long: bool,
    changed: Timestamp,
}

/// An event for the desk.
#[derive(Debug)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The unit was tested, and the result is on the disk.
    Tested(Box<Tested>, Standing),
    /// The queue for the server was processed.
    CaughtUp(CaughtUp, Standing),
    /// A label was printed, or not: the unit's name, and the reason for a failure.
    Printed(String, Option<String>),
    /// The clock advanced.
    Tick(Timestamp),
}

/// The next action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Only draw.
    Draw,
    /// Test the unit of this scan.
    Test(Vec<u8>),
    /// Print the label of the unit with this name.
    Print(String, Option<Box<HardwareIdentity>>),
    /// End the shift.
    End,
}

impl Desk {
    /// Makes the desk at the beginning of a shift, or in the middle of a resumed one.
    #[must_use]
    pub fn new(log: &str, standing: Standing, now: Timestamp) -> Self {
        Self {
            log: plain(log, 64),
            now,
            tally: standing.tally,
            server: standing.server,
            line: Line::default(),
            testing: None,
            waiting: VecDeque::new(),
            last: None,
            earlier: VecDeque::new(),
            selected: None,
            scroll: 0,
            view: View::default(),
            notice: None,
            ending: false,
        }
    }

    /// Handles an event, and returns the next action.
    pub fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Tested(tested, standing) => return self.tested(*tested, standing),
            Event::CaughtUp(caught, standing) => self.caught_up(caught, standing),
            Event::Printed(name, problem) => {
                self.notice = Some(match problem {
                    None => format!("The label of {name} is printed."),
                    Some(problem) => format!("No label of {name}: {}.", plain(&problem, MAX_PROBLEM_BYTES)),
                });
            }
            Event::Tick(now) => {
                self.now = now;
                if !self.line.is_empty() && now.duration_since(self.line.changed) >= LINE_TIMEOUT {
                    self.line = Line::default();
                    self.notice = Some("A line that nobody finished was cleared. Scan again.".to_owned());
                }
            }
        }
        Next::Draw
    }

    /// Returns the time since the beginning of the shift.
    #[must_use]
    pub fn clock(&self) -> Duration {
        self.tally.began.map_or(Duration::ZERO, |began| self.now.duration_since(began))
    }

    /// Returns the unit on display, if none is being tested.
    #[must_use]
    pub fn shown(&self) -> Option<&Tested> {
        match self.selected {
            Some(at) => self.earlier.get(at),
            None => self.last.as_ref().filter(|_| self.testing.is_none()),
        }
    }

    /// Records the visible part of the text about the unit.
    pub fn viewed(&mut self, view: View) {
        self.view = view;
        self.scroll = self.scroll.min(view.last());
    }

    fn key(&mut self, key: Key) -> Next {
        let asked = std::mem::take(&mut self.ending);
        self.line.changed = self.now;
        match key {
            Key::Byte(byte) => self.line.push(byte),
            Key::Backspace => self.line.pop(),
            Key::Clear if self.line.is_empty() => {
                self.select(None);
                self.notice = None;
            }
            Key::Clear => {
                self.line = Line::default();
                self.notice = None;
            }
            Key::Newer => self.select(self.selected.and_then(|at| at.checked_sub(1))),
            Key::Older if self.testing.is_none() => {
                let next = self.selected.map_or(0, |at| at + 1);
                self.select(Some(next).filter(|next| *next < self.earlier.len()).or(self.selected));
            }
            Key::Older => {}
            Key::PageUp => self.scroll = self.scroll.saturating_sub(self.view.rows.max(1)),
            Key::PageDown => self.scroll = (self.scroll + self.view.rows.max(1)).min(self.view.last()),
            Key::Print => return self.print(),
            Key::Stop => return self.end(asked),
            Key::Enter => {
                let line = std::mem::take(&mut self.line);
                match line.bytes.trim_ascii() {
                    _ if line.too_long => {
                        let text = "Refused: longer than any label. Scan the unit again.";
                        self.notice = Some(text.to_owned());
                    }
                    // An extra Enter neither requests the end nor cancels the question.
                    b"" => self.ending = asked,
                    b"quit" => return self.end(asked),
                    b"print" => return self.print(),
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

    fn select(&mut self, unit: Option<usize>) {
        if self.selected != unit {
            self.selected = unit;
            self.scroll = 0;
        }
    }

    fn print(&mut self) -> Next {
        let Some(unit) = self.shown() else {
            self.notice = Some("No label: there is no unit yet. Scan one.".to_owned());
            return Next::Draw;
        };
        let (name, identity) = (unit.name.clone(), unit.identity.clone().map(Box::new));
        self.notice = Some(format!("The label of {name} is on its way."));
        Next::Print(name, identity)
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

    /// Starts a test, and clears the last verdict, so that it is not taken for the new unit's.
    fn begin(&mut self, scan: Vec<u8>) -> Next {
        self.select(None);
        self.scroll = 0;
        if let Some(last) = self.last.take() {
            self.earlier.push_front(last);
            self.earlier.truncate(MAX_EARLIER);
        }
        self.testing = Some((name_of(&scan), self.now));
        Next::Test(scan)
    }

    fn tested(&mut self, tested: Tested, standing: Standing) -> Next {
        self.take(standing);
        self.testing = None;
        self.select(None);
        self.scroll = 0;
        self.last = Some(tested);
        self.waiting.pop_front().map_or(Next::Draw, |scan| self.begin(scan))
    }

    fn caught_up(&mut self, caught: CaughtUp, standing: Standing) {
        self.take(standing);
        let judged = again_text(&caught.judged);
        let refused = caught.refused.first().map(|problem| {
            let more = caught.refused.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" And {more} more.") };
            format!("The server refused a unit. {problem}{more}")
        });
        caught.judged.into_iter().for_each(|unit| self.judged_again(unit));
        let news: Vec<String> = judged.into_iter().chain(refused).collect();
        if !news.is_empty() {
            self.notice = Some(news.join(" "));
        }
    }

    /// Updates the verdict wherever the unit is on display; a unit that is not, and did not pass, is
    /// added to the list.
    fn judged_again(&mut self, unit: Tested) {
        let known = self.last.iter_mut().chain(&mut self.earlier);
        let same: Vec<&mut Tested> =
            known.filter(|one| one.identity.is_some() && one.identity == unit.identity).collect();
        if same.is_empty() && unit.judged.verdict != Verdict::Pass {
            self.earlier.push_front(unit);
            self.earlier.truncate(MAX_EARLIER);
            self.selected = self.selected.map(|at| at + 1).filter(|at| *at < self.earlier.len());
        } else {
            for one in same {
                one.judged = unit.judged.clone();
            }
        }
    }

    fn take(&mut self, standing: Standing) {
        self.tally = standing.tally;
        self.server = standing.server;
    }
}

impl View {
    /// Returns the first line of the last page.
    const fn last(self) -> usize {
        self.lines.saturating_sub(self.rows)
    }
}

impl Line {
    /// Whether nothing is typed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the end of the line, safe for a terminal.
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
    use crate::station::{Finding, Judged, Reason, fixture::gateway};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn desk() -> Desk {
        Desk::new("day.jsonl", standing(Server::Unknown), NOW)
    }

    fn standing(server: Server) -> Standing {
        Standing { tally: Tally::default(), server }
    }

    fn typed(desk: &mut Desk, text: &[u8]) -> Vec<Next> {
        let keys = super::super::keys::Keyboard::default().keys(text);
        let all = keys.into_iter().map(|key| desk.handle(Event::Key(key)));
        all.filter(|next| *next != Next::Draw).collect()
    }

    fn tested(name: &str, findings: Vec<Finding>) -> Event {
        Event::Tested(Box::new(unit(name, findings)), standing(Server::Reached))
    }

    fn unit(name: &str, findings: Vec<Finding>) -> Tested {
        let identity = gateway(name).identity().ok();
        Tested { name: name.to_owned(), judged: Judged::by(findings), identity }
    }

    fn finding(verdict: Verdict) -> Finding {
        Finding::new(Reason::Different, verdict, "a", "b")
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
        assert_eq!((desk.earlier.len(), desk.earlier[0].name.as_str()), (1, "A"));
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
        desk.handle(Event::Tick(NOW.plus(Duration::from_secs(19))));
        assert_eq!(desk.line.shown(9), "half");
        desk.handle(Event::Tick(NOW.plus(Duration::from_secs(20))));
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
    fn units_that_were_tested_before_are_looked_at_until_the_next_scan() {
        let mut desk = desk();
        for name in ["A1", "B1", "C1"] {
            typed(&mut desk, format!("{name}\r").as_bytes());
            desk.handle(tested(name, vec![]));
        }
        let shows = |desk: &Desk| desk.shown().map(|unit| unit.name.clone()).unwrap_or_default();
        for (keys, unit) in [
            (b"".as_slice(), "C1"),
            (b"\x1b[B", "B1"),
            (b"\x1b[B\x1b[B", "A1"),
            (b"\x1b[A", "B1"),
            (b"\x1b[A\x1b[A", "C1"),
            (b"\x1b[B\x1b", "C1"),
        ] {
            typed(&mut desk, keys);
            assert_eq!(shows(&desk), unit, "{keys:?}");
        }
        typed(&mut desk, b"\x1b[Bx\x1b");
        assert_eq!(shows(&desk), "B1", "the first Escape clears the line");
        typed(&mut desk, b"D1\r\x1b[B");
        assert!(desk.shown().is_none(), "while a unit is tested, no verdict is shown");
        desk.handle(tested("D1", vec![]));
        assert_eq!(shows(&desk), "D1");
    }

    #[test]
    fn the_label_of_the_unit_that_is_shown_is_printed() {
        let mut desk = desk();
        assert_eq!(typed(&mut desk, b"\x1bOQ"), []);
        assert!(desk.notice.as_ref().unwrap().starts_with("No label: there is no unit yet"));
        for name in ["A1", "B1"] {
            typed(&mut desk, format!("{name}\r").as_bytes());
            desk.handle(tested(name, vec![]));
        }
        let label = |name: &str| Next::Print(name.to_owned(), gateway(name).identity().ok().map(Box::new));
        assert_eq!(typed(&mut desk, b"\x1bOQ"), [label("B1")]);
        assert_eq!(typed(&mut desk, b"\x1b[Bprint\r"), [label("A1")]);
        desk.handle(Event::Printed("A1".to_owned(), None));
        assert_eq!(desk.notice.as_deref(), Some("The label of A1 is printed."));
        desk.handle(Event::Printed("A1".to_owned(), Some("out of\u{1b}paper".to_owned())));
        assert_eq!(desk.notice.as_deref(), Some("No label of A1: out of paper."));
    }

    #[test]
    fn a_long_text_is_gone_through_page_by_page_and_never_past_its_end() {
        let mut desk = desk();
        desk.handle(tested("A1", vec![]));
        desk.viewed(View { rows: 4, lines: 10 });
        for (keys, scroll) in
            [(b"\x1b[6~".as_slice(), 4), (b"\x1b[6~\x1b[6~", 6), (b"\x1b[5~", 2), (b"\x1b[5~", 0)]
        {
            typed(&mut desk, keys);
            assert_eq!(desk.scroll, scroll, "{keys:?}");
        }
        typed(&mut desk, b"\x1b[6~\x1b[6~");
        desk.viewed(View { rows: 9, lines: 10 });
        assert_eq!(desk.scroll, 1, "the window grew");
        typed(&mut desk, b"B1\r");
        assert_eq!(desk.scroll, 0);
    }

    #[test]
    fn what_the_server_says_when_it_is_back_is_the_verdict_wherever_the_unit_is_shown() {
        let mut desk = desk();
        let away =
            || vec![Finding::new(Reason::ServerUnavailable, Verdict::CouldNotCheck, "No network.", "Wait.")];
        for name in ["A1", "B1"] {
            typed(&mut desk, format!("{name}\r").as_bytes());
            desk.handle(tested(name, away()));
        }
        let judged = vec![
            unit("A1", vec![finding(Verdict::Fail)]),
            unit("B1", vec![]),
            unit("C1", vec![finding(Verdict::NeedsAttention)]),
            unit("D1", vec![]),
        ];
        let refused = vec!["Its key is another.".to_owned(), "b".to_owned()];
        desk.handle(Event::CaughtUp(CaughtUp { judged, refused }, standing(Server::Reached)));
        assert_eq!(desk.shown().map(|unit| unit.judged.verdict), Some(Verdict::Pass));
        let listed: Vec<_> = desk.earlier.iter().map(|one| (one.name.as_str(), one.judged.verdict)).collect();
        assert_eq!(listed, [("C1", Verdict::NeedsAttention), ("A1", Verdict::Fail)]);
        assert_eq!(
            desk.notice.as_deref(),
            Some(
                "The server was asked again about 4 units: 2 pass, 1 needs attention, 1 fail (A1, C1). The \
                 server refused a unit. Its key is another. And 1 more."
            )
        );
        desk.handle(Event::CaughtUp(CaughtUp::default(), standing(Server::Reached)));
        assert!(desk.notice.is_some(), "nothing new takes no notice away");
    }
}
