//! The joined tables hold what the code registers, passes and tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use access_tokens::{Keys, Verifier};
use campaign_gateway::Gateway;
use domain::chain::ContractAddress;
use evm::{ChainConfig, Contracts, Source};
use store_campaign_log::CampaignKeys;
use store_campaigns::{Database, DatabaseSettings};
use store_redis::{RedisSettings, Store};
use store_tracker::Intervals;
use supervision::{Activity, ActorHealth, Clock, ExitKind, MailboxStats, State};

use super::*;
use crate::{
    alerts::{AlertBook, AlertMetrics},
    campaigns::{CampaignGateway, CampaignMetrics, Campaigns, CampaignsSettings, GatewayLog},
    collector::{CollectorMetrics, Progress},
    env::{
        Services,
        telemetry::{Kind, Telemetry},
    },
    peers::{Naming, PeerMetrics, Peers, PeersSettings},
    tracker::TrackerMetrics,
};

/// A pool that is not connected.
fn pool() -> Store {
    let second = Duration::from_secs(1);
    let server = redis::IntoConnectionInfo::into_connection_info("redis://127.0.0.1:1").expect("a URL");
    let settings = RedisSettings {
        servers: server.into(),
        certificates: None,
        address: String::new(),
        pool_size: 1,
        connect_timeout: second,
        command_timeout: second,
        check_after: Duration::ZERO,
    };
    Store::new(settings).expect("settings")
}

/// Peers of whom nobody is connected.
fn peers(clock: &Clock) -> Peers {
    let second = Duration::from_secs(1);
    let settings = PeersSettings {
        most_connections: 1,
        most_of_address: 1,
        max_line: 1,
        connections_per_second: 1,
        lines_per_second: 1,
        silent_after: second,
        tls: None,
        secret: None,
        networks: Vec::new(),
        naming: Naming::default(),
        rules: domain::peers::Rules::default(),
        history: PathBuf::new(),
        limits: store_peers::Limits::default(),
        flush_every: second,
    };
    let telemetry = Telemetry::new().expect("an own registry refuses nothing");
    Peers::new(Services::new(pool(), telemetry, clock), settings, clock)
}

/// Campaigns whose database does not answer, and a gateway without clients.
fn campaigns(clock: &Clock) -> (Campaigns, Arc<CampaignGateway>) {
    let second = Duration::from_secs(1);
    let telemetry = Telemetry::new().expect("an own registry refuses nothing");
    let services = Services::new(pool(), telemetry, clock);
    let settings = DatabaseSettings::new("postgres://nobody@127.0.0.1:1/campaigns");
    let database = Database::new(settings).expect("a URL");
    let keys = CampaignKeys::new("");
    let own = CampaignsSettings {
        interval: second,
        job_retention: second,
        history_retention: second,
        alert_below: 0.0,
        writes: true,
    };
    let campaigns = Campaigns::new(services.clone(), database, keys.clone(), own, None, clock);
    let keys_of_tokens = Keys::Secret(vec![7; 32]);
    let settings =
        access_tokens::Settings { keys: keys_of_tokens, issuer: None, audience: None, leeway: second };
    let verifier = Verifier::new(settings, clock.clone()).expect("a secret");
    let log = GatewayLog::new(services.store, keys, clock);
    let limits = campaign_gateway::Settings::default();
    let gateway = Gateway::new(campaigns.clone(), log, verifier, limits, clock.clone());
    (campaigns, gateway)
}

/// Every group of metrics on one registry.
fn registered() -> Telemetry {
    let (telemetry, clock) =
        (Telemetry::new().expect("an own registry refuses nothing"), Clock::manual(Duration::ZERO));
    telemetry.observe_tree(|| {
        vec![ActorHealth {
            path: "a".to_owned(),
            supervisor: false,
            state: State::Running,
            degraded: false,
            generation: 1,
            exits: [0; ExitKind::ALL.len()],
            last_crash: None,
            activity: Activity::Idle,
            wedged: false,
            quiet: Duration::ZERO,
            mailbox: Some(MailboxStats::default()),
        }]
    });
    telemetry.observe_pool(pool());
    telemetry.error(store_tracker::operations::READ_EPOCHS, store_redis::ErrorKind::Timeout.row());
    telemetry.round_trips("summary", 4);
    telemetry.pool_waited(Duration::from_millis(2));
    let tracker = TrackerMetrics::register(telemetry.meter(), &clock);
    let every = Duration::from_secs(1);
    tracker.written_every(&Intervals { summary: every, hourly: every, daily: every, current_epoch: every });
    tracker.dataset_written("m", &store_tracker::datasets::SUMMARY, Duration::ZERO);
    tracker.pass_took(&store_tracker::datasets::SUMMARY, Duration::ZERO);
    tracker.unfinished_epochs("m", 1);
    let collector = CollectorMetrics::register(telemetry.meter());
    let contracts = Contracts { protocol_state: ContractAddress([1; 20]), priorities: None };
    let nobody = "http://127.0.0.1:1".parse().expect("a URL");
    let source = Source::new(ChainConfig::new(vec![nobody], contracts)).expect("a source");
    collector.observe(source, Arc::new(Progress::new(&clock)));
    AlertMetrics::register(telemetry.meter()).observe(AlertBook::default());
    PeerMetrics::register(telemetry.meter()).observe(peers(&clock));
    let of_campaigns = CampaignMetrics::register(telemetry.meter(), true);
    let (campaigns, gateway) = campaigns(&clock);
    of_campaigns.observe(campaigns);
    of_campaigns.observe_gateway(gateway);
    telemetry
}

fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn every_metric_is_in_the_table_and_is_exposed_with_its_kind_and_sentence() {
    let telemetry = registered();
    let text = telemetry.render().expect("metrics can be rendered");
    let types = types(&text);
    // These have no series before there is a checkpoint, a window, a batch, or a market that waited for a worker.
    let of_collector: Vec<&str> = collector::metrics::metrics().map(|row| row.name).collect();
    let needs_a_value = |row: &Metric| {
        let suffixes = [
            "block_height",
            "block_lag",
            "block_lead",
            "backfill_estimate_seconds",
            "worker_wait_seconds",
            "processing_duration_seconds",
            "relayer_call_seconds",
        ];
        let has_market = row.labels.iter().any(|label| label.name == "market");
        let is_late = has_market || suffixes.iter().any(|name| row.name.ends_with(name));
        is_late && of_collector.contains(&row.name)
    };
    for row in metrics() {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        match types.get(row.name) {
            Some(shown) => assert_eq!(*shown, kind, "{}", row.name),
            None => assert!(needs_a_value(row), "{} is in the table and is not registered", row.name),
        }
        let help = format!("# HELP {} {}", row.name, row.sentence);
        assert!(!types.contains_key(row.name) || text.lines().any(|line| line == help), "{}", row.name);
    }
    let known: BTreeSet<&str> = metrics().map(|row| row.name).collect();
    for name in types.keys().filter(|name| !name.starts_with("process_")) {
        assert!(known.contains(name), "{name} is exposed and in no table");
    }
}

#[test]
fn every_name_follows_the_rules_of_prometheus() {
    let text = registered().render().expect("metrics can be rendered");
    for unwanted in ["_total_total", "_seconds_seconds", "otel_", "target_info"] {
        assert!(!text.contains(unwanted), "{unwanted} in {text}");
    }
    let names: BTreeSet<&str> = metrics().map(|row| row.name).collect();
    assert_eq!(names.len(), metrics().count(), "a name is used twice");
    for row in metrics() {
        let Metric { name, kind, unit, sentence, .. } = row;
        // Those of the original of campaigns keep their names.
        assert!(name.starts_with("state_tracker_") || name.starts_with("volume_bot_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name} is a {kind:?}");
        let ends = |unit: &str| name.trim_end_matches("_total").ends_with(unit);
        assert_eq!((*unit == "seconds", *unit == "bytes"), (ends("_seconds"), ends("_bytes")), "{name}");
        assert!(sentence.ends_with('.') && sentence.starts_with(char::is_uppercase), "{name}: {sentence}");
    }
    // A series that is emitted twice makes the whole scrape fail.
    let series: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    assert_eq!(series.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), series.len());
    assert!(series.iter().all(|(_, value)| value.parse::<f64>().is_ok_and(f64::is_finite)));
}

/// The sources below a directory of the workspace.
fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(path: &Path, all: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                walk(&entry, all);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&entry).expect("a source");
                all.push((entry, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory), &mut all);
    all
}

#[test]
fn actors_pass_failure_points_of_the_table_alone() {
    for (path, text) in sources("actors/src") {
        let is_row = path.ends_with("env/failure_point.rs") || path.ends_with("tables/tests.rs");
        assert!(is_row || !text.contains("fail::point("), "{}", path.display());
    }
    let names: BTreeSet<&str> = failure_points().map(|point| point.name).collect();
    assert_eq!(names.len(), failure_points().count(), "a name is used twice");
    // `supervision` passes its points by name.
    let of_kit = sources("crates/supervision/src").into_iter().flat_map(|(_, text)| {
        let passed = text.split("fail::point(\"").skip(1).filter_map(|rest| rest.split('"').next());
        passed.map(str::to_owned).collect::<Vec<_>>()
    });
    let of_kit: BTreeSet<String> = of_kit.collect();
    let listed = OF_SUPERVISORS.iter().map(|point| point.name.to_owned()).collect();
    assert_eq!(of_kit, listed);
}

#[test]
fn a_test_arms_every_failure_point() {
    let directories = ["actors/tests", "tests", "crates/supervision/tests"];
    let tests: Vec<(PathBuf, String)> = directories.into_iter().flat_map(sources).collect();
    for point in failure_points() {
        // As a test names it, or as an operator writes it.
        let named = [format!("\"{}\"", point.name), format!("{}=", point.name), format!("{}@", point.name)];
        let is_named = |(_, text): &(PathBuf, String)| named.iter().any(|name| text.contains(name));
        assert!(tests.iter().any(is_named), "no test arms {}", point.name);
    }
}
