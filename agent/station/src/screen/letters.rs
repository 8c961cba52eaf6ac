//! The letters of the verdicts, large enough to be read across a hall.

/// The size of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Five rows high.
    Large,
    /// Three rows high, drawn in half blocks.
    Small,
}

/// Returns the rows of a letter, a bit for each point, the lowest one at the right.
const fn letter(char: char) -> (u32, [u8; 5]) {
    let rows = match char {
        'A' => [0b010, 0b101, 0b111, 0b101, 0b101],
        'C' => [0b111, 0b100, 0b100, 0b100, 0b111],
        'D' => [0b110, 0b101, 0b101, 0b101, 0b110],
        'E' => [0b111, 0b100, 0b110, 0b100, 0b111],
        'F' => [0b111, 0b100, 0b110, 0b100, 0b100],
        'G' => [0b111, 0b100, 0b101, 0b101, 0b111],
        'H' => [0b101, 0b101, 0b111, 0b101, 0b101],
        'I' => [0b111, 0b010, 0b010, 0b010, 0b111],
        'K' => [0b101, 0b101, 0b110, 0b101, 0b101],
        'L' => [0b100, 0b100, 0b100, 0b100, 0b111],
        'N' => return (4, [0b1001, 0b1101, 0b1011, 0b1001, 0b1001]),
        'O' => [0b111, 0b101, 0b101, 0b101, 0b111],
        'P' => [0b111, 0b101, 0b111, 0b100, 0b100],
        'R' => [0b110, 0b101, 0b110, 0b101, 0b101],
        'S' => [0b111, 0b100, 0b111, 0b001, 0b111],
        'T' => [0b111, 0b010, 0b010, 0b010, 0b010],
        'U' => [0b101, 0b101, 0b101, 0b101, 0b111],
        'Y' => [0b101, 0b101, 0b010, 0b010, 0b010],
        _ => return (2, [0; 5]),
    };
    (3, rows)
}

/// Draws a word as rows of a terminal, all equally wide.
#[must_use]
pub fn rows(word: &str, size: Size) -> Vec<String> {
    let points: Vec<Vec<bool>> = (0..5_usize).map(|row| points(word, row)).collect();
    let at = |row: usize, column: usize| points.get(row).and_then(|row| row.get(column)) == Some(&true);
    let width = points.first().map_or(0, Vec::len);
    match size {
        Size::Large => (0..5)
            .map(|row| (0..width).map(|column| if at(row, column) { "██" } else { "  " }).collect())
            .collect(),
        Size::Small => (0..3)
            .map(|row| {
                let half = |column| match (at(2 * row, column), at(2 * row + 1, column)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                };
                (0..width).map(half).collect()
            })
            .collect(),
    }
}

/// Returns one row of points, with a gap between letters and none at the end.
fn points(word: &str, row: usize) -> Vec<bool> {
    let mut points = Vec::new();
    for char in word.chars() {
        let (width, rows) = letter(char);
        let bits = rows.get(row).copied().unwrap_or_default();
        points.extend((0..width).rev().map(|bit| bits >> bit & 1 == 1));
        points.push(false);
    }
    points.pop();
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    #[test]
    fn a_word_is_drawn_in_two_sizes() {
        assert_eq!(rows("IN", Size::Small), ["▀█▀ █▄ █", " █  █ ▀█", "▀▀▀ ▀  ▀"]);
        assert_eq!(rows("L", Size::Large), ["██    ", "██    ", "██    ", "██    ", "██████"]);
    }

    #[test]
    fn every_verdict_has_its_letters() {
        let words = Verdict::ALL.map(Verdict::text);
        for char in words.iter().chain(&["READY", "TESTING"]).flat_map(|word| word.chars()) {
            assert_eq!(letter(char).1 == [0; 5], char == ' ', "{char}");
        }
    }
}
