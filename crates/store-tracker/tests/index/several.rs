//! Several indexers at once.

use std::time::Duration;

use store_redis::Store;
use testkit::{FaultProxy, wait_until};

use crate::common::settings;
use crate::scene::{Indexing, NOW, apply};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_indexers_at_once_leave_every_entity_in_the_set_of_its_state() {
    let mut scene = Indexing::plain().await;
    let steps = ["epoch:open", "epoch:closed", "batch:local", "batch:aggregated"];
    let mut tasks = Vec::new();
    for indexer in 0..4_usize {
        let (store, index) = (scene.store.clone(), scene.index.clone());
        tasks.push(tokio::spawn(async move {
            for epoch in 0..40 {
                for turn in 0..steps.len() {
                    // Each in another order, so that all of them overtake each other.
                    let step = steps[(turn + indexer) % steps.len()];
                    let submission =
                        ["received", "validating", "validated", "finalized"][(turn * 3 + indexer) % 4];
                    let events = [
                        format!("{step}:{epoch}"),
                        format!("submission:{submission}:s{epoch}"),
                        format!("batch:validator:v{}:{epoch}", epoch % 3),
                    ];
                    apply(&store, &index, NOW, &events.each_ref().map(String::as_str)).await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("it indexed");
    }
    let mut all: Vec<String> = (0..40).map(|epoch| epoch.to_string()).collect();
    all.sort();
    assert_eq!(scene.members("completed:epochs").await, all);
    let mut submissions: Vec<String> = (0..40).map(|epoch| format!("s{epoch}")).collect();
    submissions.sort();
    assert_eq!(scene.members("finalized:submissions").await, submissions);
    for empty in ["active:epochs", "pending:epochs", "active:submissions", "rejected:submissions"] {
        assert_eq!(scene.members(empty).await, Vec::<String>::new(), "{empty}");
    }
    assert_eq!(scene.field("validator:v0:stats", "batches").await.as_deref(), Some("14"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexer_that_is_overtaken_half_way_leaves_the_sets_of_the_later_state() {
    let mut scene = Indexing::plain().await;
    let proxy = FaultProxy::start(scene.scene.redis.addr()).await.expect("a proxy");
    let slow = Store::new(settings(proxy.addr())).expect("settings");
    let index = scene.index.clone();
    apply(&slow, &index, NOW, &["epoch:open:1"]).await;
    // Between the slow index's script and its sets are 200 ms, in which the quick one does everything.
    proxy.delay(Duration::from_millis(100));
    let overtaken = tokio::spawn(async move {
        apply(&slow, &index, NOW, &["epoch:open:7", "submission:received:s"]).await;
    });
    let mut connection = scene.scene.connection.clone();
    wait_until("the slow one has decided", Duration::from_secs(20), async || {
        let state: Option<String> = redis::cmd("HGET")
            .arg(&["state:epoch:7", "state"])
            .query_async(&mut connection)
            .await
            .expect("answered");
        state.is_some()
    })
    .await;
    scene.hear(NOW, &["batch:aggregated:7", "submission:finalized:s"]).await;
    overtaken.await.expect("it indexed");
    assert_eq!(scene.members("completed:epochs").await, ["7"]);
    assert_eq!(scene.members("active:epochs").await, ["1"]);
    assert_eq!(scene.members("finalized:submissions").await, ["s"]);
    assert_eq!(scene.members("active:submissions").await, Vec::<String>::new());
}
