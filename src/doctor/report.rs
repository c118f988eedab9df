//! The report of the doctor, as text and as JSON: findings, memory by family, extent of the examination. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use serde::Serialize;

use super::census::Memory;
use super::finding::{Finding, Severity};
use crate::escape::{escaped, shortened};
use crate::exit::{ERRORS, Exit, SUCCESS, WARNINGS};

/// How many families of keys the text shows.
const FAMILIES_SHOWN: usize = 20;
/// The longest name that the text shows, in characters.
const LONGEST_NAME: usize = 200;

/// A report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server, without user name and password.
    pub redis: String,
    /// The start of the examination, in Unix seconds.
    pub at: u64,
    /// The worst severity of all findings.
    pub worst: Option<Severity>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// The extent of the examination of keys.
    pub keys: Keys,
    /// The memory of each family of keys, the largest first.
    pub memory: Vec<Memory>,
    /// The watch of the datasets, with `--watch`.
    pub watched: Option<Watched>,
}

/// The extent of the examination of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Keys {
    /// How many keys were examined.
    pub examined: u64,
    /// How many keys there were at the start.
    pub total: u64,
    /// Whether these were all keys. If not, the findings about keys and the memory are those of a sample.
    pub complete: bool,
    /// The duration, in seconds.
    pub seconds: f64,
}

/// The watch of the datasets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Watched {
    /// How many markets were watched.
    pub markets: usize,
    /// The duration, in seconds.
    pub seconds: f64,
    /// How often the datasets were read.
    pub reads: usize,
    /// Whether all datasets were fresh at the end and had one writer.
    pub is_well: bool,
}

/// The datasets that are watched.
pub(crate) const WATCHED: &str = "dashboard:summary and metrics:current_epoch";

/// A count with its noun.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl Report {
    /// A report with the worst findings first. A key of a wrong type is reported once.
    #[must_use]
    pub fn new(redis: String, at: u64, mut findings: Vec<Finding>, keys: Keys, memory: Vec<Memory>) -> Self {
        let mut met = BTreeSet::new();
        // Census and pass both find a wrong type. The first finding is that of the census, which knows the present type.
        findings.retain(|finding| finding.check != "wrong_type" || met.insert(finding.object.clone()));
        // The sort is stable: findings of one severity keep the order of the examination.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let worst = findings.iter().map(|finding| finding.severity).max();
        Self { redis, at, worst, findings, keys, memory, watched: None }
    }

    /// The exit code: 0 without warnings and errors, 3 for warnings, 4 for errors.
    #[must_use]
    pub fn exit_code(&self) -> Exit {
        match self.worst {
            None | Some(Severity::Note) => SUCCESS,
            Some(Severity::Warning) => WARNINGS,
            Some(Severity::Error) => ERRORS,
        }
    }

    /// The report as text. Text from outside is escaped.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        for Finding { severity, check, object, problem, remedy } in &self.findings {
            let _ = writeln!(text, "{:7} {}", severity.as_str(), shortened(object, LONGEST_NAME));
            let _ = writeln!(text, "        {} [{check}]", escaped(problem));
            let _ = writeln!(text, "        → {}", escaped(remedy));
        }
        let all: u64 = self.memory.iter().map(|family| family.bytes).sum();
        let _ = writeln!(text, "{:>12} {:>9} {:>6}  family of keys", "bytes", "keys", "share");
        for Memory { family, keys, bytes, .. } in self.memory.iter().take(FAMILIES_SHOWN) {
            let share = 100.0 * *bytes as f64 / all.max(1) as f64;
            let family = shortened(family, LONGEST_NAME);
            let _ = writeln!(text, "{bytes:>12} {keys:>9} {share:>5.1}%  {family}");
        }
        if self.memory.len() > FAMILIES_SHOWN {
            let _ = writeln!(text, "… and {} smaller families", self.memory.len() - FAMILIES_SHOWN);
        }
        let Keys { examined, total, complete, seconds } = self.keys;
        // A sample proves no absence: the reader must know that other keys may have faults.
        let sample = if complete { "" } else { ": a sample" };
        let redis = escaped(&self.redis);
        let _ = writeln!(text, "{redis}: examined {examined} of {total} keys in {seconds:.1} s{sample}");
        if let Some(Watched { markets, seconds, reads, is_well }) = self.watched {
            let verdict = if is_well { "all fresh, and written by one program" } else { "see the findings" };
            let markets = counted(markets, "market");
            let _ = writeln!(
                text,
                "watched {WATCHED} of {markets} for {seconds:.0} s ({reads} reads): {verdict}"
            );
        }
        let count = |wanted| self.findings.iter().filter(|finding| finding.severity == wanted).count();
        let [errors, warnings, notes] = [Severity::Error, Severity::Warning, Severity::Note].map(count);
        // The last line is what an operator sees first in a terminal.
        let verdict = if errors + warnings == 0 { ": all is well" } else { "" };
        let _ = writeln!(text, "errors: {errors}, warnings: {warnings}, notes: {notes}{verdict}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> Report {
        let keys = Keys { examined: 5, total: 5, complete: true, seconds: 0.1 };
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
    fn a_wrong_type_is_reported_once_and_nothing_else_is_dropped() {
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
    fn text_and_json_say_that_keys_and_memory_are_a_sample() {
        let keys = Keys { examined: 5, total: 500, complete: false, seconds: 0.1 };
        let memory = vec![Memory { family: "P:M:stats:daily".to_owned(), keys: 1, bytes: 300, measured: 1 }];
        let report = Report::new("redis".to_owned(), 7, Vec::new(), keys, memory);
        assert!(report.to_text().contains("examined 5 of 500 keys in 0.1 s: a sample"));
        assert!(report.to_text().contains("100.0%  P:M:stats:daily"));
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!((&json["keys"]["complete"], &json["memory"][0]["bytes"]), (&false.into(), &300.into()));
    }

    #[test]
    fn the_verdict_says_that_all_is_well_and_what_was_watched() {
        let watched = |is_well| Some(Watched { markets: 2, seconds: 60.2, reads: 120, is_well });
        let well =
            Report { watched: watched(true), ..report(vec![Finding::note("a", "x", "p", "r")]) }.to_text();
        let line = "watched dashboard:summary and metrics:current_epoch of 2 markets for 60 s (120 reads): all fresh";
        assert!(
            well.contains(line) && well.ends_with("errors: 0, warnings: 0, notes: 1: all is well\n"),
            "{well}"
        );
        let ill =
            Report { watched: watched(false), ..report(vec![Finding::error("a", "x", "p", "r")]) }.to_text();
        assert!(ill.contains("reads): see the findings") && !ill.contains("all is well"), "{ill}");
    }

    #[test]
    fn no_text_from_outside_reaches_the_terminal_unescaped() {
        let finding = Finding::error("a", "P:M:\x1b]0;x\x07\n", "it holds \u{9b}2J", "none\u{2028}");
        let memory = Memory { family: "\x1b[2J".to_owned(), keys: 1, bytes: 1, measured: 1 };
        let text = Report { memory: vec![memory], ..report(vec![finding]) }.to_text();
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
        assert!(text.contains("P:M:\\u{1b}]0;x"), "{text}");
    }
}
