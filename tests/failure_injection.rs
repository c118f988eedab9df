//! Failure points as users arm them: in a test of their own, whose example the documentation shows, and by the environment of
//! a process.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "failure_injection/example.rs"]
mod example;

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

use common::environment;

const VARIABLE: &str = "STATE_TRACKER_FAILURE_POINTS";

/// Nothing listens there: no verdict below needs Redis.
fn with(text: &str) -> BTreeMap<String, String> {
    let mut environment = environment(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    environment.insert(VARIABLE.to_owned(), text.to_owned());
    environment
}

fn state_tracker(args: &[&str], text: &str) -> Output {
    // A service that is not refused would run for ever.
    let mut command = Command::new("timeout");
    command
        .args(["30", env!("CARGO_BIN_EXE_state-tracker")])
        .args(args)
        .env_clear()
        .envs(with(text))
        .output()
        .expect("it runs")
}

fn is_refused(args: &[&str], text: &str, said: &[&str]) -> String {
    let output = state_tracker(args, text);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(78), &b""[..]), "{args:?}: {stderr}");
    for part in said {
        assert!(stderr.contains(part), "{args:?} {text}: no {part:?} in {stderr}");
    }
    assert!(stderr.contains("Nothing was started") && !stderr.contains("endpoints are open"), "{stderr}");
    stderr
}

#[test]
fn the_documentation_shows_the_example_that_runs_here() {
    let page = include_str!("../docs/failure-injection.md");
    assert!(page.contains(include_str!("failure_injection/example.rs")), "docs/failure-injection.md differs");
}

/// Of a build without the feature: `cargo test --package state-tracker --test failure_injection`.
#[cfg(not(feature = "failure-points"))]
#[test]
fn a_build_without_failure_points_starts_nothing_where_some_are_armed() {
    let said = ["this build has no failure points", "cargo build --release --features failure-points"];
    for args in [&[][..], &["run"], &["check"], &["check", "--json"]] {
        is_refused(args, "pruner::before_pause=panic", &said);
    }
    assert_eq!(state_tracker(&["check"], "").status.code(), Some(0), "empty counts as not set");
}

#[cfg(feature = "failure-points")]
mod armed {
    use common::{MARKETS, Process, SOON};
    use serde_json::{Value, json};
    use testkit::{RedisServer, wait_until};

    use super::*;

    #[test]
    fn run_and_check_refuse_a_failure_point_that_would_never_act_in_the_same_words() {
        for (text, said) in [
            ("aggregator::before_comit=panic", "did you mean aggregator::before_commit?"),
            ("nonsense=panic", "docs/reference/failure-points.md lists them"),
            ("aggregator::before_commit=panic*0", "TIMES at least 1"),
            ("aggregator::before_commit=explode", "FAULT one of"),
            ("aggregator::before_commit@agregator=panic", "no actor has a path that ends with agregator"),
            ("aggregator::before_commit@pruner=panic", "none has a path that ends with pruner"),
            ("cleaner::before_pause=panic", "this configuration runs no cleaner"),
            (",", "it names no failure point"),
        ] {
            let of_run = is_refused(&["run"], text, &[VARIABLE, said]);
            assert_eq!(of_run, is_refused(&["check"], text, &[]), "{text}");
        }
    }

    #[test]
    fn check_shows_what_is_armed_in_plain_words() {
        let output =
            state_tracker(&["check"], "aggregator::before_commit=panic*3, pruner::before_pause=hang");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0), "{said}");
        let [one, two] = MARKETS.map(|market| format!("markets/{market}/aggregator"));
        let points = format!(
            "\nFailure points:\n\
             aggregator::before_commit: panics at the next 3 passages, counted over 2 actors: {one}, {two}\n\
             pruner::before_pause: hangs until it is killed, at every passage of pruner\n"
        );
        assert!(said.contains(&points), "{said}");
        let verdict = "The configuration is valid. 2 failure points are armed.\n";
        assert!(said.starts_with(verdict) && said.ends_with(verdict), "{said}");

        let none = String::from_utf8(state_tracker(&["check"], "").stdout).expect("UTF-8");
        assert!(
            none.starts_with("The configuration is valid.\n") && !none.contains("Failure points"),
            "{none}"
        );
    }

    #[test]
    fn check_gives_the_armed_points_to_scripts() {
        let actor = format!("{}/aggregator", MARKETS[1]);
        let output = state_tracker(&["check", "--json"], &format!("aggregator::after_read@{actor}=error*2"));
        let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let expected = json!([{
            "point": "aggregator::after_read", "fault": "error", "times": 2, "actors": [format!("markets/{actor}")]
        }]);
        assert_eq!(json["failure_points"], expected);
        let output = state_tracker(&["check", "--json"], "");
        let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(json["failure_points"], json!([]));
    }

    /// The three places where the documentation tells operators to verify a restart.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_failure_armed_by_the_environment_is_in_log_metrics_and_health() {
        let redis = RedisServer::start().await.expect("a Redis server");
        let path = format!("markets/{}/aggregator", MARKETS[0]);
        let mut environment = environment(redis.addr());
        environment.insert(VARIABLE.to_owned(), format!("aggregator::before_commit@{path}=panic*2"));
        let process = Process::start(&environment).await;
        let metrics = [
            format!("state_tracker_actor_restarts_total{{actor=\"{path}\"}} 2"),
            format!("state_tracker_actor_exits_total{{actor=\"{path}\",reason=\"panicked\"}} 2"),
        ];
        wait_until("the actor is restarted twice", SOON, async || {
            let page = process.get(process.metrics, "/metrics").await.1;
            metrics.iter().all(|metric| page.lines().any(|line| line == metric))
        })
        .await;
        process.wait_ready().await;
        let health: Value =
            serde_json::from_str(&process.get(process.operator, "/health").await.1).expect("JSON");
        let actor = health["actors"].as_array().expect("actors").iter().find(|actor| actor["path"] == *path);
        let actor = actor.expect("the aggregator");
        assert_eq!((&actor["generation"], &actor["exits"]["panicked"]), (&json!(3), &json!(2)), "{actor}");
        assert_eq!(actor["last_crash"]["kind"], "panicked", "{actor}");
        let (mut log, crash) =
            (process.log.clone(), "the actor crashed: the failure point aggregator::before_commit");
        let crashes =
            |log: &str| log.lines().filter(|line| line.contains(crash) && line.contains(&path)).count();
        // The metrics may be ahead of the log.
        let complete = tokio::time::timeout(SOON, log.wait_for(|log| crashes(log) == 2)).await.is_ok();
        let log = process.log.borrow().clone();
        let armed = format!("aggregator::before_commit: panics at the next 2 passages of {path}");
        assert!(complete && log.contains(&format!("a failure point is armed: {armed}")), "{log}");
    }
}
