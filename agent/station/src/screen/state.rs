//! The state of a station's screen, and its reaction to keys, results and the clock.
//!
//! One unit is tested at a time. Further scans wait in line, and are refused with a message if too many
//! wait; a line is one scan, and never becomes part of another. Earlier units can be viewed again until
//! the next scan, and verdicts change when the server is back.

use super::keys::Key;
use crate::{
    check::TestedUnit,
    report::late_answers_text,
    shift::Tally,
    test_station::{QueueResult, Server, StationStatus, unit_name},
    verdict::Verdict,
};
use std::{collections::VecDeque, time::Duration};
use unbox_agent::text::plain;
use unbox_common::{identity::HardwareIdentity, label::MAX_SCAN_BYTES, timestamp::Timestamp};

/// The most waiting scans.
pub const MAX_WAITING: usize = 8;
/// The most earlier units that can be viewed again.
pub const MAX_EARLIER: usize = 32;
/// The longest reason for a failed print, in bytes.
const MAX_PROBLEM_BYTES: usize = 512;
/// The time after which an unfinished line is no longer a scan.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of the screen: the shift, the units, and the line being typed.
#[derive(Debug, Clone)]
pub struct ScreenState {
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
    pub last: Option<TestedUnit>,
    /// The units before it, the latest first.
    pub earlier: VecDeque<TestedUnit>,
    /// Index of the earlier unit on display.
    pub selected: Option<usize>,
    /// The number of lines scrolled past in a long text.
    pub scroll: usize,
    /// The visible part of that text.
    view: View,
    /// A message that the worker must see apart from the verdict.
    pub notice: Option<String>,
    /// True if the end of the shift was requested.
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

/// An event that changes the state.
#[derive(Debug)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The unit was tested, and the result is on the disk.
    Tested(Box<TestedUnit>, StationStatus),
    /// The queue for the server was processed.
    QueueProcessed(QueueResult, StationStatus),
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

impl ScreenState {
    /// Makes the screen's state at the beginning of a shift, or in the middle of a resumed one.
    #[must_use]
    pub fn new(log: &str, status: StationStatus, now: Timestamp) -> Self {
        Self {
            log: plain(log, 64),
            now,
            tally: status.tally,
            server: status.server,
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
            Event::Key(key) => return self.handle_key(key),
            Event::Tested(tested, status) => return self.handle_result(*tested, status),
            Event::QueueProcessed(caught, status) => self.handle_queue_result(caught, status),
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
    pub fn shift_duration(&self) -> Duration {
        self.tally.began.map_or(Duration::ZERO, |began| self.now.duration_since(began))
    }

    /// Returns the unit on display, if none is being tested.
    #[must_use]
    pub fn displayed_unit(&self) -> Option<&TestedUnit> {
        match self.selected {
            Some(at) => self.earlier.get(at),
            None => self.last.as_ref().filter(|_| self.testing.is_none()),
        }
    }

    /// Records the visible part of the text about the unit.
    pub fn set_view(&mut self, view: View) {
        self.view = view;
        self.scroll = self.scroll.min(view.last_page_start());
    }

    fn handle_key(&mut self, key: Key) -> Next {
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
            Key::PageDown => {
                self.scroll = (self.scroll + self.view.rows.max(1)).min(self.view.last_page_start());
            }
            Key::Print => return self.print_label(),
            Key::Stop => return self.request_end(asked),
            Key::Enter => {
                let line = std::mem::take(&mut self.line);
                match line.bytes.trim_ascii() {
                    _ if line.too_long => {
                        let text = "Refused: longer than any label. Scan the unit again.";
                        self.notice = Some(text.to_owned());
                    }
                    // An extra Enter neither requests the end nor cancels the question.
                    b"" => self.ending = asked,
                    b"quit" => return self.request_end(asked),
                    b"print" => return self.print_label(),
                    scan => return self.handle_scan(scan.to_vec()),
                }
            }
        }
        Next::Draw
    }

    fn request_end(&mut self, asked: bool) -> Next {
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

    fn print_label(&mut self) -> Next {
        let Some(unit) = self.displayed_unit() else {
            self.notice = Some("No label: there is no unit yet. Scan one.".to_owned());
            return Next::Draw;
        };
        let (name, identity) = (unit.name.clone(), unit.identity.clone().map(Box::new));
        self.notice = Some(format!("The label of {name} is on its way."));
        Next::Print(name, identity)
    }

    fn handle_scan(&mut self, scan: Vec<u8>) -> Next {
        self.notice = None;
        if self.testing.is_none() {
            return self.begin_test(scan);
        }
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(scan);
        } else {
            let text = format!("Refused: {MAX_WAITING} scans wait. Scan {} again later.", unit_name(&scan));
            self.notice = Some(text);
        }
        Next::Draw
    }

    /// Starts a test, and clears the last verdict, so that it is not taken for the new unit's.
    fn begin_test(&mut self, scan: Vec<u8>) -> Next {
        self.select(None);
        self.scroll = 0;
        if let Some(last) = self.last.take() {
            self.earlier.push_front(last);
            self.earlier.truncate(MAX_EARLIER);
        }
        self.testing = Some((unit_name(&scan), self.now));
        Next::Test(scan)
    }

    fn handle_result(&mut self, tested: TestedUnit, status: StationStatus) -> Next {
        self.set_status(status);
        self.testing = None;
        self.select(None);
        self.scroll = 0;
        self.last = Some(tested);
        self.waiting.pop_front().map_or(Next::Draw, |scan| self.begin_test(scan))
    }

    fn handle_queue_result(&mut self, caught: QueueResult, status: StationStatus) {
        self.set_status(status);
        let judged = late_answers_text(&caught.judged);
        let refused = caught.refused.first().map(|problem| {
            let more = caught.refused.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" And {more} more.") };
            format!("The server refused a unit. {problem}{more}")
        });
        caught.judged.into_iter().for_each(|unit| self.update_verdict(unit));
        let news: Vec<String> = judged.into_iter().chain(refused).collect();
        if !news.is_empty() {
            self.notice = Some(news.join(" "));
        }
    }

