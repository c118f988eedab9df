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
fn the_tests_of_the_rules_pass_where_promtool_is_installed() {
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", "config/alerts.test.yml"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let Ok(output) = promtool.output() else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
