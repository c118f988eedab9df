//! Every answer of Redis to every command of a market's passes and its pruning: a pass after a refused one shows what it would show
//! without the refusal.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use common::{
    Dump, NOW, Scene, Tracker, VALIDATOR, answers, decisions, finished_epoch, key, ledger, settings,
};
use domain::Address;
use serde_json::Value;
use store_redis::{Answer, Batch, Consequence, Lua, Operation, StoreError};
use store_tracker::{MarketKeys, Reach, Retention, forget_sealed, prune, prune_active};
use testkit::{FaultProxy, MarketProducer};

const JSON: &str = "{}";
const LATER: i64 = NOW + 30;

struct Walk {
    scene: Scene,
    proxy: FaultProxy,
}

impl Walk {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
        Self { scene, proxy }
    }

    /// A market with finished epochs and an open one, a first pass, and what has happened since; with a tracker behind the proxy.
    async fn begin(&mut self) -> (Arc<Tracker>, Value) {
        self.scene.run::<()>("FLUSHALL", "SYNC").await;
        let mut market: MarketProducer = self.scene.producer();
        finished_epoch(&mut market, 1, 2, NOW - 100).await;
        market.open_epoch(2, NOW - 60).await.expect("opened");
        market.submit(2, 3, NOW - 50).await.expect("submitted");
        let tracker = Tracker::with(settings(self.proxy.addr()), common::PROTOCOL, common::MARKET);
        let shown = tracker.full(NOW).await;
        market.close_epoch(2, NOW + 5).await.expect("closed");
        finished_epoch(&mut market, 3, 4, NOW + 10).await;
        market.open_epoch(4, NOW + 20).await.expect("opened");
        (tracker.into(), shown.summary)
    }

    /// Learns a step's commands and its results; then refuses each of its commands in each of these ways, makes the step again, and
    /// compares.
    async fn through<F: Future<Output = Result<Option<Value>, StoreError>>>(
        &mut self,
        rows: Vec<(&'static Answer, String)>,
        step: impl Fn(Arc<Tracker>) -> F,
    ) {
        // Before anything is counted, so that the server knows the scripts.
        step(self.begin().await.0).await.expect("done");
        let (tracker, _) = self.begin().await;
        self.proxy.reset_counts();
        step(tracker.clone()).await.expect("done");
        let (commands, whole): (u64, Dump) = (self.proxy.counts().commands, self.scene.dump().await);
        // What a refused step had already stored is old to the next one, as if it came after a good one.
        step(tracker).await.expect("done");
        let repeated = self.scene.dump().await;
        for (row, line) in rows {
            for skip in 0..commands {
                let (tracker, before) = self.begin().await;
                let refused = self.proxy.refused_commands();
                self.proxy.refuse_command(None, skip, &line);
                let answered = step(tracker.clone()).await;
                self.proxy.stop_refusing_commands();
                assert_eq!(self.proxy.refused_commands(), refused + 1, "{line} at {skip}");
                if let Ok(Some(after)) = &answered {
                    // Unknown is null, and never 0.
                    let total = |summary: &Value, name: &str| summary[name].as_u64();
                    for name in ["submissions_total", "epochs_total", "batches_total"] {
                        assert!(
                            total(after, name).is_none_or(|now| Some(now) >= total(&before, name)),
                            "{line} at {skip}: {name} of {after}"
                        );
                    }
                }
                if answered.is_ok() && row.consequence != Consequence::Key {
                    assert_eq!(self.scene.dump().await, whole, "{line} at {skip} was taken for done");
                }
                step(tracker.clone()).await.expect("done");
                let now = self.scene.dump().await;
                // A key that was unreadable once may have delayed when an entry is due, which no dataset shows.
                // `submissions_count` in the producers' hash of an epoch is written in the pass that seals the epoch, and in no later one.
                let is_compared = |key: &str| {
                    !key.ends_with(":state")
                        && (row.consequence != Consequence::Key
                            || ![ledger("meta"), ledger("sealed")].contains(&key.to_owned()))
                };
                for (key, content) in now.iter().filter(|(key, _)| is_compared(key)) {
                    let expected = [whole.get(key), repeated.get(key)];
                    assert!(
                        expected.contains(&Some(content)),
                        "{line} at {skip}: {key}: {content:?}, not {expected:?}"
                    );
                }
                assert_eq!(now.len(), whole.len(), "{line} at {skip}");
                step(tracker).await.expect("done");
                let now = self.scene.dump().await;
                for (key, content) in repeated.iter().filter(|(key, _)| is_compared(key)) {
                    assert_eq!(now.get(key), Some(content), "{line} at {skip}: {key}");
                }
            }
        }
    }
}

async fn pass(tracker: Arc<Tracker>) -> Result<Option<Value>, StoreError> {
    Ok(Some(tracker.try_pass(LATER as f64, Reach::Everything).await?.summary))
}

#[tokio::test]
async fn a_pass_after_a_refused_one_shows_what_it_would_show_without() {
    Walk::new().await.through(decisions(), pass).await;
}

#[tokio::test]
#[ignore = "slow: every row of the table"]
async fn a_pass_after_any_refused_one_shows_what_it_would_show_without() {
    Walk::new().await.through(answers(), pass).await;
}

/// Traces of three epochs, each in one key that is read in pages, older than what every pass reads.
async fn write_traces(scene: &mut Scene) {
    scene.zadd(&key("metrics:epochs:timeline"), NOW - 2_000, "open:7").await;
    scene.zadd(&key("metrics:batches:timeline"), NOW - 2_000, "local:8").await;
    scene.run::<()>("SADD", &[&key("epochs:active"), "9"]).await;
}

