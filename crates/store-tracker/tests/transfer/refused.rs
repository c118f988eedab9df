//! Every kind of answer of Redis to every command of the ledger's upgrade and of the `ledger` commands: a refused one is an error, and its repeat
//! leaves what one leaves that was not refused.

use std::collections::BTreeMap;

use store_redis::Consequence;
use store_tracker::{Archive, TransferError, remove_datasets, remove_index, reset_ledger};
use testkit::{
    FaultProxy,
    contents::{self, dumps},
};

use super::{AT, export, import, with_ledger};
use crate::common::{self, Scene, Tracker, decisions, settings};

/// When the ledger of the first version was recorded, in Unix seconds.
const RECORDED: f64 = 1_795_341_550.0;

/// A server with some contents, and a tracker behind a proxy.
struct Walk {
    scene: Scene,
    contents: BTreeMap<String, contents::Dump>,
    proxy: FaultProxy,
    tracker: Tracker,
}

impl Walk {
    async fn new(mut scene: Scene) -> Self {
        let proxy = FaultProxy::start(scene.redis.addr()).await.expect("a proxy");
        let tracker = Tracker::with(settings(proxy.addr()), common::PROTOCOL, common::MARKET);
        Self { contents: dumps(&mut scene.connection).await, scene, proxy, tracker }
    }

    /// The contents of the beginning.
    async fn begin(&mut self) {
        self.scene.run::<()>("FLUSHALL", "SYNC").await;
        for (key, (content, _)) in &self.contents {
            self.scene.run::<()>("RESTORE", (key, 0, &content[..])).await;
        }
    }

    /// Makes a step with each of its commands refused in each way, and then without; returns how many were refused.
    async fn through(&mut self, step: impl AsyncFn(&Tracker) -> Result<(), TransferError>) -> u64 {
        // Once before anything is counted, so that the server knows the scripts.
        for _ in 0..2 {
            self.begin().await;
            self.proxy.reset_counts();
            step(&self.tracker).await.expect("done");
        }
        let (commands, whole) = (self.proxy.counts().commands, self.scene.dump().await);
        let mut all = 0;
        for (row, line) in decisions() {
            // Most of the later ones are alike: one for each part of the ledger, or for each hour.
            for skip in (0..commands).filter(|skip| *skip < 8 || skip % 7 == 0) {
                self.begin().await;
                let refused = self.proxy.refused_commands();
                self.proxy.refuse_command(None, skip, &line);
                let answered = step(&self.tracker).await;
                self.proxy.stop_refusing_commands();
                assert_eq!(self.proxy.refused_commands(), refused + 1, "{line} at {skip}");
                all += 1;
                if answered.is_ok() && row.consequence != Consequence::Key {
                    assert_eq!(self.scene.dump().await, whole, "{line} at {skip} was taken for done");
                }
                step(&self.tracker).await.expect("done");
                assert_eq!(self.scene.dump().await, whole, "{line} at {skip}");
            }
        }
        all
    }
}

#[tokio::test]
async fn an_upgrade_that_was_refused_is_made_by_the_next_pass() {
    let mut scene = Scene::new().await;
    scene.restore(include_str!("../ledger_v1.txt")).await;
    let upgrade = async |tracker: &Tracker| {
        tracker.market.upgrade(&mut tracker.session().await, RECORDED).await?;
        Ok(())
    };
    assert!(Walk::new(scene).await.through(upgrade).await > 20);
}

#[tokio::test]
async fn a_refused_export_is_an_error_and_changes_nothing() {
    let (scene, ..) = with_ledger().await;
    let exported = async |tracker: &Tracker| export(tracker).await.map(drop);
    assert!(Walk::new(scene).await.through(exported).await > 20);
}

#[tokio::test]
async fn a_refused_import_is_an_error_and_leaves_the_ledger_or_the_imported_one() {
    let (scene, tracker, _) = with_ledger().await;
    let text = export(&tracker).await.expect("exported").to_text();
    let archive = Archive::read(text.as_bytes()).expect("an archive");
    let imported = async |tracker: &Tracker| import(tracker, &archive, true).await.map(drop);
    assert!(Walk::new(scene).await.through(imported).await > 20);
}

#[tokio::test]
async fn a_refused_reset_or_removal_is_repeated() {
    let (scene, ..) = with_ledger().await;
    let remove = async |tracker: &Tracker| {
        let (mut session, keys) = (tracker.session().await, tracker.market.keys());
        reset_ledger(&mut session, keys, AT).await?;
        remove_datasets(&mut session, keys, AT).await?;
        remove_index(&mut session, keys).await?;
        Ok(())
    };
    assert!(Walk::new(scene).await.through(remove).await > 20);
}