    /// Updates the verdict wherever the unit is on display; a unit that is not, and did not pass, is
    /// added to the list.
    fn update_verdict(&mut self, unit: TestedUnit) {
        let known = self.last.iter_mut().chain(&mut self.earlier);
        let same: Vec<&mut TestedUnit> =
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

    fn set_status(&mut self, status: StationStatus) {
        self.tally = status.tally;
        self.server = status.server;
    }
}

impl View {
    /// Returns the first line of the last page.
    const fn last_page_start(self) -> usize {
        self.lines.saturating_sub(self.rows)
    }
}

impl Line {
    /// Returns true if nothing is typed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the end of the line, safe for a terminal.
    #[must_use]
    pub fn visible_end(&self, most_bytes: usize) -> String {
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
    use crate::{Finding, Judgement, Reason, fixture::gateway};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn state() -> ScreenState {
        ScreenState::new("day.jsonl", status(Server::Unknown), NOW)
    }

    fn status(server: Server) -> StationStatus {
        StationStatus { tally: Tally::default(), server }
    }

    fn type_text(state: &mut ScreenState, text: &[u8]) -> Vec<Next> {
        let keys = super::super::keys::Keyboard::default().decode(text);
        let all = keys.into_iter().map(|key| state.handle(Event::Key(key)));
        all.filter(|next| *next != Next::Draw).collect()
    }

    fn test_result(name: &str, findings: Vec<Finding>) -> Event {
        Event::Tested(Box::new(unit(name, findings)), status(Server::Reached))
    }

    fn unit(name: &str, findings: Vec<Finding>) -> TestedUnit {
        let identity = gateway(name).identity().ok();
        TestedUnit { name: name.to_owned(), judged: Judgement::from_findings(findings), identity }
    }

    fn finding(verdict: Verdict) -> Finding {
        Finding::new(Reason::Different, verdict, "a", "b")
    }

    fn test(scan: &str) -> Next {
        Next::Test(scan.as_bytes().to_vec())
    }

    #[test]
    fn scans_are_tested_one_after_the_other_and_none_becomes_a_part_of_another() {
        let mut state = state();
        assert_eq!(type_text(&mut state, b"A\r\n\r\nB\rC\rhalf"), [test("A")]);
        assert_eq!((state.waiting.len(), state.line.visible_end(9)), (2, "half".to_owned()));
        assert_eq!(state.handle(test_result("A", vec![])), test("B"));
        assert_eq!(state.testing.as_ref().unwrap().0, "B");
        assert!(state.last.is_none(), "the verdict of A is not shown while B is tested");
        assert_eq!((state.earlier.len(), state.earlier[0].name.as_str()), (1, "A"));
        assert_eq!(state.handle(test_result("B", vec![])), test("C"));
        assert_eq!(state.handle(test_result("C", vec![])), Next::Draw);
        assert_eq!(state.last.as_ref().unwrap().name, "C");
        assert_eq!(type_text(&mut state, b" way \r"), [test("half way")]);
    }

    #[test]
    fn a_scan_too_many_is_refused_in_words_and_the_others_stay() {
        let mut state = state();
        assert_eq!(type_text(&mut state, b"A\r"), [test("A")]);
        for _ in 0..MAX_WAITING {
            type_text(&mut state, b"B\r");
        }
        assert_eq!(state.notice, None);
        type_text(&mut state, b"X\x1d\x9b9\r");
        assert_eq!(state.notice.as_deref(), Some("Refused: 8 scans wait. Scan X \u{fffd}9 again later."));
        assert_eq!(state.waiting.len(), MAX_WAITING);
    }

    #[test]
    fn a_line_longer_than_any_label_is_refused_whole() {
        let mut state = state();
        let long = [&[b'A'; MAX_SCAN_BYTES + 1], b"\r".as_slice()].concat();
        assert_eq!(type_text(&mut state, &long), []);
        assert!(state.notice.as_ref().unwrap().starts_with("Refused: longer than any label."));
        assert_eq!(type_text(&mut state, b"B\r"), [test("B")]);
        assert_eq!(state.notice, None);
    }

    #[test]
    fn a_line_that_nobody_finishes_is_no_beginning_of_the_next_scan() {
        let mut state = state();
        type_text(&mut state, b"half");
        state.handle(Event::Tick(NOW.plus(Duration::from_secs(19))));
        assert_eq!(state.line.visible_end(9), "half");
        state.handle(Event::Tick(NOW.plus(Duration::from_secs(20))));
        assert!(state.line.is_empty() && state.notice.is_some());
        assert_eq!(type_text(&mut state, b"B\r"), [test("B")]);
    }

    #[test]
    fn what_is_typed_can_be_taken_back() {
        let mut state = state();
        type_text(&mut state, "aü\u{7f}\u{7f}b".as_bytes());
        assert_eq!(state.line.visible_end(9), "b");
        type_text(&mut state, b"\x1b");
        assert!(state.line.is_empty());
        type_text(&mut state, b"\x7f");
        assert!(state.line.is_empty());
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
            let mut state = state();
            let ended = type_text(&mut state, keys).contains(&Next::End);
            assert_eq!(ended, ends, "{keys:?}");
        }
    }

