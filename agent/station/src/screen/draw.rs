//! The screen's state drawn as cells of a terminal: a pure function, made for 80x24 down to 40x12, and usable at
//! any size.
//!
//! The verdict fills most of the screen with its colour, and is always there in words, too. All text from
//! outside is made safe for a terminal, and truncated text is marked.

use super::{
    letters::{self, Size},
    rows::{Rows, shorten, tail, width, wrap},
    state::{ScreenState, View},
};
use crate::{
    check::TestedUnit,
    report::{serial, tally_text},
    test_station::Server,
    verdict::Verdict,
};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};
use std::time::Duration;
use unbox_agent::text::plain;
use unbox_common::identity::Identifier;

/// The fewest rows for a full screen; a smaller one leaves out everything that a worker can do without.
const FULL_ROWS: u16 = 20;
/// The most units in the list of recent ones.
const EARLIER_ROWS: u16 = 4;
/// The most rows of the message apart from the verdict.
const NOTICE_ROWS: usize = 3;
/// The fewest rows of a screen with a title, one with counts, and one with help.
const TITLE_ROWS: u16 = 6;
const COUNT_ROWS: u16 = 9;
const HELP_ROWS: u16 = 5;
/// The longest name in a line with others, in bytes.
const MAX_NAME_BYTES: usize = 40;

/// The capabilities of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// True if it has colours, and they were not switched off (`NO_COLOR`).
    pub colour: bool,
}

/// Draws the screen, and returns the visible part of the text about the unit.
pub fn draw(state: &ScreenState, look: Look, area: Rect, buffer: &mut Buffer) -> View {
    let full = area.height >= FULL_ROWS;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut rest = Rows { area, buffer };
    if area.height >= TITLE_ROWS {
        rest.take_top(1).write_title(&title(state, full));
    }
    if area.height >= HELP_ROWS {
        rest.take_bottom(1).write_line(&help(state, area.width), Style::new().add_modifier(Modifier::DIM));
    }
    let notice = notice(state, area.width);
    if area.height > 3 || (area.height > 1 && notice.is_empty()) {
        let typed =
            format!("Next unit: {}_", tail(&state.line.visible_end(256), area.width.saturating_sub(13)));
        rest.take_bottom(1).write_line(&typed, bold);
    }
    let most = if full { NOTICE_ROWS } else { 1 + usize::from(area.height >= COUNT_ROWS) };
    rest.write_paragraph(&notice, usize::from(full), most, bold);
    if full && state.server != Server::Unasked {
        rest.take_bottom(1).write_line(&server_line(state), Style::new());
    }
    if area.height >= COUNT_ROWS {
        rest.write_paragraph(&wrap(&counts(state), area.width.into()), 1, NOTICE_ROWS, Style::new());
    }
    if full {
        draw_earlier(state, rest.take_bottom(EARLIER_ROWS));
    }
    draw_result(state, look, full, rest)
}

/// Draws the earlier units, as far as there is room; the selected one is among them.
fn draw_earlier(state: &ScreenState, mut rows: Rows<'_>) {
    let past = state.selected.unwrap_or(0).saturating_sub(usize::from(EARLIER_ROWS) - 1);
    for (at, unit) in state.earlier.iter().enumerate().skip(past).take(EARLIER_ROWS.into()) {
        let text = format!("{:<16} {}", unit.judged.verdict.text(), shorten(&unit.name, MAX_NAME_BYTES));
        let selected = state.selected == Some(at);
        let style = if selected { Modifier::REVERSED } else { Modifier::DIM };
        rows.take_top(1).write_line(&text, Style::new().add_modifier(style));
    }
}