#[tokio::test]
async fn a_page_that_was_refused_is_read_by_a_later_pass_and_reported() {
    let mut walk = Walk::new().await;
    let expected = [Some(0), Some(3), Some(1)];
    write_traces(&mut walk.scene).await;
    let tracker = || Tracker::with(settings(walk.proxy.addr()), common::PROTOCOL, common::MARKET);
    // The first pass after a start makes the scripts known.
    assert_eq!(tracker().recent(NOW).await.totals()[1..], expected[1..]);
    for (command, count) in [("ZREVRANGEBYSCORE", 5), ("SSCAN", 1), ("SCARD", 1), ("ZCOUNT", 4)] {
        for line in ["WRONGTYPE by the test", "ERR by the test"] {
            for skip in 0..count {
                walk.scene.run::<()>("FLUSHALL", "SYNC").await;
                write_traces(&mut walk.scene).await;
                let (tracker, refused) = (tracker(), walk.proxy.refused_commands());
                walk.proxy.refuse_command(Some(command), skip, line);
                let first = tracker.try_pass(NOW as f64, Reach::New).await;
                walk.proxy.stop_refusing_commands();
                assert_eq!(walk.proxy.refused_commands(), refused + 1, "{command} {skip}");
                // A timeline that can't be counted is reported where it is read. Of a key of the ledger the refusal is an error.
                let is_reported = first.map_or(true, |first| !first.pass.faults.is_empty());
                assert!(is_reported || command == "ZCOUNT", "{line}: {command} {skip}");
                let mut last = tracker.recent(NOW + 30).await;
                while last.pass.is_incomplete() {
                    last = tracker.recent(NOW + 30).await;
                }
                assert_eq!(last.totals()[1..], expected[1..], "{line}: {command} {skip}");
            }
        }
    }
}

#[tokio::test]
async fn the_current_epoch_is_written_or_the_refusal_is_an_error() {
    let write = |tracker: Arc<Tracker>| async move {
        let mut session = tracker.session().await;
        let (candidates, faults) =
            tracker.market.latest(&mut session, LATER as f64, &BTreeSet::new()).await?;
        assert!(!candidates.is_empty() || !faults.is_empty());
        tracker.market.write_current_epoch(&mut session, JSON, std::time::Duration::from_secs(60)).await?;
        Ok(None)
    };
    Walk::new().await.through(answers(), write).await;
}

#[tokio::test]
async fn pruning_after_a_refused_run_removes_the_same() {
    let prune_all = |tracker: Arc<Tracker>| async move {
        let keys = MarketKeys::new(&Address::new(common::PROTOCOL), &Address::new(common::MARKET));
        let mut session = tracker.session().await;
        let retention = Retention { timelines: 0, priorities: 0, sealed: 0, active: Some(0) };
        for prunable in retention.of_market(&keys, VALIDATOR, LATER as u64) {
            while prune(&mut session, &prunable, 2).await? > 0 {}
        }
        for set in retention.of_active(&keys, LATER as u64) {
            prune_active(&mut session, &keys, &set.key, 0, set.before, 100).await?;
        }
        forget_sealed(&mut session, &keys, 0, LATER as u64, 100).await?;
        Ok(None)
    };
    Walk::new().await.through(answers(), prune_all).await;
}

/// The consequence of each answer, written down here once more: the table decides, and must not decide otherwise by accident.
const EXPECTED: [(Consequence, &[&str]); 5] = [
    (Consequence::Key, &["WRONGTYPE", "ERR"]),
    (Consequence::Renew, &["ERR max number of clients", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"]),
    (Consequence::Load, &["NOSCRIPT"]),
    (Consequence::Retry, &["LOADING", "BUSY", "UNKILLABLE", "TRYAGAIN", "EXECABORT", "STRANGE"]),
    (
        Consequence::Operator,
        &[
            "OOM",
            "MISCONF",
            "NOREPLICAS",
            "MOVED",
            "ASK",
            "CROSSSLOT",
            "NOPERM",
            "WRONGPASS",
            "DENIED",
            "SCHEMA",
        ],
    ),
];

#[tokio::test]
async fn each_answer_has_its_effect_on_connections_and_scripts() {
    static ONE: LazyLock<Lua> = LazyLock::new(|| Lua::new("return 1"));
    let walk = Walk::new().await;
    let mut rows = answers();
    let tracker = Tracker::with(settings(walk.proxy.addr()), common::PROTOCOL, common::MARKET);
    for (expected, words) in EXPECTED {
        for word in words {
            let at = rows.iter().position(|(_, line)| line.trim_end_matches(" by the test").trim() == *word);
            let (row, line) = rows.remove(at.expect(word));
            assert_eq!(row.consequence, expected, "{line}");
            let mut session = tracker.session().await;
            let created = tracker.store.pool().created;
            walk.proxy.refuse_command(Some("EVALSHA"), 0, &line);
            let call = |batch: &mut Batch| {
                ONE.run(batch, &["key"]);
            };
            let sent = session.run_scripts(Operation::new("test", "test"), "key", call).await;
            let [answer] = sent.expect("answered").try_into().expect("one");
            assert_eq!(answer.is_ok(), expected == Consequence::Load, "{line}: {answer:?}");
            drop(session);
            drop(tracker.session().await);
            let renewed = tracker.store.pool().created - created;
            assert_eq!(renewed, u64::from(expected == Consequence::Renew), "{line}");
        }
    }
    let left: Vec<_> = rows.iter().map(|(row, _)| row.word).collect();
    assert!(left.is_empty(), "without an expected consequence: {left:?}");
}
