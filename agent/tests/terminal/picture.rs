//! A terminal's screen as an SVG picture, cell by cell.

use std::fmt::Write as _;
use vt100::{Cell, Color, Screen};

/// The size of a cell, in units of the picture.
const CELL: (u32, u32) = (9, 18);
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
pub fn svg(screen: &Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (u32::from(columns) * CELL.0, u32::from(rows) * CELL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
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
        for run in cells.chunk_by(|(one, a), (other, b)| one == other && block(a) == block(b)) {
            draw_run(&mut svg, run, column, y);
            column += u32::try_from(run.len()).unwrap();
        }
    }
    svg + "</svg>\n"
}

/// Cells of one paint, either all text or all the same block.
fn draw_run(svg: &mut String, run: &[(Paint, &str)], column: u32, y: u32) {
    let (paint, first) = &run[0];
    let (x, width) = (column * CELL.0, u32::try_from(run.len()).unwrap() * CELL.0);
    let mut rect = |y: u32, height: u32, fill: &str| {
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>")
            .unwrap();
    };
    if paint.ground != PLAIN[1] {
        rect(y, CELL.1, paint.ground);
    }
    if let Some((from, height)) = block(first) {
        return rect(y + from, height, paint.ink);
    }
    let text: String = run.iter().map(|(_, text)| *text).collect();
    if text.trim().is_empty() {
        return;
    }
    let gap = u32::try_from(text.len() - text.trim_start().len()).unwrap() * CELL.0;
    let text = text.trim().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let length = u32::try_from(text_cells(&text)).unwrap() * CELL.0;
    let weight = if paint.bold { " font-weight=\"bold\"" } else { "" };
    let dim = if paint.dim { " opacity=\"0.65\"" } else { "" };
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" textLength=\"{length}\" xml:space=\"preserve\" fill=\"{}\"{weight}{dim}>{text}</text>",
        x + gap,
        y + 14,
        paint.ink
    )
    .unwrap();
}

fn text_cells(escaped: &str) -> usize {
    escaped.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").chars().count()
}

/// Where in a cell a block is: from, and how high.
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
