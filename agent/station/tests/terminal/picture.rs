//! A terminal's screen as an SVG picture, cell by cell.

use std::fmt::Write as _;
use vt100::{Cell, Color, Screen};

/// The size of a cell, in units of the picture.
const CELL: (u32, u32) = (9, 18);
/// The place of letters in a cell.
const BASE_LINE: u32 = 14;
/// Ink and ground where a program names no colour.
const PLAIN: [&str; 2] = ["#d7dce2", "#1b1f24"];
/// The colours by which a program names them, as far as the station does.
const NAMED: [(u8, &str); 5] =
    [(0, "#101418"), (1, "#b3261e"), (2, "#3aa655"), (3, "#e3a008"), (15, "#ffffff")];

/// How a cell looks.
#[derive(PartialEq, Eq, Clone)]
struct Paint {
    ink: &'static str,
    ground: &'static str,
    bold: bool,
    dim: bool,
}

/// Draws a screen.
pub(crate) fn svg(screen: &Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (u32::from(columns) * CELL.0, u32::from(rows) * CELL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" shape-rendering=\"crispEdges\" \
         font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"15\">\n\
         <title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        PLAIN[1]
    );
    for row in 0..rows {
        let cells: Vec<(Paint, &str)> = (0..columns)
            .map(|column| screen.cell(row, column).unwrap())
            .map(|cell| (paint(cell), if cell.has_contents() { cell.contents() } else { " " }))
            .collect();
        let y = u32::from(row) * CELL.1;
        let mut column = 0;
        for run in cells.chunk_by(|(one, _), (other, _)| one.ground == other.ground) {
            if run[0].0.ground != PLAIN[1] {
                rect(&mut svg, (column, run.len()), (y, CELL.1), run[0].0.ground);
            }
            column += run.len();
        }
        column = 0;
        for run in cells.chunk_by(|(one, a), (other, b)| one == other && block(a) == block(b)) {
            draw_run(&mut svg, run, column, y);
            column += run.len();
        }
    }
    svg + "</svg>\n"
}

/// A rectangle of some columns from one on, and of some height.
fn rect(svg: &mut String, (column, columns): (usize, usize), (y, height): (u32, u32), fill: &str) {
    let (x, width) = (across(column), across(columns));
    writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>")
        .unwrap();
}

fn across(columns: usize) -> u32 {
    u32::try_from(columns).unwrap() * CELL.0
}

/// Cells of one paint, either all text or all the same block.
fn draw_run(svg: &mut String, run: &[(Paint, &str)], column: usize, y: u32) {
    let (paint, first) = &run[0];
    if let Some((from, height)) = block(first) {
        return rect(svg, (column, run.len()), (y + from, height), paint.ink);
    }
    let text: String = run.iter().map(|(_, text)| *text).collect();
    if text.trim().is_empty() {
        return;
    }
    let x = across(column + text.len() - text.trim_start().len());
    let length = across(text.trim().chars().count());
    let text = text.trim().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let weight = if paint.bold { " font-weight=\"bold\"" } else { "" };
    let dim = if paint.dim { " opacity=\"0.65\"" } else { "" };
    let y = y + BASE_LINE;
    writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" xml:space=\"preserve\" fill=\"{}\"{weight}{dim}>{text}</text>",
        paint.ink
    )
    .unwrap();
}

/// The place of a block in a cell: its beginning and its height.
fn block(text: &str) -> Option<(u32, u32)> {
    match text {
        "█" => Some((0, CELL.1)),
        "▀" => Some((0, CELL.1 / 2)),
        "▄" => Some((CELL.1 / 2, CELL.1 / 2)),
        _ => None,
    }
}

fn paint(cell: &Cell) -> Paint {
    let (mut ink, mut ground) = (colour(cell.fgcolor(), PLAIN[0]), colour(cell.bgcolor(), PLAIN[1]));
    if cell.inverse() {
        (ink, ground) = (ground, ink);
    }
    Paint { ink, ground, bold: cell.bold(), dim: cell.dim() }
}

fn colour(colour: Color, plain: &'static str) -> &'static str {
    match colour {
        Color::Default => plain,
        Color::Idx(index) => {
            NAMED.iter().find(|(known, _)| *known == index).expect("a colour of the station").1
        }
        Color::Rgb(..) => panic!("the station names its colours"),
    }
}
