//! What the doctor hands over: findings, memory, and what it looked at; for people and for programs. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use serde::Serialize;

use super::census::Memory;
use super::finding::{Finding, Severity};
use crate::exit::{ERRORS, Exit, SUCCESS, WARNINGS};

/// How many families of keys are shown to people.
const FAMILIES_SHOWN: usize = 20;

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server, as it may be shown.
    pub redis: String,
    /// When the doctor began to look, in Unix seconds.
    pub at: u64,
    /// The worst severity that was found.
    pub worst: Option<Severity>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Which keys were looked at.
    pub keys: Keys,
    /// What the families of keys take in memory, the largest first.
    pub memory: Vec<Memory>,
}

/// Which keys were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Keys {
    /// How many.
    pub looked_at: u64,
    /// How many there were when the doctor began.
    pub of: u64,
    /// Whether that was all of them; else what is said of keys and memory is a sample.
    pub all: bool,
    /// How long that took, in seconds.
    pub seconds: f64,
}

impl Report {
    /// Puts a report together: the worst findings first, each key of a wrong type once.
    #[must_use]
    pub fn new(redis: String, at: u64, mut findings: Vec<Finding>, keys: Keys, memory: Vec<Memory>) -> Self {
        let mut met = BTreeSet::new();
        // A type is found to be wrong by its name, and again by who can't read the key.
        findings.retain(|finding| finding.check != "wrong_type" || met.insert(finding.object.clone()));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let worst = findings.iter().map(|finding| finding.severity).max();
        Self { redis, at, worst, findings, keys, memory }
    }

    /// The exit code: 0 when nothing above a note was found, 3 for warnings, 4 for errors.
    #[must_use]
    pub fn exit_code(&self) -> Exit {
        match self.worst {
            None | Some(Severity::Note) => SUCCESS,
            Some(Severity::Warning) => WARNINGS,
            Some(Severity::Error) => ERRORS,
        }
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        for Finding { severity, check, object, problem, remedy } in &self.findings {
            let _ = writeln!(text, "{:7} {object}", severity.as_str());
            let _ = writeln!(text, "        {problem} [{check}]");
            let _ = writeln!(text, "        → {remedy}");
        }
        let all: u64 = self.memory.iter().map(|family| family.bytes).sum();
        let _ = writeln!(text, "{:>12} {:>9} {:>6}  family of keys", "bytes", "keys", "share");
        for Memory { family, keys, bytes, .. } in self.memory.iter().take(FAMILIES_SHOWN) {
            let share = 100.0 * *bytes as f64 / all.max(1) as f64;
            let _ = writeln!(text, "{bytes:>12} {keys:>9} {share:>5.1}%  {family}");
        }
        if self.memory.len() > FAMILIES_SHOWN {
            let _ = writeln!(text, "… and {} smaller ones", self.memory.len() - FAMILIES_SHOWN);
        }
        let Keys { looked_at, of, all, seconds } = self.keys;
        let sample = if all { "" } else { ": a sample" };
        let _ =
            writeln!(text, "{}: looked at {looked_at} of {of} keys in {seconds:.1} s{sample}", self.redis);
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let [errors, warnings, notes] = [Severity::Error, Severity::Warning, Severity::Note].map(count);
        let _ = writeln!(text, "errors: {errors}, warnings: {warnings}, notes: {notes}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        let keys = Keys { looked_at: 5, of: 5, all: true, seconds: 0.1 };
        Report::new("redis:6379/0".to_owned(), 7, findings, keys, Vec::new())
    }

    #[test]
    fn the_exit_code_follows_the_worst_finding() {
        let note = Finding::note("a", "x", "p", "r");
        let warning = Finding::warning("b", "x", "p", "r");
        let error = Finding::error("c", "x", "p", "r");
        assert_eq!(report(vec![]).exit_code().code, 0);
        assert_eq!(report(vec![note.clone()]).exit_code().code, 0);
        assert_eq!(report(vec![note.clone(), warning.clone()]).exit_code().code, 3);
        let all = report(vec![note, warning, error]);
        assert_eq!(all.exit_code().code, 4);
        assert_eq!(all.findings[0].check, "c", "the worst comes first");
    }

    #[test]
    fn a_type_that_was_found_wrong_in_two_ways_is_told_once_and_nothing_else_is_left_out() {
        let found = report(vec![
            Finding::error("wrong_type", "key", "it is a list", "r"),
            Finding::error("wrong_type", "key", "WRONGTYPE", "r"),
            Finding::error("wrong_type", "other", "it is a list", "r"),
            Finding::error("acl", "key", "no SET", "r"),
            Finding::error("acl", "key", "no DEL", "r"),
        ]);
        let checks: Vec<_> = found.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["wrong_type", "wrong_type", "acl", "acl"]);
        assert!(found.to_text().ends_with("errors: 4, warnings: 0, notes: 0\n"));
    }

    #[test]
    fn people_and_programs_are_told_what_was_only_a_sample() {
        let keys = Keys { looked_at: 5, of: 500, all: false, seconds: 0.1 };
        let memory = vec![Memory { family: "P:M:stats:daily".to_owned(), keys: 1, bytes: 300, measured: 1 }];
        let report = Report::new("redis".to_owned(), 7, Vec::new(), keys, memory);
        assert!(report.to_text().contains("looked at 5 of 500 keys in 0.1 s: a sample"));
        assert!(report.to_text().contains("100.0%  P:M:stats:daily"));
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!((&json["keys"]["all"], &json["memory"][0]["bytes"]), (&false.into(), &300.into()));
    }
}
