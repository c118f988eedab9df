//! The rules against what a running process exposes: each series that an alert reads is there, with these labels and of this
//! type, and no alert fires for a process in which all is well, whatever its parts and the name of its job.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    process::Command,
};

use redis::aio::MultiplexedConnection;
use testkit::{Emission, RedisServer, RelayerServer, contents::query, wait_until, world::World};

use super::{
    common::{MARKETS, Process, SOON, environment, following, with},
    read,
};

/// One series of a scrape.
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
}

/// What a process exposes.
struct Exposed {
    kinds: BTreeMap<String, String>,
    series: Vec<Series>,
}

impl Exposed {
    fn parse(text: &str) -> Self {
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds = kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.split("\",").filter_map(|label| {
                let (name, value) = label.split_once("=\"")?;
                Some((name.to_owned(), value.trim_end_matches('}').trim_end_matches('"').to_owned()))
            });
            Some(Series { name: name.to_owned(), labels: labels.collect(), value: value.to_owned() })
        });
        Self { kinds, series: series.collect() }
    }

    /// Whether each series that a selector asks for is there.
    fn has(&self, name: &str, matchers: &[Matcher]) -> bool {
        let agrees = |series: &&Series| {
            let of_name = series.name == name;
            of_name && matchers.iter().all(|matcher| matcher.agrees(series.labels.get(&matcher.label)))
        };
        let found: Vec<&Series> = self.series.iter().filter(agrees).collect();
        // Of a choice of values each is there.
        let all_there = |matcher: &Matcher| {
            let there = |value: &&str| {
                found.iter().any(|series| like(value, series.labels.get(&matcher.label).map_or("", |v| v)))
            };
            matcher.operator == "!=" || matcher.value.split('|').collect::<Vec<_>>().iter().all(there)
        };
        !found.is_empty() && matchers.iter().all(all_there)
    }
}

/// Whether a text is like a pattern that has at most one `.+`.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once(".+") {
        Some((before, after)) => {
            text.len() > before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
        None => pattern == text,
    }
}

struct Matcher {
    label: String,
    operator: String,
    value: String,
}

impl Matcher {
    fn agrees(&self, value: Option<&String>) -> bool {
        let value = value.map_or("", |value| value);
        match self.operator.as_str() {
            "!=" => value != self.value,
            _ => self.value.split('|').any(|pattern| like(pattern, value)),
        }
    }
}

/// The expression of each alert.
fn expressions(rules: &str) -> Vec<(&str, String)> {
    let rules = rules.split("- alert: ").skip(1).map(|rule| {
        let (name, rest) = rule.split_once('\n').expect("a name");
        let lines = rest.lines().skip_while(|line| !line.trim_start().starts_with("expr:"));
        let until = |line: &&str| !["for:", "labels:"].iter().any(|key| line.trim_start().starts_with(key));
        let lines = lines.take_while(until).filter(|line| !line.trim_start().starts_with('#'));
        (name, lines.collect::<Vec<_>>().join(" ").replacen("expr:", "", 1))
    });
    rules.collect()
}

/// The selectors of an expression: the function around it, if any, the name, and the matchers.
fn selectors(expression: &str) -> Vec<(String, String, Vec<Matcher>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut all = Vec::new();
    for (at, name) in expression.match_indices(is_name).fold(Vec::<(usize, String)>::new(), joined) {
        if !name.starts_with("state_tracker_") && !name.starts_with("process_") {
            continue;
        }
        let before = &expression[..at];
        let function = before.strip_suffix('(').map(|text| text.rsplit(|c| !is_name(c)).next().unwrap_or(""));
        let rest = &expression[at + name.len()..];
        let matchers =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(all, _)| all);
        let matchers = matchers.split(',').filter_map(|matcher| {
            let operator = ["=~", "!=", "="].into_iter().find(|operator| matcher.contains(operator))?;
            let (label, value) = matcher.split_once(operator)?;
            let (operator, value) = (operator.to_owned(), value.trim_matches('"').to_owned());
            Some(Matcher { label: label.to_owned(), operator, value })
        });
        all.push((function.unwrap_or("").to_owned(), name, matchers.collect()));
    }
    all
}

/// Joins the characters of a name.
fn joined(mut names: Vec<(usize, String)>, (at, character): (usize, &str)) -> Vec<(usize, String)> {
    match names.last_mut() {
        Some((begin, name)) if *begin + name.len() == at => name.push_str(character),
        _ => names.push((at, character.to_owned())),
    }
    names
}

