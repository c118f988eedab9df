//! Every message in every form: read, and written as it was.

#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

use std::{fs, path::PathBuf};

use peer_snapshots::{
    ConnectionType, LONGEST_TEXT, Message, MessageKind, MeteredService, Retired, ServiceType, Tagging, read,
};
use serde_json::Value;

fn golden(name: &str) -> String {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.json")].iter().collect();
    fs::read_to_string(path).unwrap().trim_end().to_owned()
}

fn message(name: &str) -> Message {
    read(golden(name).as_bytes()).unwrap()
}

const GOLDEN: [(&str, MessageKind, Tagging); 14] = [
    ("miners-outer", MessageKind::Miners, Tagging::Outer),
    ("miners-inner", MessageKind::Miners, Tagging::Inner),
    ("connections-outer", MessageKind::Connections, Tagging::Outer),
    ("connections-inner", MessageKind::Connections, Tagging::Inner),
    ("balance-outer", MessageKind::Balance, Tagging::Outer),
    ("balance-inner", MessageKind::Balance, Tagging::Inner),
    ("quote-outer", MessageKind::Quote, Tagging::Outer),
    ("quote-inner", MessageKind::Quote, Tagging::Inner),
    ("proxy-status", MessageKind::Proxy, Tagging::Outer),
    ("proxy-status-alone", MessageKind::Proxy, Tagging::Outer),
    ("pool-status", MessageKind::Pool, Tagging::Outer),
    ("heartbeat", MessageKind::Heartbeat, Tagging::Outer),
    ("metrics-translator", MessageKind::Metrics, Tagging::Outer),
    ("metrics-pool", MessageKind::Metrics, Tagging::Outer),
];

/// JSON in which 0 and 0.0 are one number.
fn numbers_as_reals(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64().unwrap()),
        Value::Array(list) => list.into_iter().map(numbers_as_reals).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, numbers_as_reals(value))).collect(),
        other => other,
    }
}

