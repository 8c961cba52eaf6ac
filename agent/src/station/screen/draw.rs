//! The desk as cells of a terminal: a pure function, from 80x24 down to 40x12.
//!
//! The verdict fills most of the screen with its colour, and is always said in words, too. Every text that
//! came from outside was made fit for a terminal before, or is here.

use super::{
    desk::{Desk, Server},
    letters::{self, Size},
};
use crate::{
    console::plain,
    station::{
        check::Tested,
        report::{serial, tally_text},
        verdict::Verdict,
    },
};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::Span,
};
use std::time::Duration;
use unbox_common::identity::Identifier;

/// A screen of fewer rows leaves out what a worker can do without.
const FULL_ROWS: u16 = 20;
/// The most units in the list of the last ones.
const EARLIER_ROWS: u16 = 4;
/// The longest sentence of a finding, in bytes.
const MAX_SENTENCE_BYTES: usize = 512;
/// The longest name in a line of others, in bytes.
const MAX_NAME_BYTES: usize = 40;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether it has colours, and nobody asked to do without (`NO_COLOR`).
    pub colour: bool,
}

/// Draws the desk.
pub fn draw(desk: &Desk, look: Look, area: Rect, buffer: &mut Buffer) {
    let full = area.height >= FULL_ROWS;
    let mut rest = Rows { area, buffer };
    rest.top(1).bar(&title(desk, full));
    rest.bottom(1).words(&help(desk, area.width), Style::new().add_modifier(Modifier::DIM));
    let typed = format!("Next unit: {}_", tail(&desk.line.shown(256), area.width.saturating_sub(12)));
    rest.bottom(1).words(&typed, Style::new().add_modifier(Modifier::BOLD));
    if full || urgent(desk).is_some() {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        rest.bottom(1).words(&urgent(desk).unwrap_or_default(), bold);
    }
    if full && desk.server != Server::Unasked {
        rest.bottom(1).words(&server(desk), Style::new());
    }
    let counts = wrapped(&counts(desk), area.width.into());
    let mut rows = rest.bottom(counts.len().try_into().unwrap_or(2));
    for line in counts {
        rows.top(1).words(&line, Style::new());
    }
    if full {
        let mut rows = rest.bottom(EARLIER_ROWS);
        for (verdict, name) in desk.earlier.iter().take(EARLIER_ROWS.into()) {
            let text = format!("{:<16} {}", verdict.words(), plain(name, MAX_NAME_BYTES));
            rows.top(1).words(&text, Style::new().add_modifier(Modifier::DIM));
        }
    }
    stage(desk, look, full, rest);
}

/// The large part: what became of the unit, or what the station waits for.
fn stage(desk: &Desk, look: Look, full: bool, mut rest: Rows<'_>) {
    let (word, name, style) = match (&desk.testing, &desk.last) {
        (Some((name, since)), _) => {
            let seconds = desk.now.since(*since).as_secs();
            let for_long = if seconds > 1 { format!("  {seconds} s") } else { String::new() };
            ("TESTING", format!("{name}{for_long}"), Style::new())
        }
        (None, Some(unit)) => {
            let verdict = unit.judged.verdict;
            (verdict.words(), named(unit), colours(verdict, look))
        }
        (None, None) => ("READY", "Scan a unit.".to_owned(), Style::new()),
    };
    rest.fill(style);
    let bold = style.add_modifier(Modifier::BOLD);
    let size = [Size::Large, Size::Small].into_iter().find(|size| {
        full && letters::rows(word, *size).first().is_some_and(|row| width(row) + 2 <= rest.width())
    });
    if let Some(size) = size {
        rest.top(1);
        for row in letters::rows(word, size) {
            rest.top(1).centred(&row, bold);
        }
        rest.top(1);
    }
    // The large letters are blocks: whoever listens to the screen, or searches it, needs the word.
    rest.top(1).centred(&format!("{word}  {name}"), bold);
    if let (None, Some(unit)) = (&desk.testing, &desk.last) {
        reasons(unit, style, rest);
    }
}

/// What is wrong with a unit, and what to do about each.
fn reasons(unit: &Tested, style: Style, mut rest: Rows<'_>) {
    let room = rest.width().saturating_sub(2);
    let mut lines = Vec::new();
    for finding in &unit.judged.findings {
        let problem = wrapped(&plain(&finding.problem, MAX_SENTENCE_BYTES), room);
        lines.extend(problem.into_iter().map(|line| (line, style.add_modifier(Modifier::BOLD))));
        let action = format!("> {}", plain(&finding.action, MAX_SENTENCE_BYTES));
        lines.extend(wrapped(&action, room).into_iter().map(|line| (line, style)));
    }
    let rows = usize::from(rest.area.height);
    if lines.len() > rows {
        lines.truncate(rows.saturating_sub(1));
        lines.push(("... all of it is in the log.".to_owned(), style));
    }
    for (line, style) in lines {
        rest.top(1).words(&line, style);
    }
}

