//! The collector: off unless it has nodes, whose URLs are never shown.

use evm::StartBlock;

use super::*;

const NODES: (&str, &str) = ("RPC_NODES", "https://one.example/v3/hunter2,wss://two.example/ws?key=hunter2");

fn urls(nodes: &[Secret]) -> Vec<&str> {
    nodes.iter().map(Secret::reveal).collect()
}

#[test]
fn no_chain_is_followed_unless_nodes_are_set() {
    let loaded = from_env(&[("BATCH_SIZE", "7")]).unwrap();
    assert!(!loaded.config.collector.is_enabled());
    assert!(from_env(&[NODES]).unwrap().config.collector.is_enabled());
}

#[test]
fn nodes_are_a_list_with_commas_or_in_json_or_a_file_with_either() {
    let expected = ["http://a.example:8545", "ws://b.example:8546"];
    let (comma, json) = (expected.join(", "), format!("{expected:?}"));
    for text in [&comma, &json] {
        let (_dir, path) = file(&format!("{text}\n"));
        for (variable, value) in [("RPC_NODES", text.as_str()), ("RPC_NODES_FILE", path.to_str().unwrap())] {
            let loaded = from_env(&[(variable, value)]).unwrap();
            assert_eq!(urls(&loaded.config.collector.nodes), expected, "{variable}");
        }
        let archive = from_env(&[("ARCHIVE_RPC_NODES", text)]).unwrap().config.collector.archive_nodes;
        assert_eq!(urls(&archive), expected);
    }
    assert_eq!(
        urls(&from_file(&format!("[collector]\nnodes = {json}")).unwrap().config.collector.nodes),
        expected
    );
}