/// Draws the large part: the result of the unit, or the action that the station waits for.
fn draw_result(state: &ScreenState, look: Look, full: bool, mut rest: Rows<'_>) -> View {
    let (word, name, style) = match (state.displayed_unit(), &state.testing) {
        (Some(unit), _) => {
            let verdict = unit.judged.verdict;
            let earlier = if state.selected.is_some() { "  (an earlier unit)" } else { "" };
            (verdict.text(), unit_title(unit) + earlier, colours(verdict, look))
        }
        (None, Some((name, since))) => {
            let seconds = state.now.duration_since(*since).as_secs();
            let for_long = if seconds > 1 { format!("  {seconds} s") } else { String::new() };
            ("TESTING", format!("{name}{for_long}"), Style::new())
        }
        (None, None) => ("READY", "Scan a unit.".to_owned(), Style::new()),
    };
    rest.fill(style);
    let bold = style.add_modifier(Modifier::BOLD);
    let lines =
        state.displayed_unit().map(|unit| reason_lines(unit, style, rest.width())).unwrap_or_default();
    let sizes = [Size::Large, Size::Small].into_iter();
    // Large letters matter less than a line about a fault.
    let size = sizes.map(|size| (size, letters::rows(word, size))).find(|(size, rows)| {
        let fits = rows.len() + 3 + lines.len() <= usize::from(rest.area.height) || *size == Size::Small;
        full && fits && rows.first().is_some_and(|row| width(row) + 2 <= rest.width())
    });
    if let Some((_, rows)) = size {
        rest.take_top(1);
        for row in rows {
            rest.take_top(1).write_centred(&row, bold);
        }
        rest.take_top(1);
    }
    // The large letters are blocks: a screen reader or a search needs the word itself.
    let room = usize::from(rest.area.height.saturating_sub(1));
    let unseen =
        if room < 2 && room < lines.len() { format!("  ({} lines)", lines.len()) } else { String::new() };
    rest.take_top(1).write_centred(&format!("{word}{unseen}  {name}"), bold);
    draw_page(state, &lines, rest, bold)
}

/// Formats the faults of a unit, with advice about each, in lines.
fn reason_lines(unit: &TestedUnit, style: Style, columns: usize) -> Vec<(String, Style)> {
    let room = columns.saturating_sub(2);
    let mut lines = Vec::new();
    for finding in &unit.judged.findings {
        let problem = wrap(&plain(&finding.problem, usize::MAX), room);
        lines.extend(problem.into_iter().map(|line| (line, style.add_modifier(Modifier::BOLD))));
        let action = format!("> {}", plain(&finding.action, usize::MAX));
        lines.extend(wrap(&action, room).into_iter().map(|line| (line, style)));
    }
    lines
}