fn colours(verdict: Verdict, look: Look) -> Style {
    let (words, ground) = match verdict {
        _ if !look.colour => return Style::new().add_modifier(Modifier::REVERSED),
        Verdict::Pass => (Color::Black, Color::Green),
        Verdict::NeedsAttention | Verdict::CouldNotCheck => (Color::Black, Color::Yellow),
        Verdict::Fail => (Color::White, Color::Red),
    };
    Style::new().fg(words).bg(ground)
}

/// What people call a unit, and its number where that is something else.
fn named(unit: &Tested) -> String {
    let name = plain(&unit.name, MAX_NAME_BYTES);
    let number = unit.identity.as_ref().and_then(serial).map(Identifier::value).unwrap_or_default();
    let number = plain(number, MAX_NAME_BYTES);
    if number.is_empty() || number.eq_ignore_ascii_case(&name) { name } else { format!("{name}  {number}") }
}

fn title(desk: &Desk, full: bool) -> [String; 2] {
    let clock = clock(desk.clock());
    let server = match &desk.server {
        Server::Unasked => String::new(),
        Server::Unknown | Server::Reached => format!("Queue {}  ", desk.tally.pending),
        Server::Away { .. } => format!("OFFLINE  Queue {}  ", desk.tally.pending),
    };
    if full {
        [format!("Unbox test station  {}", desk.log), format!("Shift {clock}")]
    } else {
        ["Unbox".to_owned(), format!("{server}Shift {clock}")]
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn counts(desk: &Desk) -> String {
    let duplicates = desk.tally.duplicates;
    let word = if duplicates == 1 { "duplicate" } else { "duplicates" };
    format!("{}, {duplicates} {word}", tally_text(&desk.tally))
}

fn server(desk: &Desk) -> String {
    let waiting = match desk.tally.pending {
        0 => "nothing waits for upload".to_owned(),
        1 => "1 unit waits for upload".to_owned(),
        many => format!("{many} units wait for upload"),
    };
    match &desk.server {
        Server::Unasked | Server::Unknown => format!("Server: not asked yet, {waiting}."),
        Server::Reached => format!("Server: online, {waiting}."),
        Server::Away { since, reason } => {
            let away = clock(desk.now.since(*since));
            format!("Server: OFFLINE for {away}, {waiting}. {reason}")
        }
    }
}

/// What somebody has to read before the next scan.
fn urgent(desk: &Desk) -> Option<String> {
    if desk.ending {
        let untested = desk.waiting.len() + usize::from(desk.testing.is_some());
        let untested =
            if untested == 0 { String::new() } else { format!(" {untested} scans are not tested yet.") };
        return Some(format!("End the shift? Ctrl-C ends it, a scan goes on.{untested}"));
    }
    let waiting = match desk.waiting.len() {
        0 => None,
        1 => Some("1 scan waits.".to_owned()),
        many => Some(format!("{many} scans wait.")),
    };
    desk.notice.clone().or(waiting)
}

fn help(desk: &Desk, width: u16) -> String {
    let ends = if desk.ending { "Ctrl-C again: end" } else { "Ctrl-C: end" };
    let long = format!("Scan or type, Enter: next unit   Esc: clear the line   {ends}");
    if long.len() <= usize::from(width).saturating_sub(2) { long } else { format!("Esc: clear  {ends}") }
}

/// A part of the screen that is given away row by row.
struct Rows<'b> {
    area: Rect,
    buffer: &'b mut Buffer,
}

impl Rows<'_> {
    fn width(&self) -> usize {
        self.area.width.into()
    }

    /// The next rows from the top, as far as there are any.
    fn top(&mut self, rows: u16) -> Rows<'_> {
        let height = rows.min(self.area.height);
        let area = Rect { height, ..self.area };
        self.area = Rect { y: self.area.y + height, height: self.area.height - height, ..self.area };
        Rows { area, buffer: self.buffer }
    }

    /// The next rows from the bottom, as far as there are any.
    fn bottom(&mut self, rows: u16) -> Rows<'_> {
        let height = rows.min(self.area.height);
        self.area.height -= height;
        let area = Rect { y: self.area.y + self.area.height, height, ..self.area };
        Rows { area, buffer: self.buffer }
    }

    fn fill(&mut self, style: Style) {
        self.buffer.set_style(self.area, style);
    }

    fn words(self, text: &str, style: Style) {
        self.at(1, text, style);
    }

    fn centred(self, text: &str, style: Style) {
        let gap = self.width().saturating_sub(width(text)) / 2;
        self.at(gap.try_into().unwrap_or(0), text, style);
    }

    fn bar(mut self, [left, right]: &[String; 2]) {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        self.fill(style);
        let end = self.width().saturating_sub(width(right) + 1).try_into().unwrap_or(0);
        let Self { area, buffer } = self;
        Rows { area, buffer: &mut *buffer }.words(left, style);
        Rows { area, buffer }.at(end, right, style);
    }

    fn at(self, column: u16, text: &str, style: Style) {
        if self.area.height > 0 && column < self.area.width {
            let room = usize::from(self.area.width - column);
            self.buffer.set_stringn(self.area.x + column, self.area.y, text, room, style);
        }
    }
}