/// A process that follows a chain, once it has accepted all blocks and written every dataset.
async fn with_a_chain(world: &World, redis: &RedisServer, relayer: &RelayerServer) -> (Process, Exposed) {
    let told = [("TX_RELAYER_URL", &*relayer.url()), ("TX_RELAYER_AUTH_WRITE_TOKEN", "a-token-of-this-test")];
    let process = Process::start(&with(&following(redis.addr(), world), &told)).await;
    process.wait_ready().await;
    let has_all = [
        "block_lag 0\n",
        "block_lead 0\n",
        "dataset_type=\"current_epoch\",market=",
        "\"expired\"} 0\n",
        "stage=\"dead\"} 0\n",
    ];
    let mut text = String::new();
    wait_until("everything is written and accepted", SOON, async || {
        text = process.get(process.metrics, "/metrics").await.1;
        has_all.iter().all(|part| text.contains(part))
    })
    .await;
    (process, Exposed::parse(&text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_series_that_an_alert_reads_is_there_before_anything_goes_wrong() {
    let mut world = World::new(31).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 7, begin: 0, end: 1 }).await;
    world.mine().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let relayer = RelayerServer::start().await.expect("a relayer");
    let (_process, exposed) = with_a_chain(&world, &redis, &relayer).await;
    let rules = read("config/alerts.yml");
    let expressions = expressions(&rules);
    assert!(expressions.len() >= 19, "{expressions:?}");
    for (alert, expression) in &expressions {
        let selectors = selectors(expression);
        assert!(!selectors.is_empty() || expression.contains("up"), "{alert}: {expression}");
        for (function, name, matchers) in selectors {
            let shown: Vec<String> =
                matchers.iter().map(|one| format!("{}{}{}", one.label, one.operator, one.value)).collect();
            assert!(exposed.has(&name, &matchers), "{alert} reads {name}{shown:?}, which is not there");
            let kind = exposed.kinds.get(&name).map_or("", |kind| kind);
            let expected = if function == "increase" { "counter" } else { kind };
            assert_eq!(kind, expected, "{alert}: {function}({name})");
            assert!(kind != "gauge" || function != "increase", "{alert}: {function}({name})");
        }
        // Labels of the scrape are those that Prometheus adds.
        for labels in expression.split(" on (").skip(1).filter_map(|rest| rest.split_once(')')) {
            for label in labels.0.split(", ").filter(|label| !["job", "instance"].contains(label)) {
                let there = exposed.series.iter().any(|series| series.labels.contains_key(label));
                assert!(there, "{alert}: no series has the label {label}");
            }
        }
    }
}

/// Tests for promtool: a process that exposes this from minute 0 on, as job `other`, restarts after 30 minutes.
fn as_healthy(exposed: &Exposed, alerts: &[(&str, String)]) -> String {
    let mut test =
        "rule_files: [alerts.yml]\nevaluation_interval: 15s\ntests:\n  - interval: 15s\n    input_series:\n"
            .to_owned();
    let labels = "job=\"other\",instance=\"a\"";
    let mut add = |name: &str, labels: &str, values: &str| {
        writeln!(test, "      - {{ series: '{name}{{{labels}}}', values: '{values}' }}").expect("written");
    };
    add("up", labels, "1x480");
    for series in &exposed.series {
        let own = series.labels.iter().map(|(name, value)| format!(",{name}=\"{value}\""));
        let values = match series.name.as_str() {
            "process_start_time_seconds" => "-86400x120 1800x360".to_owned(),
            name if name.starts_with("state_tracker_block")
                && !name.contains("lag")
                && !name.contains("lead") =>
            {
                format!("{0}+1x120 0+1x360", series.value)
            }
            // Counters begin again, gauges stay.
            name if name.ends_with("_total") => format!("{0}x120 0x360", series.value),
            _ => format!("{}x480", series.value),
        };
        add(&series.name, &format!("{labels}{}", own.collect::<String>()), &values);
    }
    test.push_str("    alert_rule_test:\n");
    for minute in [20, 35, 60, 110] {
        for (alert, _) in alerts.iter().filter(|(name, _)| minute != 35 || *name != "StateTrackerRestarted") {
            writeln!(test, "      - {{ eval_time: {minute}m, alertname: {alert} }}").expect("written");
        }
    }
    test
}

async fn without_a_chain(redis: &RedisServer, connection: &mut MultiplexedConnection) -> (Process, Exposed) {
    let _: () = query(connection, &["FLUSHALL"]).await;
    let process = Process::start(&environment(redis.addr())).await;
    process.wait_ready().await;
    let mut text = String::new();
    wait_until("every market has its datasets", SOON, async || {
        text = process.get(process.metrics, "/metrics").await.1;
        MARKETS.iter().all(|market| text.contains(&format!("daily_stats\",market=\"{market}\"}}")))
    })
    .await;
    (process, Exposed::parse(&text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_alert_fires_for_a_healthy_process_with_or_without_a_chain_nor_after_its_restart() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("promtool is missing: nothing was tested; `scripts/needs promtool` installs it");
        return;
    }
    let mut world = World::new(32).await;
    let market = world.contracts.markets[0].clone();
    world.emit(&market, &Emission::EpochReleased { epoch: 7, begin: 0, end: 1 }).await;
    world.mine().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let relayer = RelayerServer::start().await.expect("a relayer");
    let (following, with) = with_a_chain(&world, &redis, &relayer).await;
    drop(following);
    let (_process, without) = without_a_chain(&redis, &mut connection).await;
    let names: BTreeSet<&str> = without.series.iter().map(|series| series.name.as_str()).collect();
    assert!(!names.contains("state_tracker_blocks_total"), "a chain is followed");
    let folder = tempfile::tempdir().expect("a folder");
    let rules = read("config/alerts.yml");
    fs::write(folder.path().join("alerts.yml"), &rules).expect("written");
    let alerts = expressions(&rules);
    for exposed in [with, without] {
        let file = folder.path().join("test.yml");
        fs::write(&file, as_healthy(&exposed, &alerts)).expect("written");
        let output =
            Command::new("promtool").args(["test", "rules"]).arg(&file).output().expect("promtool runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    }
}