/// Draws as many of these lines as fit, and their position if there are more.
fn draw_page(state: &ScreenState, lines: &[(String, Style)], mut rest: Rows<'_>, style: Style) -> View {
    let room = usize::from(rest.area.height);
    let says_where = room > 1 && lines.len() > room;
    let view = View { rows: if says_where { room - 1 } else { room }, lines: lines.len() };
    let from = state.scroll.min(view.lines.saturating_sub(view.rows));
    for (line, style) in lines.iter().skip(from).take(view.rows) {
        rest.take_top(1).write_line(line, *style);
    }
    if says_where {
        let text = format!("Lines {} to {} of {}: PgUp, PgDn", from + 1, from + view.rows, view.lines);
        rest.take_top(1).write_line(&text, style.add_modifier(Modifier::UNDERLINED));
    }
    view
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

/// Returns the name of a unit, and its number if that is different.
fn unit_title(unit: &TestedUnit) -> String {
    let name = shorten(&unit.name, MAX_NAME_BYTES);
    let number = unit.identity.as_ref().and_then(serial).map(Identifier::value).unwrap_or_default();
    let number = shorten(number, MAX_NAME_BYTES);
    if number.is_empty() || number.eq_ignore_ascii_case(&name) { name } else { format!("{name}  {number}") }
}

fn title(state: &ScreenState, full: bool) -> [String; 2] {
    let clock = format_clock(state.shift_duration());
    let server = match &state.server {
        Server::Unasked => String::new(),
        Server::Unknown | Server::Reached => format!("Queue {}  ", state.tally.pending),
        Server::Away { .. } => format!("OFFLINE  Queue {}  ", state.tally.pending),
    };
    if full {
        [format!("Unbox test station  {}", state.log), format!("Shift {clock}")]
    } else {
        ["Unbox".to_owned(), format!("{server}Shift {clock}")]
    }
}

fn format_clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn counts(state: &ScreenState) -> String {
    let duplicates = state.tally.duplicates;
    let word = if duplicates == 1 { "duplicate" } else { "duplicates" };
    format!("{}, {duplicates} {word}", tally_text(&state.tally))
}

fn server_line(state: &ScreenState) -> String {
    let waiting = match state.tally.pending {
        0 => "nothing waits for upload".to_owned(),
        1 => "1 unit waits for upload".to_owned(),
        many => format!("{many} units wait for upload"),
    };
    match &state.server {
        Server::Unasked | Server::Unknown => format!("Server: not asked yet, {waiting}."),
        Server::Reached => format!("Server: online, {waiting}."),
        Server::Away { since, reason } => {
            let away = format_clock(state.now.duration_since(*since));
            format!("Server: OFFLINE for {away}, {waiting}. {reason}")
        }
    }
}

/// Returns the message to read before the next scan, in lines.
fn notice(state: &ScreenState, columns: u16) -> Vec<String> {
    let text = notice_text(state).unwrap_or_default();
    if text.is_empty() { Vec::new() } else { wrap(&text, columns.saturating_sub(2).into()) }
}

fn notice_text(state: &ScreenState) -> Option<String> {
    if state.ending {
        let untested = state.waiting.len() + usize::from(state.testing.is_some());
        let untested =
            if untested == 0 { String::new() } else { format!(" {untested} scans are not tested yet.") };
        return Some(format!("End the shift? Ctrl-C ends it, a scan goes on.{untested}"));
    }
    let waiting = match state.waiting.len() {
        0 => None,
        1 => Some("1 scan waits.".to_owned()),
        many => Some(format!("{many} scans wait.")),
    };
    state.notice.clone().or(waiting)
}

fn help(state: &ScreenState, width: u16) -> String {
    let ends = if state.ending { "Ctrl-C again: end" } else { "Ctrl-C: end" };
    let escape = if state.selected.is_some() { "Esc: back" } else { "Esc: clear" };
    let long = format!("Enter: next unit  Up, Down: units  F2: label  {escape}  {ends}");
    let short = format!("{escape}  F2: label  {ends}");
    let fits = |text: &String| text.len() <= usize::from(width).saturating_sub(1);
    [long, short].into_iter().find(fits).unwrap_or_else(|| ends.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Finding, Judgement, Reason,
        screen::{
            keys::Keyboard,
            rows::MORE,
            state::{Event, Next},
        },
        shift::Tally,
        test_station::StationStatus,
    };
    use unbox_common::timestamp::Timestamp;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const COLOUR: Look = Look { colour: true };

    fn state() -> ScreenState {
        let counts = [(Verdict::Pass, 1200), (Verdict::Fail, 12), (Verdict::NeedsAttention, 3)].into();
        let tally = Tally { counts, duplicates: 1, pending: 2, began: Some(NOW) };
        let status = StationStatus { tally, server: Server::Reached };
        ScreenState::new("day.jsonl", status, NOW.plus(Duration::from_secs(3723)))
    }

    fn type_text(state: &mut ScreenState, text: &str) {
        for key in Keyboard::default().decode(text.as_bytes()) {
            state.handle(Event::Key(key));
        }
    }

    fn judge(state: &mut ScreenState, name: &str, verdict: Verdict) {
        let finding = Finding::new(
            Reason::Different,
            verdict,
            "The serial number is PF0ABCDE in the machine and PF0ABCD on the label, where characters are \
             missing.",
            "Look whether the label belongs to this unit, and print a new one if it does.",
        );
        let findings = if verdict == Verdict::Pass { vec![] } else { vec![finding] };
        let tested =
            TestedUnit { name: name.to_owned(), judged: Judgement::from_findings(findings), identity: None };
        finish_test(state, tested);
    }

    fn finish_test(state: &mut ScreenState, tested: TestedUnit) -> Next {
        let status = StationStatus { tally: state.tally.clone(), server: state.server.clone() };
        state.handle(Event::Tested(Box::new(tested), status))
    }

    fn draw_copy(state: &ScreenState, look: Look, width: u16, height: u16) -> Buffer {
        draw_at(&mut state.clone(), look, width, height)
    }

    fn draw_at(state: &mut ScreenState, look: Look, width: u16, height: u16) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let view = draw(state, look, buffer.area, &mut buffer);
        state.set_view(view);
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
        let mut state = state();
        judge(&mut state, "PF0ABCD", Verdict::Fail);
        type_text(&mut state, "PF0");
        assert_eq!(
            text(&draw_copy(&state, COLOUR, 40, 12)),
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
 Esc: clear  F2: label  Ctrl-C: end
"
        );
    }

    #[test]
    fn a_failed_unit_on_a_usual_screen() {
        let mut state = state();
        judge(&mut state, "PF0ABCDF", Verdict::Pass);
        type_text(&mut state, "PF0ABCD\r");
        judge(&mut state, "PF0ABCD", Verdict::Fail);
        assert_eq!(
            text(&draw_copy(&state, COLOUR, 80, 24)),
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
 Enter: next unit  Up, Down: units  F2: label  Esc: clear  Ctrl-C: end
"
        );
    }

    #[test]
    fn every_verdict_is_said_in_words_in_every_size_and_without_colours() {
        for verdict in Verdict::ALL {
            for (width, height) in [(80, 24), (40, 12), (132, 43), (64, 20)] {
                for look in [COLOUR, Look { colour: false }] {
                    let mut state = state();
                    judge(&mut state, "PF0ABCD", verdict);
                    let buffer = draw_copy(&state, look, width, height);
                    assert!(text(&buffer).contains(&format!("{}  PF0ABCD", verdict.text())));
                    let coloured = buffer.content.iter().any(|cell| cell.bg != Color::Reset);
                    assert_eq!(coloured, look.colour);
                }
            }
        }
    }

    #[test]
    fn colours_tell_pass_fail_and_attention_apart() {
        let ground = |verdict| {
            let mut state = state();
            judge(&mut state, "A", verdict);
            let buffer = draw_copy(&state, COLOUR, 80, 24);
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
            let shows = |state: &ScreenState, words: &str| {
                let text = text(&draw_copy(state, COLOUR, width, height));
                assert!(text.contains(words), "{words}: {text}");
            };
            let mut state = state();
            shows(&state, "READY  Scan a unit.");
            type_text(&mut state, "A\rB\rC\r");
            shows(&state, "TESTING  A");
            shows(&state, "2 scans wait.");
            type_text(&mut state, "\u{3}");
            shows(&state, "End the shift? Ctrl-C ends it");
            let away = Finding::new(Reason::ServerUnavailable, Verdict::CouldNotCheck, "Away.", "Wait.");
            let tested = TestedUnit {
                name: "A".to_owned(),
                judged: Judgement::from_findings(vec![away]),
                identity: None,
            };
            assert!(matches!(finish_test(&mut state, tested), Next::Test(_)));
            state.server = Server::Away { since: NOW, reason: "Away.".to_owned() };
            shows(&state, "OFFLINE");
        }
    }

    /// Makes a unit with more faults than fit on any usual terminal.
    fn add_long_unit(state: &mut ScreenState) -> Vec<String> {
        let words: Vec<String> = (0..60).map(|number| format!("word{number:03}")).collect();
        let parts = words.chunks(6).map(|part| part.join(" "));
        let finding = |text: String| Finding::new(Reason::Different, Verdict::Fail, text, "Look.");
        let judged = Judgement::from_findings(parts.map(finding).collect());
        finish_test(state, TestedUnit { name: "U".to_owned(), judged, identity: None });
        words
    }

    #[test]
    fn nothing_of_a_finding_is_lost_without_a_sign_and_all_of_it_can_be_read() {
        for width in 12..=100 {
            for height in 1..=30 {
                let mut state = state();
                let mut unread = add_long_unit(&mut state);
                for page in 0.. {
                    let text = text(&draw_at(&mut state, COLOUR, width, height));
                    let before = unread.len();
                    unread.retain(|word| !text.contains(word.as_str()));
                    let sign = text.contains("Lines ") || text.contains("lines)") || text.contains(MORE);
                    assert!(sign || unread.is_empty() || page > 0, "{width}x{height}: {text}");
                    // Below that height, there may be room for the verdict alone.
                    if unread.is_empty() || (height < 6 && before == unread.len()) {
                        break;
                    }
                    assert!(page < 200, "{width}x{height}: {unread:?} never comes; {text}");
                    type_text(&mut state, "\u{1b}[6~");
                }
            }
        }
    }

    #[test]
    fn a_long_text_says_which_lines_of_it_are_shown() {
        let mut state = state();
        add_long_unit(&mut state);
        let shows = |state: &mut ScreenState, words: &str| {
            let text = text(&draw_at(state, COLOUR, 40, 12));
            assert!(text.contains(words), "{words}: {text}");
        };
        shows(&mut state, "Lines 1 to 5 of 30: PgUp, PgDn");
        type_text(&mut state, "\u{1b}[6~");
        shows(&mut state, "Lines 6 to 10 of 30: PgUp, PgDn");
        type_text(&mut state, &"\u{1b}[6~".repeat(9));
        shows(&mut state, "Lines 26 to 30 of 30: PgUp, PgDn");
    }

    #[test]
    fn an_earlier_unit_is_called_one_and_stands_out_in_the_list() {
        let mut state = state();
        for name in ["A", "B", "C", "D", "E", "F", "G"] {
            type_text(&mut state, &format!("{name}\r"));
            judge(&mut state, name, Verdict::Pass);
        }
        type_text(&mut state, &"\u{1b}[B".repeat(6));
        let buffer = draw_copy(&state, COLOUR, 80, 24);
        assert!(text(&buffer).contains("PASS  A  (an earlier unit)"), "{}", text(&buffer));
        let reversed: Vec<_> = buffer
            .content
            .chunks(80)
            .skip(1)
            .filter(|row| row[1].modifier.contains(Modifier::REVERSED))
            .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>())
            .collect();
        assert_eq!(reversed.iter().map(|row| row.trim()).collect::<Vec<_>>(), ["PASS             A"]);
    }

    #[test]
    fn what_is_cut_says_so() {
        let mut state = state();
        state.notice = Some("word ".repeat(200));
        state.server = Server::Away { since: NOW, reason: "word ".repeat(200) };
        let text = text(&draw_copy(&state, COLOUR, 80, 24));
        assert_eq!(text.matches(MORE).count(), 2, "{text}");
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal_and_no_size_is_too_small() {
        let mut state = state();
        judge(&mut state, "\u{1b}[2J\u{202e}A\u{9b}31m", Verdict::Fail);
        type_text(&mut state, "x\u{7}\u{1d}y\u{1b}]0;z");
        state.notice = Some("\u{20ac}".repeat(500));
        for width in 0..90 {
            for height in 0..26 {
                let text = text(&draw_copy(&state, COLOUR, width, height));
                let hostile = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
                assert!(!text.contains(hostile), "{text:?}");
            }
        }
    }
}
