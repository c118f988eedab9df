//! The shipped alert rules: their limits are those of the default configuration, each is documented, and their own tests pass.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::{fs, path::Path, process::Command};

use actors::env::stale_after;
use state_tracker::config::Config;
use store_tracker::{
    Dataset, Intervals,
    datasets::{DAILY, HOURLY},
};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file")
}

#[test]
fn statistics_are_late_after_the_limit_of_their_default_interval() {
    let required = [("PROTOCOL_STATE_CONTRACT", "P"), ("DATA_MARKET_ADDRESSES", "M")];
    let config = Config::load(None, required).expect("the defaults").config;
    let (summary, hourly, daily) =
        (config.intervals.summary, config.intervals.hourly, config.intervals.daily);
    let intervals = Intervals { summary, hourly, daily, current_epoch: config.intervals.current_epoch };
    let limit = |dataset: &Dataset| stale_after(dataset.interval(&intervals)).as_secs();
    let rules = read("config/alerts.yml");
    for (dataset, label) in [(&HOURLY, "hourly_stats"), (&DAILY, "daily_stats")] {
        let rule =
            format!("state_tracker_dataset_age_seconds{{dataset_type=\"{label}\"}} > {}\n", limit(dataset));
        assert!(dataset.label == Some(label) && rules.contains(&rule), "{rule}");
    }
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
fn every_alert_of_the_chain_says_what_to_do_and_links_to_its_section() {
    let (rules, tests) = (read("config/alerts.yml"), read("config/alerts.test.yml"));
    let operations = read("docs/operations.md");
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
        let tested = |expected: bool| {
            let cases = tests
                .split("alertname: ")
                .skip(1)
                .filter(|case| case.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '\n'])));
            cases.filter(|case| case[name.len()..].trim_start().starts_with("exp_alerts") == expected).count()
        };
        assert!(tested(true) > 0 && tested(false) > 0, "{name} is not tested to fire and to be silent");
    }
}

#[test]
fn the_tests_of_the_rules_pass_where_promtool_is_installed() {
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", "config/alerts.test.yml"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let Ok(output) = promtool.output() else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
