//! A server, an index in it, and the events that tests are made of.

pub(crate) use crate::common::Dump;
use crate::common::{MARKET, PROTOCOL, Scene, settings};
use domain::{
    Address,
    tracker::index::{Changes, IndexEvent},
};
use store_redis::{Session, Store};
use store_tracker::{Index, IndexKeys, Indexed, MarketKeys, Output};

/// The moment at which most tests happen, in Unix seconds.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const WEEK: u64 = 7 * 86_400;
pub(crate) const CID: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG";
pub(crate) const PEER: &str = "12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAi";

pub(crate) struct Indexing {
    pub(crate) scene: Scene,
    pub(crate) store: Store,
    pub(crate) index: Index,
}

impl Indexing {
    pub(crate) async fn under(keys: IndexKeys) -> Self {
        let scene = Scene::new().await;
        let store = Store::new(settings(scene.redis.addr())).expect("settings");
        Self { scene, store, index: Index::new(keys, WEEK) }
    }

    pub(crate) async fn plain() -> Self {
        Self::under(IndexKeys::plain(&Output::default())).await
    }

    pub(crate) async fn of_market() -> Self {
        let keys = MarketKeys::new(&Address::new(PROTOCOL), &Address::new(MARKET));
        Self::under(IndexKeys::of_market(&keys)).await
    }

    pub(crate) async fn session(&self) -> Session {
        self.store.session(store_redis::Operation::new("test", "test")).await.expect("a session")
    }

    /// Applies events that were received at `at`.
    pub(crate) async fn hear(&self, at: u64, events: &[&str]) -> Indexed {
        apply(&self.store, &self.index, at, events).await
    }

    pub(crate) async fn members(&mut self, key: &str) -> Vec<String> {
        let mut members: Vec<String> = self.scene.run("SMEMBERS", key).await;
        members.sort();
        members
    }

    pub(crate) async fn field(&mut self, key: &str, field: &str) -> Option<String> {
        self.scene.run("HGET", &[key, field]).await
    }

    pub(crate) async fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.scene.run("KEYS", "*").await;
        keys.sort();
        keys
    }

    pub(crate) async fn dump(&mut self) -> Dump {
        self.scene.dump().await
    }
}

pub(crate) fn changes(at: u64, events: &[&str]) -> Changes {
    let mut changes = Changes::default();
    for event in events {
        changes.add(at, &IndexEvent::parse(event.as_bytes()).expect(event));
    }
    changes
}

pub(crate) async fn apply(store: &Store, index: &Index, at: u64, events: &[&str]) -> Indexed {
    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    let changes = changes(at, events);
    index.apply(&mut session, &changes, at).await.expect("indexed")
}

/// An epoch's whole life, with its submissions and a validator.
pub(crate) fn life() -> Vec<String> {
    let ids = ["7-pair:UNI-V3-1763900000000000000".to_owned(), format!("7-pair:UNI-V3-42-{CID}")];
    let (colons, other) = ("7:42:pair:UNI:1763900000:peer", "no-form-of-ours");
    let mut all = vec!["epoch:open:7".to_owned()];
    all.extend([&ids[0], colons, other].map(|id| format!("submission:received:{id}")));
    all.push(format!("submission:validated:{}", ids[1]));
    all.push(format!("submission:rejected:{other}"));
    all.push(format!("submission:finalized:{}", ids[1]));
    all.extend(["epoch:closed:7", "part:created:7:0", "batch:local:7"].map(str::to_owned));
    all.push(format!("batch:validator:{PEER}:7"));
    all.push("batch:validator:name:with:colons:8".to_owned());
    all.push("batch:aggregated:7".to_owned());
    all
}

pub(crate) fn texts(events: &[String]) -> Vec<&str> {
    events.iter().map(String::as_str).collect()
}
