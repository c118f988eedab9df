//! Checks what the receiver of alerts got: reports in the form of the original, and at least one where an actor has crashed.

use serde::Deserialize;
use testkit::RelayerCall;

use super::findings::Findings;

/// What receivers of the original read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its form is checked")]
struct Report {
    process_name: String,
    error_msg: String,
    timestamp: String,
    severity: String,
}

/// The differences.
pub(super) fn findings(reports: &[RelayerCall], has_crashed: bool) -> Findings {
    let mut findings = Findings::default();
    for report in reports {
        if let Err(error) = serde_json::from_str::<Report>(&report.body) {
            findings.add(format!("the receiver of alerts could not read `{}`: {error}", report.body));
        }
    }
    if has_crashed && reports.is_empty() {
        findings.add("actors crashed, and the receiver of alerts got no report".to_owned());
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use testkit::RelayerAnswer;

    use super::*;

    fn report(body: &str) -> RelayerCall {
        let (path, body) = ("/alerts".to_owned(), body.to_owned());
        RelayerCall { at: Instant::now(), path, key: None, body, answer: RelayerAnswer::Accept }
    }

    #[test]
    fn a_report_of_another_form_and_a_crash_without_one_are_found() {
        let good = r#"{"process_name":"a","error_msg":"b","timestamp":"c","severity":"High"}"#;
        assert_eq!(findings(&[report(good)], true), Findings::default());
        assert_eq!(findings(&[], false), Findings::default());
        for (reports, found) in
            [(vec![], "got no report"), (vec![report(r#"{"process_name":"a"}"#)], "could not read")]
        {
            assert!(findings(&reports, true).all()[0].contains(found));
        }
    }
}
