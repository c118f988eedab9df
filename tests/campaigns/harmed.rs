//! Databases and Redis servers that are changed, emptied or full while the service runs: what it tells is late at most.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use state_tracker::service::Service;
use testkit::wait_until;

use crate::{
    common::{SOON, get},
    migrated::run,
    official::Official,
    scene::{CAMPAIGN, ROLE, RUN, Scene, USER, token, url},
};

/// A service on a migrated database, which listens and counts, and a client in the room of its campaign.
async fn migrated() -> (Scene, Service, Official) {
    let scene = Scene::new().await;
    run(&scene, &["migrate", "--service", ROLE]).await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let metrics = service.http().metrics_address();
    for name in ["state_tracker_campaigns_listening", "state_tracker_campaigns_counting"] {
        wait_until(name, SOON, async || {
            let (_, page) = get(metrics, "/metrics").await;
            page.lines().any(|line| line.starts_with(name) && line.ends_with(" 1"))
        })
        .await;
    }
    let clients = joined(&service).await;
    (scene, service, clients)
}

async fn joined(service: &Service) -> Official {
    let mut clients = Official::start().await;
    clients.connect("a", &url(service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    clients.event("a", "campaign:status").await;
    clients
}

/// The next status with so many jobs.
async fn status(clients: &mut Official, jobs: u64) -> Value {
    loop {
        let status = clients.event("a", "campaign:status").await;
        if status["metrics"]["totalJobs"] == jobs {
            return status;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_between_two_listening_connections_is_told_as_soon_as_the_second_one_is_there() {
    let (scene, service, mut clients) = migrated().await;
    // The seldom look comes each 15 s, and would tell it too: not within half of that, each time.
    for round in 0..6 {
        let run = format!("9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d1{round:03}");
        scene
            .sql(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'; \
                 INSERT INTO campaign_runs (id, campaign_id, status) VALUES ('{run}', '{CAMPAIGN}', 'paused'); \
                 UPDATE campaign_runs SET status = 'running' WHERE id = '{run}'"
            ))
            .await;
        let since = Instant::now();
        clients.wait(|line| line["name"] == "run:status" && line["values"][0]["runId"] == *run).await;
        let took = since.elapsed();
        assert!(took < Duration::from_secs(8), "round {round}: {took:?}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_summary_of_a_run_that_is_counted_by_its_changes_is_counted_in_full() {
    let (scene, service, mut clients) = migrated().await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    status(&mut clients, 2).await;
    // What no trigger sees.
    scene
        .sql(&format!(
            "SET session_replication_role = replica; \
             INSERT INTO jobs (run_id, queue, type, status) VALUES ('{RUN}', 'trade', 'swap', 'failed'); \
             SET session_replication_role = origin; \
             UPDATE campaign_runs SET status = 'completed', ended_at = now() WHERE id = '{RUN}'"
        ))
        .await;
    wait_until("the last summary", SOON, async || {
        scene.summary(RUN).await.is_some_and(|summary| summary["final"] == true && summary["totalJobs"] == 3)
    })
    .await;
    assert_eq!(status(&mut clients, 3).await["final"], true);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_has_no_memory_no_changed_job_and_no_status_is_lost() {
    let (scene, service, mut clients) = migrated().await;
    let mut redis = scene.redis.connection().await.expect("a connection");
    let mut set = async |name: &str, value: &str| {
        let mut command = redis::cmd("CONFIG");
        let command = command.arg("SET").arg(name).arg(value);
        command.query_async::<()>(&mut redis).await.expect("it is set");
    };
    set("maxmemory-policy", "noeviction").await;
    set("maxmemory", "1").await;
    scene.add_jobs(RUN, "trade", "failed", 1).await;
    // Its summary is written without Redis; by then its job was offered.
    scene.counted(RUN, 2).await;
    let metrics = service.http().metrics_address();
    wait_until("offers are refused", SOON, async || {
        let (_, page) = get(metrics, "/metrics").await;
        page.lines().any(|line| {
            line.contains("operation=\"append_events\"")
                && line.contains("writes_refused")
                && !line.ends_with(" 0")
        })
    })
    .await;
    set("maxmemory", "0").await;
    assert_eq!(clients.event("a", "job:status").await["status"], "failed");
    status(&mut clients, 2).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_costs_no_status_and_ids_go_on() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = joined(&service).await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    let before = status(&mut clients, 2).await;
    let mut redis = scene.redis.connection().await.expect("a connection");
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.expect("it is emptied");
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    let after = status(&mut clients, 3).await;
    assert!(after["eventId"].as_u64() > before["eventId"].as_u64(), "{before} {after}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_renamed_makes_the_service_not_ready_and_ends_no_connection() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = joined(&service).await;
    scene.sql("ALTER TABLE campaign_runs RENAME COLUMN summary TO moved").await;
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    wait_until("campaigns are not ready", SOON, async || get(address, "/health/ready").await.0 == 503).await;
    scene.sql("ALTER TABLE campaign_runs RENAME COLUMN moved TO summary").await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    status(&mut clients, 2).await;
    wait_until("campaigns are ready", SOON, async || get(address, "/health/ready").await.0 == 200).await;
    assert!(clients.left("a").iter().all(|line| line["what"] != "disconnect"));
    service.stop().await;
}
