//! Every answer of Redis to every command of the index: events that were not applied are never taken for applied.

use std::collections::BTreeSet;

use store_redis::{Consequence, Session, Store, StoreError};
use store_tracker::{Index, IndexKeys, IndexPart, Indexed, Output};
use testkit::FaultProxy;

use crate::common::{Scene, answers, settings};
use crate::scene::{NOW, WEEK, changes, life, texts};

struct Walk {
    scene: Scene,
    proxy: FaultProxy,
    store: Store,
    index: Index,
}

impl Walk {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
        let store = Store::new(settings(proxy.addr())).expect("settings");
        Self { scene, proxy, store, index: Index::new(IndexKeys::plain(&Output::default()), WEEK) }
    }

    async fn session(&self) -> Session {
        self.store.session(store_redis::Operation::new("test", "test")).await.expect("a session")
    }

    async fn apply(&self) -> Result<Indexed, StoreError> {
        let events = life();
        self.index.apply(&mut self.session().await, &changes(NOW, &texts(&events)), NOW).await
    }

    /// Ages validators and forgets everything; returns the keys that could not be written.
    async fn forget(&self) -> Result<usize, StoreError> {
        let mut session = self.session().await;
        let (_, aged) = self.index.age_validators(&mut session, 0, 100, NOW + 700).await?;
        let mut faults = aged.len();
        for part in IndexPart::ALL {
            faults += self.index.forget(&mut session, part, NOW + 1, 100).await?.1.len();
        }
        faults += self.index.forget_validators(&mut session, 0, NOW + 1, 100).await?.2.len();
        Ok(faults)
    }
}

#[tokio::test]
async fn an_answer_that_voids_the_batch_is_an_error_of_the_index_and_a_repeat_writes_all() {
    let mut walk = Walk::new().await;
    walk.apply().await.expect("indexed");
    let whole = walk.scene.dump().await;
    walk.proxy.reset_counts();
    walk.apply().await.expect("indexed");
    let commands = walk.proxy.counts().commands;
    assert!(commands > 40, "{commands}");
    let mut met = BTreeSet::new();
    for (row, line) in answers() {
        for skip in 0..commands {
            walk.scene.run::<()>("FLUSHALL", "SYNC").await;
            let before = walk.proxy.refused_commands();
            walk.proxy.refuse_command(None, skip, &line);
            let indexed = walk.apply().await;
            walk.proxy.stop_refusing_commands();
            assert_eq!(walk.proxy.refused_commands(), before + 1, "{line} at {skip}");
            match indexed {
                // A refused check of the connection, or a script that was loaded: all is written.
                Ok(indexed) if indexed == Indexed::default() => {
                    assert_eq!(walk.scene.dump().await, whole, "{line} at {skip}");
                }
                Ok(indexed) => {
                    assert_eq!(row.consequence, Consequence::Key, "{line} at {skip}: {:?}", indexed.faults);
                }
                Err(error) => {
                    assert_ne!(row.consequence, Consequence::Key, "{line} at {skip}: {error}");
                    met.insert(row.consequence);
                }
            }
            walk.apply().await.expect("indexed");
            assert_eq!(walk.scene.dump().await, whole, "{line} at {skip}");
        }
    }
    assert_eq!(met.len(), Consequence::ALL.len() - 1, "{met:?}");
}

#[tokio::test]
async fn pruning_that_was_refused_forgets_the_rest_in_its_next_run() {
    let mut walk = Walk::new().await;
    walk.apply().await.expect("indexed");
    walk.proxy.reset_counts();
    walk.forget().await.expect("forgotten");
    let commands = walk.proxy.counts().commands;
    assert_eq!(walk.scene.dump().await.len(), 0);
    for (row, line) in answers() {
        // A key whose own command fails is reported; what names it may be forgotten before it.
        if row.consequence == Consequence::Key {
            continue;
        }
        for skip in 0..commands {
            walk.apply().await.expect("indexed");
            walk.proxy.refuse_command(None, skip, &line);
            if let Ok(faults) = walk.forget().await {
                assert_eq!(faults, 0, "{line} at {skip}");
            }
            walk.proxy.stop_refusing_commands();
            walk.forget().await.expect("forgotten");
            let left = walk.scene.dump().await;
            assert!(left.is_empty(), "{line} at {skip}: {:?}", left.keys());
        }
    }
}
