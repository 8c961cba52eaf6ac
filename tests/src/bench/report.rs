//! The measurements, as a table for people and as JSON for programs.

use serde::Serialize;
use std::fmt;

/// All measurements of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The circumstances, in one sentence.
    pub circumstances: String,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The name of the figure.
    pub what: String,
    /// The measured value.
    #[serde(flatten)]
    pub measured: Quantity,
    /// The target.
    pub target: Option<Target>,
    /// The floor or the peer of the same run, in words.
    pub beside: String,
}

/// A number and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantity {
    /// The number.
    pub value: f64,
    /// The unit.
    pub unit: Unit,
}

/// The units of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Microseconds.
    #[serde(rename = "us")]
    Micros,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
    /// Seconds.
    #[serde(rename = "s")]
    Secs,
    /// A rate per second.
    #[serde(rename = "/s")]
    PerSecond,
    /// Mebibytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Megabytes.
    #[serde(rename = "MB")]
    Megabytes,
    /// A ratio to something else.
    #[serde(rename = "of the floor")]
    OfTheFloor,
}

/// The target of a figure, in its own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Row {
    /// Makes a figure without a target.
    pub(super) fn new(what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { what: what.into(), measured: Quantity { value, unit }, target: None, beside: String::new() }
    }

    pub(super) fn at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtMost(limit));
        self
    }

    pub(super) fn at_least(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtLeast(limit));
        self
    }

    pub(super) fn with_floor(mut self, floor: impl Into<String>) -> Self {
        self.beside = floor.into();
        self
    }

    /// Whether it reached its target; `None` without one.
    #[must_use]
    pub fn is_reached(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtMost(limit) => self.measured.value <= limit,
            Target::AtLeast(limit) => self.measured.value >= limit,
        })
    }

    fn describe_target(&self) -> String {
        let unit = self.measured.unit;
        let sign = match self.target {
            None => return String::new(),
            Some(Target::AtMost(_)) => "at most",
            Some(Target::AtLeast(_)) => "at least",
        };
        let (Some(Target::AtMost(limit) | Target::AtLeast(limit)), Some(reached)) =
            (self.target, self.is_reached())
        else {
            return String::new();
        };
        let verdict = if reached { "" } else { ": **missed**" };
        format!("{sign} {}{verdict}", Quantity { value: limit, unit })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match self.unit {
            Unit::Micros => write!(f, "{value:.0} us"),
            Unit::Millis => write!(f, "{} ms", format_significant(value)),
            Unit::Secs => write!(f, "{} s", format_significant(value)),
            Unit::PerSecond => write!(f, "{} per second", format_grouped(value)),
            Unit::Mebibytes => write!(f, "{} MiB", format_significant(value)),
            Unit::Megabytes => write!(f, "{} MB", format_significant(value)),
            Unit::OfTheFloor => write!(f, "{value:.2} of the floor"),
        }
    }
}

/// Formats with two decimal places, where they matter.
fn format_significant(value: f64) -> String {
    let places = match value {
        value if value.fract() == 0.0 => 0,
        value if value < 1.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

/// Formats with commas between thousands.
pub(super) fn format_grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    /// Formats the report in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.circumstances)?;
        writeln!(f, "| what | measured | target | floor or peer, same run |\n|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(f, "| {} | {} | {} | {} |", row.what, row.measured, row.describe_target(), row.beside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_said() {
        let cpu = Row::new("CPU", 0.62, Unit::Millis).at_most(0.6).with_floor("floor 0.3 ms");
        let rate = Row::new("Rate", 1712.0, Unit::PerSecond).at_least(1500.0);
        let report = Report { circumstances: "Here and now.".to_owned(), rows: vec![cpu, rate] };
        assert_eq!(
            report.to_string(),
            "Here and now.\n
| what | measured | target | floor or peer, same run |
|---|---|---|---|
| CPU | 0.62 ms | at most 0.60 ms: **missed** | floor 0.3 ms |
| Rate | 1,712 per second | at least 1,500 per second |  |
"
        );
    }

    #[test]
    fn numbers_are_as_exact_as_they_are_worth() {
        for (value, unit, shown) in [
            (0.0551, Unit::Millis, "0.06 ms"),
            (12.34, Unit::Mebibytes, "12.3 MiB"),
            (24.0, Unit::Mebibytes, "24 MiB"),
            (1_234_567.0, Unit::PerSecond, "1,234,567 per second"),
            (999.6, Unit::PerSecond, "1,000 per second"),
            (0.805, Unit::OfTheFloor, "0.81 of the floor"),
        ] {
            assert_eq!(Quantity { value, unit }.to_string(), shown);
        }
    }

    #[test]
    fn programs_read_the_same_figures() {
        let row = Row::new("CPU", 0.5, Unit::Millis).at_most(0.6);
        assert_eq!(
            serde_json::to_value(&row).unwrap(),
            serde_json::json!({
                "what": "CPU", "value": 0.5, "unit": "ms", "target": {"at_most": 0.6}, "beside": ""
            })
        );
    }
}
