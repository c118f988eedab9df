//! The shipped alert rules: each is documented and tested, their own tests pass, and they read what a process exposes.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "alerts/exposed.rs"]
mod exposed;

use std::{fs, path::Path, process::Command};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file")
}

#[test]
fn every_alert_is_explained_to_operators() {
    let (rules, operations) = (read("config/alerts.yml"), read("docs/operations.md"));
    let section = operations.split("\n## Alerts\n").nth(1).expect("a section");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: StateTracker"));
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
        let mut explained = rows.flat_map(|(first, _)| first.split(", "));
        assert!(explained.any(|known| known == name), "{name} has no row");
    }
}

#[test]
fn every_alert_is_tested_to_fire_and_to_be_silent() {
    let (rules, tests) = (read("config/alerts.yml"), read("config/alerts.test.yml"));
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let cases = tests.split("alertname: ").skip(1).filter_map(|case| case.strip_prefix(name));
        // A longer name is another alert.
        let cases = cases.filter(|case| case.starts_with([' ', ',', '\n']));
        let fires = |case: &str| case.trim_start_matches([' ', ',', '\n']).starts_with("exp_alerts");
        let (firing, silent): (Vec<&str>, Vec<&str>) = cases.partition(|case| fires(case));
        assert!(!firing.is_empty() && !silent.is_empty(), "{name} is not tested to fire and to be silent");
    }
}

#[test]
fn every_alert_of_the_chain_says_what_to_do_and_links_to_its_section() {
    let (rules, operations) = (read("config/alerts.yml"), read("docs/operations.md"));
    let (_, rules) = rules.split_once("- name: state-tracker-chain\n").expect("a group");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 5, "{alerts:#?}");
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        let annotation = |key: &str| {
            let begin = format!("{key}: \"");
            alert.lines().find_map(|line| line.trim().strip_prefix(&begin)?.strip_suffix('"'))
        };
        let action = annotation("action").unwrap_or_default();
        assert!(action.len() > 40, "{name} says nothing to do: {action:?}");
        let (page, anchor) = annotation("runbook").and_then(|link| link.split_once('#')).expect("a link");
        let headings = operations.lines().filter(|line| line.starts_with('#'));
        let mut anchors =
            headings.map(|heading| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
        assert!(page == "docs/operations.md" && anchors.any(|known| known == anchor), "{name}: #{anchor}");
    }
}

#[test]
fn the_tests_of_the_rules_pass_where_promtool_is_installed() {
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", "config/alerts.test.yml"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let Ok(output) = promtool.output() else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