#[test]
fn nodes_may_stand_one_a_line_and_never_become_one_url() {
    let (_dir, path) = file("http://a.example:8545\nws://b.example:8546\n");
    let loaded = from_env(&[("RPC_NODES_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(urls(&loaded.config.collector.nodes), ["http://a.example:8545", "ws://b.example:8546"]);
    for separator in [" ", "\t", "/ ", "\r\n", ", "] {
        let both = format!("http://a.example:8545{separator}http://b.example:8546");
        let loaded = from_env(&[("RPC_NODES", &both)]).unwrap();
        assert_eq!(loaded.config.collector.nodes.len(), 2, "{separator:?}");
    }
    let both = ["http://a.example:8545 http://b.example:8546"];
    let problem = only_problem(from_file(&format!("[collector]\nnodes = {both:?}")));
    assert_contains(&problem, &["collector.nodes", "item 1"]);
}

#[test]
fn urls_of_nodes_are_never_shown() {
    let loaded = from_env(&[NODES]).unwrap();
    assert_eq!(urls(&loaded.config.collector.nodes)[0], "https://one.example/v3/hunter2");
    for told in [described(&loaded), loaded.to_json().to_string(), format!("{loaded:?}")] {
        assert!(!told.contains("hunter2") && !told.contains("example"), "{told}");
    }
    assert_eq!(loaded.to_json()["settings"]["collector.nodes"]["value"], "***");
    assert_eq!(loaded.to_json()["settings"]["collector.archive_nodes"]["value"], serde_json::json!([]));
    for bad in ["ftp://hunter2@host", "hunter2", "http://ok.example,hunter2", "[\"hunter2\"", "[hunter2]"] {
        let told = only_problem(from_env(&[("RPC_NODES", bad)]));
        assert!(!told.contains("hunter2"), "{told}");
        assert_contains(&told, &["collector.nodes", "RPC_NODES"]);
    }
    for text in ["nodes = 'https://hunter2'", "nodes = [5]", "nods = ['https://hunter2']"] {
        let told = only_problem(from_file(&format!("[collector]\n{text}")));
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn the_variables_of_the_event_collector_work_as_they_are() {
    let config = from_env(&[
        ("BATCH_SIZE", "12"),
        ("BLOCK_TIME", "3"),
        ("ATTESTOR_QUEUE_PUSH_ENABLED", "true"),
        ("BLOCK_FETCH_TIMEOUT", "61"),
        ("EVENT_PROCESSING_TIMEOUT", "21"),
        ("CONTRACT_QUERY_TIMEOUT", "11"),
        ("BATCH_PROCESSING_TIMEOUT", "41"),
        ("HTTP_TIMEOUT", "9"),
    ])
    .unwrap()
    .config
    .collector;
    let budgets = config.budgets();
    let seconds = [config.block_time, budgets.block, budgets.events, budgets.contract_values, budgets.batch]
        .map(|duration| duration.as_secs());
    assert_eq!(seconds, [3, 61, 21, 11, 41]);
    assert_eq!(config.request_timeout, Duration::from_secs(9));
    assert_eq!((config.batch_size.get(), config.attestor_queue), (12, true));
}

#[test]
fn whole_seconds_are_what_the_old_variables_hold_and_nothing_else() {
    let loaded = from_env(&[("HTTP_TIMEOUT", "1500ms")]).unwrap();
    assert_eq!(loaded.config.collector.request_timeout, Duration::from_millis(1_500));
    for (variable, value) in
        [("HTTP_TIMEOUT", "0"), ("HTTP_TIMEOUT", "soon"), ("STATE_TRACKER__COLLECTOR__REQUEST_TIMEOUT", "9")]
    {
        assert_contains(
            &only_problem(from_env(&[(variable, value)])),
            &["collector.request_timeout", variable],
        );
    }
}

#[test]
fn the_default_budgets_and_limits_are_those_that_were_promised() {
    let collector = from_env(&[]).unwrap().config.collector;
    assert_eq!(collector.budgets(), actors::collector::Budgets::default());
    assert_eq!((collector.max_windows, collector.max_reorg_depth, collector.batch_size.get()), (100, 64, 20));
    assert_eq!(
        (collector.id(), collector.rate(), collector.start_block),
        (None, None, StartBlock::Latest { back: 0 })
    );
    assert_eq!(collector.submissions_ttl, Duration::from_mins(20));
    assert_eq!(
        (collector.close_grace, collector.poll_interval),
        (Duration::from_secs(30), Duration::from_millis(500))
    );
}

#[test]
fn what_is_no_block_to_begin_with_is_refused() {
    for start in ["'newest'", "'latest + 3'", "'-1'", "7"] {
        let problem = only_problem(from_file(&format!("collector.start_block = {start}")));
        assert_contains(&problem, &["collector.start_block", "\"latest - 1000\""]);
    }
    let collector = from_file("collector.start_block = 'latest - 50'").unwrap().config.collector;
    assert_eq!(collector.start_block, StartBlock::Latest { back: 50 });
}

#[test]
fn a_chain_needs_one_redis_server() {
    let cluster = ("REDIS_CLUSTER", "one:6379");
    assert!(from_env(&[cluster]).is_ok());
    let problem = only_problem(from_env(&[cluster, NODES]));
    assert_contains(
        &problem,
        &["redis.cluster", "RPC_NODES", "the collector needs one server, its scripts span keys"],
    );
}

#[test]
fn a_chain_needs_the_addresses_of_contracts() {
    let names = [("PROTOCOL_STATE_CONTRACT", "protocol"), ("DATA_MARKET_ADDRESSES", "0x12,market")];
    assert!(from_env(&names).is_ok());
    let errors = from_env(&[names[0], names[1], NODES]).unwrap_err();
    assert_eq!(errors.problems().len(), 3, "{errors}");
    for (problem, parts) in errors.problems().iter().zip([
        ["tracker.protocol: \"protocol\"", "PROTOCOL_STATE_CONTRACT"],
        ["tracker.markets: \"0x12\"", "DATA_MARKET_ADDRESSES"],
        ["tracker.markets: \"market\"", "DATA_MARKET_ADDRESSES"],
    ]) {
        assert_contains(problem, &parts);
        assert_contains(problem, &["must be an address, 0x and 40 hex digits, where collector.nodes is set"]);
    }
    let problem = only_problem(from_env(&[("STATE_TRACKER__COLLECTOR__PRIORITIES_CONTRACT", "0x12")]));
    assert_contains(&problem, &["collector.priorities_contract", "empty, or an address"]);
}

#[test]
fn the_former_name_of_the_section_works_with_a_note_and_not_beside_the_new_one() {
    let loaded = from_file("[chain]\nworkers = 3").unwrap();
    assert_eq!(loaded.config.collector.workers, 3);
    assert_contains(&loaded.notes[0], &["[chain] (from file ", "former name of [collector]", "until 1.0"]);
    let loaded = from_env(&[("STATE_TRACKER__CHAIN__WORKERS", "5")]).unwrap();
    assert_eq!(loaded.config.collector.workers, 5);
    let now = "STATE_TRACKER__COLLECTOR__WORKERS";
    assert_contains(&loaded.notes[0], &["STATE_TRACKER__CHAIN__WORKERS", "former name of [collector]", now]);
    assert_eq!(from_env(&[(now, "5")]).unwrap().notes, [""; 0]);

    let problem = only_problem(from_file("[chain]\nworkers = 3\n[collector]\nbatch_size = 3"));
    assert_contains(&problem, &["[chain]", "test.toml", "beside [collector]", "former name"]);
    let problem = only_problem(from_env(&[("STATE_TRACKER__CHAIN__WORKERS", "5"), (now, "5")]));
    assert_contains(
        &problem,
        &["collector.workers is set more than once", "STATE_TRACKER__CHAIN__WORKERS", now],
    );
}

/// The variables of the original collector, each with a value of its form and the setting that it has here. Those without one are known in
/// the glossary, which says why they need nothing.
const ORIGINAL: [(&str, &str, Option<&str>); 37] = [
    ("RPC_NODES", r#"["https://one.example"]"#, Some("collector.nodes")),
    ("ARCHIVE_RPC_NODES", "[]", Some("collector.archive_nodes")),
    ("RPC_MAX_RETRIES", "3", None),
    ("RPC_RETRY_DELAY_MS", "500", None),
    ("RPC_MAX_RETRY_DELAY_S", "30", None),
    ("RPC_REQUEST_TIMEOUT_S", "30", None),
    ("PROST_RPC_URL", "https://one.example", None),
    ("PROTOCOL_STATE_CONTRACT", "0x5FbDB2315678afecb367f032d93F642f64180aa3", Some("tracker.protocol")),
    ("DATA_MARKET_ADDRESSES", r#"["0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c"]"#, Some("tracker.markets")),
    ("REDIS_HOST", "redis", Some("redis.host")),
    ("REDIS_PORT", "6380", Some("redis.port")),
    ("REDIS_DB", "2", Some("redis.db")),
    ("AUTH_READ_TOKEN", "a-token-of-readers", Some("api.read_token")),
    ("SLACK_REPORTING_URL", "https://alerts.example/hook", Some("alerts.url")),
    ("TX_RELAYER_URL", "https://relayer.example", Some("relayer.url")),
    ("TX_RELAYER_AUTH_WRITE_TOKEN", "a-token-of-the-relayer", Some("relayer.token")),
    ("API_HOST", "collector.example:8080", Some("api.public_host")),
    ("BATCH_SIZE", "20", Some("collector.batch_size")),
    ("BLOCK_TIME", "1", Some("collector.block_time")),
    ("HTTP_TIMEOUT", "15", Some("collector.request_timeout")),
    ("PERIODIC_ELIGIBLE_COUNT_ALERTS", "true", Some("rewards.eligible_notices")),
    ("PAST_DAYS_BUFFER", "5", Some("rewards.past_days")),
    ("RETRY_LIMITS", "3", None),
    ("REWARDS_UPDATE_BATCH_SIZE", "50", Some("rewards.batch_size")),
    ("REWARDS_UPDATE_EPOCH_INTERVAL", "10", Some("rewards.epoch_interval")),
    ("ATTESTOR_QUEUE_PUSH_ENABLED", "false", Some("collector.attestor_queue")),
    ("INIT_CLEANUP_ENABLED", "false", None),
    ("CONCURRENT_SUBMISSION_COUNT_UPDATES", "10", None),
    ("CONTRACT_QUERY_TIMEOUT", "30", Some("collector.contract_values_timeout")),
    ("BLOCK_FETCH_TIMEOUT", "300", Some("collector.block_timeout")),
    ("EVENT_PROCESSING_TIMEOUT", "30", Some("collector.events_timeout")),
    ("BATCH_PROCESSING_TIMEOUT", "60", Some("collector.batch_timeout")),
    ("MEMORY_PROFILING_INTERVAL", "15", None),
    ("ENABLE_MARKET_MIGRATION", "true", Some("migration.at_start")),
    (
        "MARKET_MIGRATION_MAPPINGS",
        "0x3333333333333333333333333333333333333333:0x0c2e22fe7526faef28e7a58c84f8723defce200c",
        Some("migration.mappings"),
    ),
    ("MARKET_MIGRATION_DAYS", "1", Some("migration.days")),
    ("LOG_LEVEL", "info", Some("log.level")),
];

#[test]
fn the_environment_of_the_original_collector_works_as_it_is_and_the_glossary_has_each_variable() {
    let all: Vec<(&str, &str)> = ORIGINAL.iter().map(|(name, value, _)| (*name, *value)).collect();
    let loaded = from_env(&all).unwrap();
    // Two that are true of every environment like this one.
    let of_variables: Vec<&String> =
        loaded.notes.iter().filter(|note| note.contains("environment variable")).collect();
    assert!(of_variables.is_empty() && loaded.notes.len() == 2, "{:?}", loaded.notes);
    let glossary = include_str!("../../../docs/glossary.md");
    for (name, _, setting) in ORIGINAL {
        if let Some(key) = setting {
            assert_contains(&loaded.origins[key], &[name]);
        }
        assert!(glossary.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn a_variable_of_the_original_in_whose_place_there_is_another_is_told_unless_that_is_set() {
    for (name, instead) in [("PROST_RPC_URL", "RPC_NODES"), ("RPC_REQUEST_TIMEOUT_S", "HTTP_TIMEOUT")] {
        let note = format!("environment variable {name} has no effect here: set {instead}");
        assert_eq!(from_env(&[(name, "https://one.example")]).unwrap().notes, [note]);
    }
}