    #[test]
    fn units_that_were_tested_before_are_looked_at_until_the_next_scan() {
        let mut state = state();
        for name in ["A1", "B1", "C1"] {
            type_text(&mut state, format!("{name}\r").as_bytes());
            state.handle(test_result(name, vec![]));
        }
        let shows =
            |state: &ScreenState| state.displayed_unit().map(|unit| unit.name.clone()).unwrap_or_default();
        for (keys, unit) in [
            (b"".as_slice(), "C1"),
            (b"\x1b[B", "B1"),
            (b"\x1b[B\x1b[B", "A1"),
            (b"\x1b[A", "B1"),
            (b"\x1b[A\x1b[A", "C1"),
            (b"\x1b[B\x1b", "C1"),
        ] {
            type_text(&mut state, keys);
            assert_eq!(shows(&state), unit, "{keys:?}");
        }
        type_text(&mut state, b"\x1b[Bx\x1b");
        assert_eq!(shows(&state), "B1", "the first Escape clears the line");
        type_text(&mut state, b"D1\r\x1b[B");
        assert!(state.displayed_unit().is_none(), "while a unit is tested, no verdict is shown");
        state.handle(test_result("D1", vec![]));
        assert_eq!(shows(&state), "D1");
    }

    #[test]
    fn the_label_of_the_unit_that_is_shown_is_printed() {
        let mut state = state();
        assert_eq!(type_text(&mut state, b"\x1bOQ"), []);
        assert!(state.notice.as_ref().unwrap().starts_with("No label: there is no unit yet"));
        for name in ["A1", "B1"] {
            type_text(&mut state, format!("{name}\r").as_bytes());
            state.handle(test_result(name, vec![]));
        }
        let label = |name: &str| Next::Print(name.to_owned(), gateway(name).identity().ok().map(Box::new));
        assert_eq!(type_text(&mut state, b"\x1bOQ"), [label("B1")]);
        assert_eq!(type_text(&mut state, b"\x1b[Bprint\r"), [label("A1")]);
        state.handle(Event::Printed("A1".to_owned(), None));
        assert_eq!(state.notice.as_deref(), Some("The label of A1 is printed."));
        state.handle(Event::Printed("A1".to_owned(), Some("out of\u{1b}paper".to_owned())));
        assert_eq!(state.notice.as_deref(), Some("No label of A1: out of paper."));
    }