#[test]
fn every_message_is_read_and_written_with_every_field() {
    for (name, kind, tagging) in GOLDEN {
        let message = message(name);
        assert_eq!(message.kind(), kind, "{name}");
        assert_eq!(message.timestamp(), Some(1_700_000_100), "{name}");
        let mut line = Vec::new();
        message.write_line(tagging, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        let (written, golden): (Value, Value) =
            (serde_json::from_slice(&line).unwrap(), serde_json::from_str(&golden(name)).unwrap());
        assert_eq!(numbers_as_reals(written), numbers_as_reals(golden), "{name}");
    }
}

#[test]
fn the_two_taggings_are_one_message() {
    for name in ["miners", "connections", "balance", "quote"] {
        assert_eq!(message(&format!("{name}-outer")), message(&format!("{name}-inner")));
    }
}

#[test]
fn fields_arrive_with_their_values() {
    let Message::Miners(miners) = message("miners-outer") else { panic!() };
    assert_eq!((miners.miners[0].downstream_id, miners.miners[0].hashrate), (3, 1.25e14));
    assert_eq!((miners.miners[1].address.as_deref(), miners.miners[1].connected_at), (None, -1));
    let Message::Connections(all) = message("connections-inner") else { panic!() };
    let types: Vec<ConnectionType> = all.connections.iter().map(|one| one.connection_type).collect();
    assert_eq!(types, ConnectionType::ALL);
    let Message::Pool(pool) = message("pool-status") else { panic!() };
    let types: Vec<ServiceType> = pool.services.iter().map(|one| one.service_type).collect();
    assert_eq!(types, ServiceType::ALL);
    assert_eq!(pool.downstream_proxies[1].last_share_at, None);
    let Message::Metrics(metrics) = message("metrics-translator") else { panic!() };
    assert_eq!(metrics.service_type, MeteredService::Translator);
    // Both have the id 3: metrics may repeat one.
    assert_eq!(metrics.downstreams.len(), 2);
    let mut one = metrics.downstreams[0].clone();
    assert_eq!(one.hashrate(), Some(1234.5 * 4_294_967_296.0 / 60.0));
    one.window_seconds = 0;
    assert_eq!(one.hashrate(), None);
}

#[test]
fn retired_events_are_known_in_both_taggings_whatever_their_fields_are() {
    for retired in Retired::ALL {
        let name = retired.as_str();
        for line in [
            format!(r#"{{"{name}":{{"downstream_id":-1,"address":5}}}}"#),
            format!(r#"{{"{name}":null}}"#),
            format!(r#"{{"type":"{name}"}}"#),
            format!(r#"{{"type":"{name}","downstream_id":"three","timestamp":1.5,"channels":{{}}}}"#),
            format!(r#"{{"timestamp":-1,"type":"{name}"}}"#),
        ] {
            assert_eq!(read(line.as_bytes()), Ok(Message::Retired(*retired)), "{line}");
        }
    }
    assert_eq!(Retired::ALL.len(), 7);
}

#[test]
fn unknown_fields_and_another_order_change_nothing() {
    let known = message("heartbeat");
    let odd = r#" { "new":[{"a":{}}], "timestamp":1700000100 ,"listen_address":"0.0.0.0:34264","x":1e400} "#;
    assert_eq!(read(odd.as_bytes()), Ok(known));
    let late = r#"{"timestamp":5,"balance":1,"type":"BalanceUpdate"}"#;
    assert_eq!(read(late.as_bytes()).unwrap().kind(), MessageKind::Balance);
}

#[test]
fn a_pool_status_is_no_heartbeat_although_it_has_its_fields() {
    let with = |more: &str| format!(r#"{{"listen_address":"a","timestamp":1{more}}}"#);
    assert_eq!(read(with("").as_bytes()).unwrap().kind(), MessageKind::Heartbeat);
    for more in [
        r#","services":[]"#,
        r#","downstream_proxies":[]"#,
        r#","services":[{"service_type":"Wallet","address":""}],"downstream_proxies":[]"#,
    ] {
        assert!(read(with(more).as_bytes()).is_err(), "{more}");
    }
    assert_eq!(
        read(with(r#","services":[],"downstream_proxies":[]"#).as_bytes()).unwrap().kind(),
        MessageKind::Pool
    );
}

#[test]
fn the_earlier_of_two_complete_messages_is_taken() {
    let both = r#"{"service_type":"Pool","downstreams":[],"listen_address":"a","services":[],"downstream_proxies":[],"timestamp":1}"#;
    assert_eq!(read(both.as_bytes()).unwrap().kind(), MessageKind::Metrics);
}

#[test]
fn a_long_name_is_cut_and_costs_nothing_else() {
    let name = "ä".repeat(10_000);
    let line = golden("proxy-status").replace("rig-3", &name);
    let Message::Proxy(status) = read(line.as_bytes()).unwrap() else { panic!() };
    let cut = &status.downstream_miners[0].name;
    assert!(cut.len() <= LONGEST_TEXT && name.starts_with(cut.as_str()) && cut.len() > LONGEST_TEXT - 4);
}

#[test]
fn a_rate_that_is_none_is_sent_as_a_rate() {
    let Message::Miners(mut miners) = message("miners-outer") else { panic!() };
    for (given, sent) in
        [(f64::NAN, 0.0), (-1.0, 0.0), (f64::INFINITY, 1e30), (f64::NEG_INFINITY, 0.0), (7.5, 7.5)]
    {
        miners.miners[0].hashrate = given;
        let mut line = Vec::new();
        Message::Miners(miners.clone()).write_line(Tagging::Outer, &mut line);
        let Ok(Message::Miners(read)) = read(&line) else { panic!() };
        assert_eq!(read.miners[0].hashrate, sent);
    }
}

#[test]
fn labels_are_distinct() {
    let mut labels: Vec<&str> = MessageKind::ALL.iter().map(|kind| kind.label()).collect();
    labels.extend(peer_snapshots::Reason::ALL.iter().map(|reason| reason.label()));
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count);
}
