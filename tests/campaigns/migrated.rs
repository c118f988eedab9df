//! With the migration: the database tells of changes, runs are counted by them, and jobs are events. The way there and back.

use serde_json::json;
use testkit::wait_until;

use crate::{
    common::{SOON, get, with},
    official::Official,
    scene::{CAMPAIGN, DATABASE, ROLE, RUN, Scene, USER, token, url},
};

/// Runs a command about campaigns as the owner of the tables.
pub(crate) async fn run(scene: &Scene, arguments: &[&str]) -> String {
    let environment = with(&scene.environment, &[("DATABASE_URL", &scene.postgres.admin_url(DATABASE))]);
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .arg("campaigns")
        .args(arguments)
        .env_clear()
        .envs(&environment)
        .output()
        .await
        .expect("it runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_migration_changes_are_heard_jobs_are_events_and_it_can_be_undone() {
    let scene = Scene::new().await;
    assert!(run(&scene, &["state"]).await.contains("was not run"));
    run(&scene, &["migrate", "--service", ROLE]).await;
    assert!(run(&scene, &["state"]).await.contains("the migration is there"));
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
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    clients.event("a", "campaign:status").await;
    scene.add_jobs(RUN, "trade", "failed", 2).await;
    let job = clients.event("a", "job:status").await;
    assert_eq!(
        (&job["status"], &job["queue"], &job["runId"]),
        (&json!("failed"), &json!("trade"), &json!(RUN))
    );
    assert!(job["eventId"].is_u64() && job["jobId"].is_string() && job["campaignId"] == CAMPAIGN, "{job}");
    let status = clients.event("a", "campaign:status").await;
    assert_eq!((&status["metrics"]["totalJobs"], &status["metrics"]["failedJobs"]), (&json!(3), &json!(2)));
    // Another program writes the summary: that is heard too.
    scene
        .sql(&format!(
            "UPDATE campaign_runs SET summary = summary || '{{\"totalJobs\": 99}}' WHERE id = '{RUN}'"
        ))
        .await;
    clients
        .wait(|line| line["name"] == "campaign:status" && line["values"][0]["metrics"]["totalJobs"] == 99)
        .await;
    service.stop().await;
    run(&scene, &["undo"]).await;
    assert!(run(&scene, &["state"]).await.contains("was not run"));
    let client = scene.postgres.admin(DATABASE).await.expect("a connection");
    let left = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(client.query_one(left, &[]).await.expect("a row").get::<_, i64>(0), 0);
    // It works as before.
    let service = scene.service().await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    scene.counted(RUN, 4).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_migration_runs_are_counted_by_their_changes_and_a_last_summary_is_computed_in_full() {
    const SECOND: [&str; 2] =
        ["3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f22", "9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d0002"];
    let scene = Scene::new().await;
    // Two campaigns, which a worker counts together.
    scene.add_campaign(SECOND[0], USER, SECOND[1]).await;
    scene.add_jobs(SECOND[1], "trade", "queued", 1).await;
    run(&scene, &["migrate", "--service", ROLE]).await;
    let service = scene.service().await;
    let client = scene.postgres.admin(DATABASE).await.expect("a connection");
    let counting = "SELECT count(*) FROM state_tracker.run_counts WHERE is_counted";
    wait_until("both runs count", SOON, async || {
        client.query_one(counting, &[]).await.expect("a row").get::<_, i64>(0) == 2
    })
    .await;
    // No full computation sees these: a worker that computes in full finds one job.
    scene.sql("UPDATE state_tracker.job_counts SET jobs = jobs + 1000").await;
    for run in [RUN, SECOND[1]] {
        scene.counted(run, 1001).await;
        scene.add_jobs(run, "trade", "failed", 2).await;
        let summary = scene.counted(run, 1003).await;
        assert_eq!(summary["failedJobs"], 2, "{summary}");
    }
    let (_, page) = get(service.http().metrics_address(), "/metrics").await;
    let counted = page.lines().find(|line| line.starts_with("state_tracker_campaigns_counted_total"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
    scene.sql("UPDATE campaign_runs SET status = 'stopped', ended_at = now()").await;
    for run in [RUN, SECOND[1]] {
        let last = wait_until("the last summary", SOON, async || {
            scene.summary(run).await.filter(|summary| summary["final"] == true)
        })
        .await;
        assert_eq!((&last["totalJobs"], &last["failedJobs"]), (&json!(3), &json!(2)), "{last}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_replayed_and_dropped() {
    let scene = Scene::new().await;
    let letter = r#"{"originalJob": {}, "error": {"message": "no such queue", "stack": ""}, "attempts": 4, "failedAt": "2026-01-01T00:00:00.000Z"}"#;
    let id = "5d1c1a50-0000-4000-8000-000000000001";
    scene
        .sql(&format!(
            "INSERT INTO jobs (id, run_id, queue, type, status, attempts, error) \
             VALUES ('{id}', '{RUN}', 'status', 'aggregate-status', 'failed', 4, '{letter}')"
        ))
        .await;
    let listed = run(&scene, &["jobs", "list"]).await;
    assert!(listed.contains("1 are dead letters") && listed.contains("no such queue"), "{listed}");
    let shown = run(&scene, &["jobs", "show", id]).await;
    assert!(shown.contains("\"originalJob\"") && shown.contains(id), "{shown}");
    run(&scene, &["jobs", "replay", id]).await;
    assert!(run(&scene, &["jobs", "list"]).await.starts_with("1 wait"));
    scene.sql(&format!("UPDATE jobs SET status = 'failed' WHERE id = '{id}'")).await;
    run(&scene, &["jobs", "drop", id]).await;
    assert!(run(&scene, &["jobs", "list", "--json"]).await.contains("\"dead\": 0"));
}
