//! A run as a JUnit report: one test case for each unit.
//!
//! A unit that fails or needs attention is a failure, and one that could not be checked an error. The top
//! element has the counts, and is rewritten when they are known.

use super::{check::TestedUnit, units::Summary, verdict::Verdict};
use std::io::{self, Seek, SeekFrom, Write};

/// Room for the top element, so that its numbers can be filled in: white space in it has no meaning.
const HEAD_BYTES: usize = 240;

/// A report in progress.
pub struct Junit<W> {
    to: W,
}

impl<W: Write + Seek> Junit<W> {
    /// Begins the report.
    ///
    /// # Errors
    /// The writer's error.
    pub fn begin(mut to: W) -> io::Result<Self> {
        to.write_all(head(&Summary::default()).as_bytes())?;
        Ok(Self { to })
    }

    /// Adds a unit.
    ///
    /// # Errors
    /// The writer's error.
    pub fn write_unit(&mut self, tested: &TestedUnit) -> io::Result<()> {
        let name = escape(&tested.name);
        let case = format!("  <testcase classname=\"unbox.verify\" name=\"{name}\"");
        let Some(first) = tested.judged.findings.first() else {
            return writeln!(self.to, "{case}/>");
        };
        let element = match tested.judged.verdict {
            Verdict::CouldNotCheck => "error",
            Verdict::Pass => "system-out",
            Verdict::Fail | Verdict::NeedsAttention => "failure",
        };
        let reason = first.reason.name();
        let (message, verdict) = (escape(&first.problem), tested.judged.verdict.text());
        writeln!(self.to, "{case}>\n    <{element} type=\"{reason}\" message=\"{verdict}: {message}\">")?;
        for finding in &tested.judged.findings {
            writeln!(self.to, "{}", escape(&finding.to_string()))?;
        }
        writeln!(self.to, "    </{element}>\n  </testcase>")
    }

    /// Ends the report, and fills in the numbers at its top.
    ///
    /// # Errors
    /// The writer's error.
    pub fn end(mut self, summary: &Summary) -> io::Result<()> {
        self.to.write_all(b"</testsuite>\n")?;
        self.to.seek(SeekFrom::Start(0))?;
        self.to.write_all(head(summary).as_bytes())
    }
}

/// Formats the top element, always with the same length.
fn head(summary: &Summary) -> String {
    let element = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"unbox-agent verify\" tests=\"{}\" \
         failures=\"{}\" errors=\"{}\" time=\"{:.3}\"",
        summary.units,
        summary.count(Verdict::Fail) + summary.count(Verdict::NeedsAttention),
        summary.count(Verdict::CouldNotCheck),
        summary.seconds,
    );
    format!("{element:<HEAD_BYTES$}>\n")
}

/// Escapes text for XML (XML 1.0, sections 2.2 and 2.4).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finding, Judgement, Reason};
    use std::io::Cursor;

    #[test]
    fn a_report_counts_and_escapes() {
        let unit = |name: &str, verdict| {
            let finding = Finding::new(Reason::Different, verdict, "\"a\" is <b>.", "Do & tell.");
            let judged = if verdict == Verdict::Pass {
                Judgement::default()
            } else {
                Judgement::from_findings(vec![finding])
            };
            TestedUnit { name: name.to_owned(), judged, identity: None }
        };
        let mut file = Cursor::new(Vec::new());
        let mut junit = Junit::begin(&mut file).unwrap();
        for (name, verdict) in
            [("a<\u{1b}", Verdict::Pass), ("b", Verdict::Fail), ("c", Verdict::CouldNotCheck)]
        {
            junit.write_unit(&unit(name, verdict)).unwrap();
        }
        let summary = Summary {
            units: 3,
            verdicts: [(Verdict::Pass, 1), (Verdict::Fail, 1), (Verdict::CouldNotCheck, 1)].into(),
            seconds: 1.5,
            units_per_second: 2.0,
        };
        junit.end(&summary).unwrap();
        let text = String::from_utf8(file.into_inner()).unwrap();
        let squeezed = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            squeezed,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?> <testsuite name=\"unbox-agent verify\" tests=\"3\" \
             failures=\"1\" errors=\"1\" time=\"1.500\" > <testcase classname=\"unbox.verify\" name=\"a&lt; \"/> \
             <testcase classname=\"unbox.verify\" name=\"b\"> <failure type=\"different\" message=\"FAIL: \
             &quot;a&quot; is &lt;b&gt;.\"> &quot;a&quot; is &lt;b&gt;. Do &amp; tell. </failure> </testcase> \
             <testcase classname=\"unbox.verify\" name=\"c\"> <error type=\"different\" message=\"COULD NOT \
             CHECK: &quot;a&quot; is &lt;b&gt;.\"> &quot;a&quot; is &lt;b&gt;. Do &amp; tell. </error> \
             </testcase> </testsuite>"
        );
    }
}
