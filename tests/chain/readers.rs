//! What finalizers and attestors read, with the types that they read it by. These know fields and their types from the original alone: a
//! field that is missing, that is called otherwise, is of another type or is new is an error.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use serde::{Deserialize, de::DeserializeOwned};
use testkit::{Emission, RedisServer, contents::query, world::World};

use super::{common::Process, followed, following, stop};

/// `DataMarketAddress` as the original writes it: an address with its checksum.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Spelled(String);

impl TryFrom<String> for Spelled {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let checksummed = domain::Address::new(&text).checksummed().to_owned();
        if text == checksummed { Ok(Self(text)) } else { Err(format!("{text} is not {checksummed}")) }
    }
}

/// An item of the finalizers' queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case)] // The names are those of the original.
struct QueuedBatch {
    DataMarketAddress: Spelled,
    EpochID: u64,
    BatchID: u32,
    Batch: BTreeMap<String, Vec<String>>,
}

/// An item of the attestors' queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case)]
struct QueuedAttestation {
    DataMarketAddress: Spelled,
    BatchCID: String,
    EpochID: u64,
}

async fn queue<T: DeserializeOwned>(connection: &mut MultiplexedConnection, key: &str) -> Vec<T> {
    let items: Vec<String> = query(connection, &["LRANGE", key, "0", "-1"]).await;
    // RPOP takes the oldest first, as the readers do.
    let read = |item: &String| serde_json::from_str(item).unwrap_or_else(|error| panic!("{error}: {item}"));
    items.iter().rev().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unmodified_readers_of_the_queues_take_whatever_is_handed_over() {
    let mut world = World::new(23).await;
    world.grow(120).await;
    for epoch in 1..=3 {
        let cid = format!("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbz{epoch}");
        let market = world.contracts.markets[0].clone();
        world.emit(&market, &Emission::BatchSubmitted { epoch, cid }).await;
    }
    world.mine().await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    world.collect(&mut connection, 0).await;
    let mut environment = following(redis.addr(), &world);
    environment.insert("ATTESTOR_QUEUE_PUSH_ENABLED".to_owned(), "true".to_owned());
    let mut process = Process::start(&environment).await;
    followed(&mut connection, &world).await;
    stop(&mut process).await;

    let batches: Vec<QueuedBatch> = queue(&mut connection, "finalizerQueue").await;
    let mut numbers: BTreeMap<(String, u64), Vec<u32>> = BTreeMap::new();
    for batch in &batches {
        let market = batch.DataMarketAddress.0.to_lowercase();
        assert!(!batch.Batch.is_empty());
        for (project, keys) in &batch.Batch {
            assert!(!keys.is_empty() && keys.iter().collect::<BTreeSet<_>>().len() == keys.len(), "{keys:?}");
            for key in keys {
                // "MARKET_LOWERCASE.EPOCH.PROJECT.SLOT: four parts by dots."
                let parts: Vec<&str> = key.split('.').collect();
                assert_eq!(parts[..3], [market.as_str(), &batch.EpochID.to_string(), project], "{key}");
                assert_eq!(parts.len(), 4, "{key}");
            }
        }
        let stored: String = query(
            &mut connection,
            &["GET", &format!("BatchSubmissionsKey.{market}.{}.{}", batch.EpochID, batch.BatchID)],
        )
        .await;
        let stored: BTreeMap<String, Vec<String>> =
            serde_json::from_str(&stored).expect("the map of a batch");
        assert_eq!(stored, batch.Batch);
        numbers.entry((market, batch.EpochID)).or_default().push(batch.BatchID);
    }
    assert!(batches.len() > 20, "{} batches", batches.len());
    for ((market, epoch), mut numbers) in numbers {
        numbers.sort_unstable();
        let count: u32 = query(&mut connection, &["GET", &format!("BatchCountKey.{market}.{epoch}")]).await;
        assert!(numbers.iter().copied().eq(1..=count), "{market} {epoch}: {numbers:?} of {count}");
    }

    let attestations: Vec<QueuedAttestation> = queue(&mut connection, "attestorQueue").await;
    assert_eq!(attestations.len(), 3);
    let markets: BTreeSet<String> =
        world.contracts.markets.iter().map(|market| market.to_lowercase()).collect();
    for item in attestations {
        assert!(markets.contains(&item.DataMarketAddress.0.to_lowercase()) && item.EpochID > 0);
        assert!(!item.BatchCID.is_empty());
    }
}