    #[test]
    fn a_long_text_is_gone_through_page_by_page_and_never_past_its_end() {
        let mut state = state();
        state.handle(test_result("A1", vec![]));
        state.set_view(View { rows: 4, lines: 10 });
        for (keys, scroll) in
            [(b"\x1b[6~".as_slice(), 4), (b"\x1b[6~\x1b[6~", 6), (b"\x1b[5~", 2), (b"\x1b[5~", 0)]
        {
            type_text(&mut state, keys);
            assert_eq!(state.scroll, scroll, "{keys:?}");
        }
        type_text(&mut state, b"\x1b[6~\x1b[6~");
        state.set_view(View { rows: 9, lines: 10 });
        assert_eq!(state.scroll, 1, "the window grew");
        type_text(&mut state, b"B1\r");
        assert_eq!(state.scroll, 0);
    }

    #[test]
    fn what_the_server_says_when_it_is_back_is_the_verdict_wherever_the_unit_is_shown() {
        let mut state = state();
        let server_away =
            || vec![Finding::new(Reason::ServerUnavailable, Verdict::CouldNotCheck, "No network.", "Wait.")];
        for name in ["A1", "B1"] {
            type_text(&mut state, format!("{name}\r").as_bytes());
            state.handle(test_result(name, server_away()));
        }
        let judged = vec![
            unit("A1", vec![finding(Verdict::Fail)]),
            unit("B1", vec![]),
            unit("C1", vec![finding(Verdict::NeedsAttention)]),
            unit("D1", vec![]),
        ];
        let refused = vec!["Its key is another.".to_owned(), "b".to_owned()];
        state.handle(Event::QueueProcessed(QueueResult { judged, refused }, status(Server::Reached)));
        assert_eq!(state.displayed_unit().map(|unit| unit.judged.verdict), Some(Verdict::Pass));
        let listed: Vec<_> =
            state.earlier.iter().map(|one| (one.name.as_str(), one.judged.verdict)).collect();
        assert_eq!(listed, [("C1", Verdict::NeedsAttention), ("A1", Verdict::Fail)]);
        assert_eq!(
            state.notice.as_deref(),
            Some(
                "The server was asked again about 4 units: 2 pass, 1 needs attention, 1 fail (A1, C1). The \
                 server refused a unit. Its key is another. And 1 more."
            )
        );
        state.handle(Event::QueueProcessed(QueueResult::default(), status(Server::Reached)));
        assert!(state.notice.is_some(), "nothing new takes no notice away");
    }
}
