//! What a reader of the datasets sees with the usual intervals: the Monitor API reads these keys and nothing else.

use super::{
    aging::age,
    small::{BEGIN, Scene, key},
    tracker::USUAL,
};

const HOUR: u64 = 3600;

/// A tracker with the usual intervals, ten minutes before an hour.
async fn scene() -> Scene {
    Scene::start_with(USUAL).await
}

/// An epoch is opened, now or earlier.
async fn open(scene: &mut Scene, epoch: &str, at: u64, seconds: u64) {
    let (start, duration) = (at.to_string(), seconds.to_string());
    scene.run("ZADD", "metrics:epochs:timeline", &[&start, &format!("open:{epoch}")]).await;
    scene.run("SADD", "epochs:active", &[epoch]).await;
    let info = ["status", "open", "start", &start, "duration", &duration];
    scene.run("HSET", &format!("metrics:epoch:{epoch}:info"), &info).await;
}

/// An epoch is closed, and both batches are made; the aggregated one lists these validators.
async fn finish(scene: &mut Scene, epoch: &str, at: u64, validators: &str) {
    let at = at.to_string();
    scene.run("ZADD", "metrics:epochs:timeline", &[&at, &format!("close:{epoch}")]).await;
    scene.run("HSET", &format!("metrics:epoch:{epoch}:info"), &["status", "closed", "end", &at]).await;
    for batch in ["local", "aggregated"] {
        scene.run("ZADD", "metrics:batches:timeline", &[&at, &format!("{batch}:{epoch}")]).await;
    }
    scene.run("SET", &format!("metrics:batch:{epoch}:validators"), &[validators]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_validators_do_not_fall_to_0_while_a_window_is_open() {
    let mut scene = scene().await;
    open(&mut scene, "1", BEGIN, 20).await;
    scene.advance(30).await;
    finish(&mut scene, "1", BEGIN + 25, r#"["validator1","validator2","validator3"]"#).await;
    scene.advance(30).await;
    assert_eq!(scene.dataset("dashboard:summary").await["active_validators"], 3);
    // Nobody was heard of in the next window yet.
    open(&mut scene, "2", BEGIN + 60, 60).await;
    scene.advance(30).await;
    assert_eq!(scene.dataset("dashboard:summary").await["active_validators"], 3);
    scene.run("SADD", "epoch:2:validators", &["validator3", "validator4"]).await;
    scene.advance(30).await;
    assert_eq!(scene.dataset("dashboard:summary").await["active_validators"], 4, "both together");
    scene.advance(300).await;
    assert_eq!(scene.dataset("dashboard:summary").await["active_validators"], 2, "the batch is long ago");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_hours_are_there_when_an_hour_has_turned() {
    let mut scene = scene().await;
    let turn = BEGIN + 600;
    scene.advance(590).await;
    open(&mut scene, "1", turn - 5, 20).await;
    // At the turn, and not with the next statistics, minutes later.
    scene.advance(10).await;
    let new = scene.dataset(&format!("stats:hourly:{turn}")).await;
    assert_eq!((&new["epochs"], &new["hour_end"]), (&0.into(), &"2026-11-22T10:00:00Z".into()));
    let before = scene.dataset(&format!("stats:hourly:{}", turn - HOUR)).await;
    assert_eq!((&before["epochs"], &before["hour_end"]), (&1.into(), &"2026-11-22T10:00:00Z".into()));
    // What belongs to the hour before, and comes late, is shown by the next passes.
    open(&mut scene, "2", turn - 2, 20).await;
    scene.advance(60).await;
    assert_eq!(scene.dataset(&format!("stats:hourly:{}", turn - HOUR)).await["epochs"], 2);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_datasets_of_a_market_expire_together() {
    let mut scene = scene().await;
    open(&mut scene, "1", BEGIN, 20).await;
    scene.advance(30).await;
    for second in 0..90 {
        age(&mut scene.connection, 1).await;
        scene.advance(1).await;
        let mut ttls = Vec::new();
        for name in ["dashboard:summary", "stats:current", "metrics:participation", "metrics:current_epoch"] {
            let ttl: i64 =
                redis::cmd("TTL").arg(key(name)).query_async(&mut scene.connection).await.expect("a TTL");
            ttls.push(ttl);
        }
        let spread = ttls.iter().max().zip(ttls.iter().min()).map(|(most, least)| most - least);
        assert!(spread.is_some_and(|spread| spread <= 10) && ttls[0] > 0, "{ttls:?} after {second} s");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remaining_time_is_never_older_than_five_seconds() {
    let mut scene = scene().await;
    open(&mut scene, "1", BEGIN, 60).await;
    // The pass that finds it.
    scene.advance(30).await;
    let mut shown = Vec::new();
    for second in 31..60 {
        scene.advance(1).await;
        let left = scene.dataset("metrics:current_epoch").await["time_remaining_seconds"].as_u64();
        let left = left.expect("a number");
        assert!(left >= 60 - second && left <= 60 - second + 5, "{left} at {second}");
        shown.push(left);
    }
    shown.dedup();
    assert!(shown.len() >= 5, "{shown:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_epoch_that_others_aggregated_is_complete() {
    let mut scene = scene().await;
    open(&mut scene, "1", BEGIN, 20).await;
    scene.run("HSET", "metrics:epoch:1:info", &["status", "closed"]).await;
    let state = ["window_status", "closed", "level1_status", "skipped", "level2_status", "completed"];
    scene.run("HSET", "epoch:1:state", &state).await;
    scene.advance(30).await;
    assert_eq!(scene.dataset("metrics:current_epoch").await["phase"], "complete");
    let gaps: Vec<String> = redis::cmd("ZRANGE")
        .arg(key("epochs:gaps"))
        .arg(0)
        .arg(-1)
        .query_async(&mut scene.connection)
        .await
        .expect("members");
    assert_eq!(
        (gaps, scene.dataset("dashboard:summary").await["epoch_gaps_count"].clone()),
        (vec!["1:missing_onchain".to_owned()], 1.into())
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dataset_is_written_again_with_the_next_pass_after_redis_lost_its_data() {
    let mut scene = scene().await;
    open(&mut scene, "1", BEGIN, 20).await;
    scene.advance(60).await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut scene.connection).await.expect("flushed");
    open(&mut scene, "2", BEGIN + 60, 20).await;
    scene.advance(30).await;
    let hour = format!("stats:hourly:{}", BEGIN - BEGIN % HOUR);
    for (dataset, field) in
        [("dashboard:summary", "epochs_total"), ("stats:daily", "epochs_total"), (&hour, "epochs")]
    {
        assert_eq!(scene.dataset(dataset).await[field], 1, "{dataset}");
    }
    scene.end().await;
}
