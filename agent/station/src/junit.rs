//! A run as a JUnit report: one test case for each unit.
//!
//! A unit that fails or needs attention is a failure, and one that could not be checked an error.

use super::{check::TestedUnit, units::Summary, verdict::Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::{
    io::{self, Write},
    time::Duration,
};

/// The name of the report and of its only suite.
const NAME: &str = "unbox-agent verify";

/// A report in progress.
pub struct Junit(TestSuite);

impl Default for Junit {
    fn default() -> Self {
        Self(TestSuite::new(NAME))
    }
}

impl Junit {
    /// Adds a unit.
    pub fn add_unit(&mut self, tested: &TestedUnit) {
        let findings = &tested.judged.findings;
        let text = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut status = match tested.judged.verdict {
            Verdict::Pass => TestCaseStatus::success(),
            Verdict::CouldNotCheck => TestCaseStatus::non_success(NonSuccessKind::Error),
            Verdict::Fail | Verdict::NeedsAttention => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        // A success takes none of it.
        if let Some(first) = findings.first() {
            status
                .set_type(first.reason.name())
                .set_message(format!("{}: {}", tested.judged.verdict.text(), first.problem))
                .set_description(&*text);
        }
        let mut case = TestCase::new(tested.name.as_str(), status);
        case.set_classname("unbox.verify");
        if tested.judged.verdict == Verdict::Pass && !text.is_empty() {
            case.set_system_out(text);
        }
        self.0.add_test_case(case);
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The writer's error.
    pub fn write(mut self, to: impl Write, summary: &Summary) -> io::Result<()> {
        let took = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default();
        self.0.set_time(took);
        let mut report = Report::new(NAME);
        report.set_time(took).add_test_suite(self.0);
        report.serialize(to).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finding, Judgement, Reason};

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
        let mut junit = Junit::default();
        for (name, verdict) in
            [("a<\u{1b}", Verdict::Pass), ("b", Verdict::Fail), ("c", Verdict::CouldNotCheck)]
        {
            junit.add_unit(&unit(name, verdict));
        }
        let mut written = Vec::new();
        junit.write(&mut written, &Summary { seconds: 1.5, ..Summary::default() }).unwrap();
        let text = String::from_utf8(written).unwrap();
        let squeezed = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let counts = "tests=\"3\" skipped=\"0\"";
        let problem = "&quot;a&quot; is &lt;b&gt;.";
        assert_eq!(
            squeezed,
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?> <testsuites name=\"{NAME}\" {counts} failures=\"1\" \
                 errors=\"1\" time=\"1.500\"> <testsuite name=\"{NAME}\" {counts} errors=\"1\" failures=\"1\" \
                 time=\"1.500\"> <testcase name=\"a&lt;\" classname=\"unbox.verify\"/> <testcase name=\"b\" \
                 classname=\"unbox.verify\"> <failure message=\"FAIL: {problem}\" type=\"different\">{problem} Do \
                 &amp; tell.</failure> </testcase> <testcase name=\"c\" classname=\"unbox.verify\"> <error \
                 message=\"COULD NOT CHECK: {problem}\" type=\"different\">{problem} Do &amp; tell.</error> \
                 </testcase> </testsuite> </testsuites>"
            )
        );
    }
}
