//! The whole service with a relayer: what it is told, in which order, and how often, whatever fails in between.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;
#[path = "relayer/kills.rs"]
mod kills;
#[path = "relayer/lanes.rs"]
mod lanes;

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{RelayerCall, RelayerServer, contents::query, world::World};

use common::following;

const TOKEN: &str = "the-token-of-the-relayer";

/// The environment of a service that follows a world and tells a relayer.
fn telling(redis: std::net::SocketAddr, world: &World, relayer: &RelayerServer) -> BTreeMap<String, String> {
    let own = [("TX_RELAYER_URL", relayer.url()), ("TX_RELAYER_AUTH_WRITE_TOKEN", TOKEN.to_owned())];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    following(redis, world).into_iter().chain(own).collect()
}

/// The number of batches of each epoch of a market that was handed over, by the keys that finalizers read.
async fn handed_over(connection: &mut MultiplexedConnection, market: &str) -> BTreeMap<u64, u64> {
    let market = market.to_lowercase();
    let pattern = format!("BatchCountKey.{market}.*");
    let keys: Vec<String> = query(connection, &["KEYS", &pattern]).await;
    let mut counts = BTreeMap::new();
    for key in keys {
        let epoch = key.rsplit('.').next().and_then(|epoch| epoch.parse().ok()).expect("an epoch");
        let count: u64 = query(connection, &["GET", &key]).await;
        counts.insert(epoch, count);
    }
    counts
}

/// The calls of a market.
fn of_market<'a>(calls: &'a [RelayerCall], market: &str) -> Vec<&'a RelayerCall> {
    let is_of = |call: &&RelayerCall| {
        call.field("dataMarketAddress").as_str().is_some_and(|of| of.eq_ignore_ascii_case(market))
    };
    calls.iter().filter(is_of).collect()
}

/// Judges by the contract what a relayer got of a market: each epoch that was handed over, with its number of batches and the token, in
/// their order; repeated with the same key and the same words alone, and never after a later one.
fn judge(calls: &[RelayerCall], market: &str, expected: &BTreeMap<u64, u64>) {
    let calls = of_market(calls, market);
    let mut taken: Vec<(u64, u64)> = Vec::new();
    let mut words: BTreeMap<String, String> = BTreeMap::new();
    let mut last = 0;
    for call in calls {
        assert_eq!(call.path, "/submitBatchSize");
        let number = |name: &str| call.field(name).as_u64().expect("a number");
        let (epoch, batches) = (number("epochID"), number("batchSize"));
        let body: Value = serde_json::from_str(&call.body).expect("JSON");
        let address = domain::Address::new(market).checksummed().to_owned();
        assert_eq!(
            body,
            json!({ "epochID": epoch, "batchSize": batches, "authToken": TOKEN, "dataMarketAddress": address })
        );
        assert!(epoch >= last, "epoch {epoch} came after epoch {last}");
        last = epoch;
        let key = call.key.clone().expect("each call has a key");
        let first = words.entry(key.clone()).or_insert_with(|| call.body.clone());
        assert_eq!(*first, call.body, "a repeated call has the same words");
        let keys = words.iter().filter(|(_, body)| **body == call.body).count();
        assert_eq!(keys, 1, "a repeated call has the same key: {key}");
        if call.is_taken() && taken.last() != Some(&(epoch, batches)) {
            taken.push((epoch, batches));
        }
    }
    let expected: Vec<(u64, u64)> = expected.iter().map(|(epoch, batches)| (*epoch, *batches)).collect();
    assert_eq!(taken, expected, "market {market}");
}
