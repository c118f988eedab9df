//! The answers for readers, deserialised with strict types of the test's own.

#![allow(clippy::unwrap_used, missing_docs, dead_code)] // A test may panic; strict types have fields that no test looks at.

use std::{fs, path::PathBuf};

use peer_snapshots::{
    Message, ServiceType, read,
    readers::{
        Addresses, ConnectionEntry, Hashrates, Health, MinerEntry, Miners, NO_DATA, PoolStats, ProxyStats,
        ServiceEntry, StatsService, View,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct StrictProxy {
    ehash_balance: u64,
    upstream_pool: Option<StrictPoolOfProxy>,
    downstream_miners: Vec<StrictMiner>,
    blockchain_network: String,
    timestamp: u64,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct StrictPoolOfProxy {
    address: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct StrictMiner {
    name: String,
    id: u32,
    address: String,
    hashrate: f64,
    shares_submitted: u64,
    connected_at: u64,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct StrictPool {
    services: Vec<StrictService>,
    downstream_proxies: Vec<StrictPoolProxy>,
    listen_address: String,
    timestamp: u64,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct StrictService {
    service_type: StrictServiceType,
    address: String,
}

#[derive(Deserialize, Debug, PartialEq)]
enum StrictServiceType {
    Pool,
    Mint,
    JobDeclarator,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct StrictPoolProxy {
    id: u32,
    address: String,
    channels: Vec<u32>,
    shares_submitted: u64,
    quotes_created: u64,
    ehash_mined: u64,
    last_share_at: Option<u64>,
    work_selection: bool,
}

fn golden(name: &str) -> Message {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.json")].iter().collect();
    read(fs::read_to_string(path).unwrap().as_bytes()).unwrap()
}

const NOW: u64 = 1_700_000_050;

fn view(addresses: Addresses<'_>) -> View<'_> {
    View { now: NOW, addresses }
}

fn proxy_stats(addresses: Addresses<'_>) -> StrictProxy {
    let Message::Proxy(mut status) = golden("proxy-status") else { panic!() };
    status.downstream_miners[0].connected_at = -5;
    status.downstream_miners.push(peer_snapshots::ProxyMiner {
        address: None,
        id: 9,
        ..status.downstream_miners[0].clone()
    });
    serde_json::from_value(serde_json::to_value(ProxyStats::of(&status, &view(addresses))).unwrap()).unwrap()
}

#[test]
fn strict_readers_take_the_statistics_of_a_proxy_whatever_is_shown_of_addresses() {
    let pseudonym = |address: &str| format!("p{}", address.len());
    for (addresses, expected) in [
        (Addresses::Shown, ["192.0.2.7:4711", "", "192.0.2.1:34254"]),
        (Addresses::Redacted, ["", "", ""]),
        (Addresses::Pseudonyms(&pseudonym), ["p14", "", "p15"]),
    ] {
        let stats = proxy_stats(addresses);
        let [one, two] = &stats.downstream_miners[..] else { panic!() };
        let pool = stats.upstream_pool.unwrap().address;
        assert_eq!([one.address.as_str(), two.address.as_str(), pool.as_str()], expected);
        // The golden's is ahead of our clock.
        assert_eq!((stats.timestamp, one.connected_at), (NOW, 0));
    }
}

#[test]
fn strict_readers_take_the_statistics_of_a_pool_with_its_job_declarator() {
    let (Message::Pool(mut status), Message::Heartbeat(heartbeat)) =
        (golden("pool-status"), golden("heartbeat"))
    else {
        panic!()
    };
    let view = view(Addresses::Shown);
    let strict = |stats: PoolStats| -> StrictPool {
        serde_json::from_value(serde_json::to_value(stats).unwrap()).unwrap()
    };
    let stats = strict(PoolStats::of(&status, &view).with_heartbeat(&heartbeat, &view));
    let types: Vec<&StrictServiceType> = stats.services.iter().map(|service| &service.service_type).collect();
    assert_eq!(
        types,
        [&StrictServiceType::Pool, &StrictServiceType::Mint, &StrictServiceType::JobDeclarator]
    );
    assert_eq!(stats.downstream_proxies[0].last_share_at, Some(NOW));
    status.services.retain(|service| service.service_type != ServiceType::JobDeclarator);
    let stats = strict(PoolStats::of(&status, &view).with_heartbeat(&heartbeat, &view));
    assert_eq!(stats.services[2].address, "0.0.0.0:34264");
}

#[test]
fn an_ended_source_has_the_shape_and_empty_lists() {
    let (Message::Proxy(proxy), Message::Pool(pool)) = (golden("proxy-status"), golden("pool-status")) else {
        panic!()
    };
    let view = view(Addresses::Shown);
    let proxy = serde_json::to_value(ProxyStats::of(&proxy, &view).emptied()).unwrap();
    let strict: StrictProxy = serde_json::from_value(proxy).unwrap();
    assert!(strict.downstream_miners.is_empty() && strict.upstream_pool.is_none());
    let pool = serde_json::to_value(PoolStats::of(&pool, &view).emptied()).unwrap();
    let strict: StrictPool = serde_json::from_value(pool).unwrap();
    assert!(strict.services.is_empty() && strict.downstream_proxies.is_empty());
    // Also where nothing is left of it.
    serde_json::from_value::<StrictProxy>(serde_json::to_value(ProxyStats::default()).unwrap()).unwrap();
    serde_json::from_value::<StrictPool>(serde_json::to_value(PoolStats::default()).unwrap()).unwrap();
}

#[test]
fn the_enum_form_has_statistics_too() {
    let (Message::Miners(picture), Message::Balance(balance)) =
        (golden("miners-outer"), golden("balance-outer"))
    else {
        panic!()
    };
    let stats = ProxyStats::of_snapshot(&picture, Some(balance), &view(Addresses::Shown));
    let strict: StrictProxy = serde_json::from_value(serde_json::to_value(stats).unwrap()).unwrap();
    let [one, two] = &strict.downstream_miners[..] else { panic!() };
    assert_eq!((one.id, one.address.as_str(), two.address.as_str()), (3, "192.0.2.7:4711", ""));
    assert_eq!((strict.ehash_balance, strict.timestamp, two.connected_at), (12_345, NOW, 0));
}

#[test]
fn lists_leave_out_addresses_that_are_redacted_and_name_sources_where_given() {
    let (Message::Proxy(proxy), Message::Miners(miners)) = (golden("proxy-status"), golden("miners-outer"))
    else {
        panic!()
    };
    let json = |miners: Vec<MinerEntry>| serde_json::to_value(Miners { miners }).unwrap();
    let shown = json(vec![MinerEntry::of(&proxy.downstream_miners[0], &view(Addresses::Shown))]);
    assert_eq!(
        shown,
        json!({"miners": [{
            "name": "rig-3", "id": 3, "address": "192.0.2.7:4711", "hashrate": 1.25e14, "shares_submitted": 42,
            "connected_at": 1_700_000_000
        }]})
    );
    let mut entry = MinerEntry::of_info(&miners.miners[0], &view(Addresses::Redacted));
    (entry.source, entry.measured_hashrate) = (Some("north"), Some(2.0));
    let redacted = &json(vec![entry])["miners"][0];
    assert_eq!(redacted.get("address"), None);
    assert_eq!((&redacted["source"], &redacted["measured_hashrate"]), (&json!("north"), &json!(2.0)));
    assert_eq!(json(Vec::new()), json!({ "miners": [] }));
}

#[test]
fn connections_and_services_have_no_blank_in_their_types() {
    let (Message::Connections(all), Message::Pool(pool)) =
        (golden("connections-outer"), golden("pool-status"))
    else {
        panic!()
    };
    let view = view(Addresses::Redacted);
    let entries: Vec<ConnectionEntry> =
        all.connections.iter().map(|one| ConnectionEntry::of_info(one, &view)).collect();
    let entries = serde_json::to_value(entries).unwrap();
    let types: Vec<&Value> =
        entries.as_array().unwrap().iter().map(|entry| &entry["connection_type"]).collect();
    assert_eq!(types, [&json!("Translator"), &json!("Mint"), &json!("JobDeclarator")]);
    // A reader of the deployed shape finds all its fields.
    #[derive(Deserialize)]
    struct Deployed {
        id: u32,
        address: String,
        channels: Vec<u32>,
        shares_submitted: u64,
        quotes_created: u64,
        ehash_mined: u64,
        last_share_at: Option<u64>,
        work_selection: bool,
    }
    serde_json::from_value::<Vec<Deployed>>(entries).unwrap();
    let entries: Vec<ConnectionEntry> =
        pool.downstream_proxies.iter().map(|one| ConnectionEntry::of(one, &view)).collect();
    serde_json::from_value::<Vec<Deployed>>(serde_json::to_value(entries).unwrap()).unwrap();
    let service = ServiceEntry { service: StatsService::of(&pool.services[2], &view), source: None };
    assert_eq!(
        serde_json::to_value(service).unwrap(),
        json!({"service_type": "JobDeclarator", "address": ""})
    );
}

#[test]
fn the_small_answers_have_their_shapes() {
    assert_eq!(serde_json::to_value(NO_DATA).unwrap(), json!({"error": "no data available"}));
    assert_eq!(serde_json::to_value(Hashrates::default()).unwrap(), json!({"data": []}));
    let health = Health { healthy: false, stale: vec!["north".to_owned()] };
    assert_eq!(serde_json::to_value(health).unwrap(), json!({"healthy": false, "stale": ["north"]}));
}