/// How many columns a text takes.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The end of a text that fits into some columns.
fn tail(text: &str, columns: u16) -> &str {
    let starts = text.char_indices().map(|(at, _)| text.get(at..).unwrap_or_default());
    starts.into_iter().find(|end| width(end) <= columns.into()).unwrap_or_default()
}

/// A text in lines of some columns, broken between words where there are any.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let line = lines.pop().unwrap_or_default();
            let gap = usize::from(!line.is_empty());
            if width(&line) + gap + width(word) <= columns {
                lines.push(if gap == 1 { format!("{line} {word}") } else { word.to_owned() });
                break;
            }
            if gap == 1 {
                lines.extend([line, String::new()]);
                continue;
            }
            // A word that is wider than the screen.
            let fits = |end: &usize| width(word.get(..*end).unwrap_or_default()) <= columns;
            let ends = word.char_indices().map(|(at, char)| at + char.len_utf8());
            let end = ends.take_while(fits).last().unwrap_or(word.len());
            lines.extend([word.get(..end).unwrap_or_default().to_owned(), String::new()]);
            word = word.get(end..).unwrap_or_default();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::{
        Finding, Judged, Reason,
        screen::{
            desk::{Event, Next},
            keys::Keyboard,
        },
        shift::Tally,
    };
    use unbox_common::timestamp::Timestamp;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const COLOUR: Look = Look { colour: true };

    fn desk() -> Desk {
        let counts = [(Verdict::Pass, 1200), (Verdict::Fail, 12), (Verdict::NeedsAttention, 3)].into();
        let tally = Tally { counts, duplicates: 1, pending: 2, began: Some(NOW) };
        Desk::new("day.jsonl", tally, true, NOW.after(Duration::from_secs(3723)))
    }

    fn typed(desk: &mut Desk, text: &str) {
        for key in Keyboard::default().keys(text.as_bytes()) {
            desk.handle(Event::Key(key));
        }
    }

    fn judged(desk: &mut Desk, name: &str, verdict: Verdict) {
        let finding = Finding::new(
            Reason::Different,
            verdict,
            "The serial number is PF0ABCDE in the machine and PF0ABCD on the label, where characters are \
             missing.",
            "Look whether the label belongs to this unit, and print a new one if it does.",
        );
        let findings = if verdict == Verdict::Pass { vec![] } else { vec![finding] };
        let tested = Tested { name: name.to_owned(), judged: Judged::by(findings), identity: None };
        let tally = desk.tally.clone();
        desk.handle(Event::Tested(Box::new(tested), tally));
    }

    fn drawn(desk: &Desk, look: Look, width: u16, height: u16) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(desk, look, buffer.area, &mut buffer);
        buffer
    }

    fn text(buffer: &Buffer) -> String {
        let rows = buffer.content.chunks(usize::from(buffer.area.width).max(1));
        let row = |cells: &[ratatui::buffer::Cell]| {
            let row: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            row.trim_end().to_owned() + "\n"
        };
        rows.map(row).collect()
    }

    #[test]
    fn a_failed_unit_on_a_small_screen() {
        let mut desk = desk();
        judged(&mut desk, "PF0ABCD", Verdict::Fail);
        typed(&mut desk, "PF0");
        assert_eq!(
            text(&drawn(&desk, COLOUR, 40, 12)),
            " Unbox           Queue 2  Shift 1:02:03
             FAIL  PF0ABCD
 The serial number is PF0ABCDE in the
 machine and PF0ABCD on the label,
 where characters are missing.
 > Look whether the label belongs to
 this unit, and print a new one if it
 does.
 1200 pass, 3 needs attention, 0 could
 not check, 12 fail, 1 duplicate
 Next unit: PF0_
 Esc: clear  Ctrl-C: end
"
        );
    }

    #[test]
    fn a_failed_unit_on_a_usual_screen() {
        let mut desk = desk();
        judged(&mut desk, "PF0ABCDF", Verdict::Pass);
        typed(&mut desk, "PF0ABCD\r");
        judged(&mut desk, "PF0ABCD", Verdict::Fail);
        assert_eq!(
            text(&drawn(&desk, COLOUR, 80, 24)),
            " Unbox test station  day.jsonl                                    Shift 1:02:03

                         ██████    ██    ██████  ██
                         ██      ██  ██    ██    ██
                         ████    ██████    ██    ██
                         ██      ██  ██    ██    ██
                         ██      ██  ██  ██████  ██████

                                 FAIL  PF0ABCD
 The serial number is PF0ABCDE in the machine and PF0ABCD on the label, where
 characters are missing.
 > Look whether the label belongs to this unit, and print a new one if it does.



 PASS             PF0ABCDF



 1200 pass, 3 needs attention, 0 could not check, 12 fail, 1 duplicate
 Server: online, 2 units wait for upload.

 Next unit: _
 Scan or type, Enter: next unit   Esc: clear the line   Ctrl-C: end
"
        );
    }

    #[test]
    fn every_verdict_is_said_in_words_in_every_size_and_without_colours() {
        for verdict in Verdict::ALL {
            for (width, height) in [(80, 24), (40, 12), (132, 43), (64, 20)] {
                for look in [COLOUR, Look { colour: false }] {
                    let mut desk = desk();
                    judged(&mut desk, "PF0ABCD", verdict);
                    let buffer = drawn(&desk, look, width, height);
                    assert!(text(&buffer).contains(&format!("{}  PF0ABCD", verdict.words())));
                    let coloured = buffer.content.iter().any(|cell| cell.bg != Color::Reset);
                    assert_eq!(coloured, look.colour);
                }
            }
        }
    }

    #[test]
    fn colours_tell_pass_fail_and_attention_apart() {
        let ground = |verdict| {
            let mut desk = desk();
            judged(&mut desk, "A", verdict);
            let buffer = drawn(&desk, COLOUR, 80, 24);
            let cells = buffer.content.iter().filter(|cell| cell.bg == colours(verdict, COLOUR).bg.unwrap());
            assert!(cells.count() > 80 * 9, "the colour fills a large part of the screen");
            colours(verdict, COLOUR).bg
        };
        assert_eq!(ground(Verdict::Pass), Some(Color::Green));
        assert_eq!(ground(Verdict::Fail), Some(Color::Red));
        assert_eq!(ground(Verdict::NeedsAttention), Some(Color::Yellow));
    }

    #[test]
    fn what_needs_somebody_is_said_in_every_size() {
        for (width, height) in [(80, 24), (40, 12)] {
            let shows = |desk: &Desk, words: &str| {
                let text = text(&drawn(desk, COLOUR, width, height));
                assert!(text.contains(words), "{words}: {text}");
            };
            let mut desk = desk();
            shows(&desk, "READY  Scan a unit.");
            typed(&mut desk, "A\rB\rC\r");
            shows(&desk, "TESTING  A");
            shows(&desk, "2 scans wait.");
            typed(&mut desk, "\u{3}");
            shows(&desk, "End the shift? Ctrl-C ends it");
            let away = Finding::new(Reason::ServerUnavailable, Verdict::CouldNotCheck, "Away.", "Wait.");
            let tested = Tested { name: "A".to_owned(), judged: Judged::by(vec![away]), identity: None };
            let tally = desk.tally.clone();
            assert!(matches!(desk.handle(Event::Tested(Box::new(tested), tally)), Next::Test(_)));
            shows(&desk, "OFFLINE");
        }
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal_and_no_size_is_too_small() {
        let mut desk = desk();
        judged(&mut desk, "\u{1b}[2J\u{202e}A\u{9b}31m", Verdict::Fail);
        typed(&mut desk, "x\u{7}\u{1d}y\u{1b}]0;z");
        desk.notice = Some("\u{20ac}".repeat(500));
        for width in 0..90 {
            for height in 0..26 {
                let text = text(&drawn(&desk, COLOUR, width, height));
                let hostile = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
                assert!(!text.contains(hostile), "{text:?}");
            }
        }
    }

    #[test]
    fn text_is_broken_between_words_and_long_words_anywhere() {
        for (text, columns, expected) in [
            ("one two three", 7, vec!["one two", "three"]),
            ("abcdefgh i", 3, vec!["abc", "def", "gh", "i"]),
            ("東京東京", 4, vec!["東京", "東京"]),
            ("", 5, vec![""]),
            ("a b", 0, vec!["a", "b", ""]),
        ] {
            assert_eq!(wrapped(text, columns), expected, "{text}");
        }
        assert_eq!((tail("abc東", 3), tail("ab", 0)), ("c東", ""));
    }
}
