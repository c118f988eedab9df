//! From job rows to clients: what they get, and who gets it.

use serde_json::json;
use testkit::wait_until;

use crate::{
    common::{SOON, ask, get, with},
    official::Official,
    scene::{CAMPAIGN, OTHER_USER, RUN, SERVICE_TOKEN, Scene, USER, token, url},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_joins_gets_the_latest_status_at_once_and_then_each_change() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    let joined = clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let message = format!("Successfully joined campaign {CAMPAIGN}");
    assert_eq!(joined, json!({ "success": true, "message": message, "campaignId": CAMPAIGN }));
    let first = clients.event("a", "campaign:status").await;
    assert_eq!((&first["campaignId"], &first["runId"]), (&json!(CAMPAIGN), &json!(RUN)));
    assert_eq!((&first["status"], &first["metrics"]["queuedJobs"]), (&json!("running"), &json!(1)));
    assert!(first["eventId"].is_u64() && first["timestamp"].is_string() && first["updatedAt"].is_string());
    scene.add_jobs(RUN, "trade", "succeeded", 3).await;
    let second = clients.event("a", "campaign:status").await;
    assert_eq!(second["metrics"]["totalJobs"], 4);
    assert_eq!(second["metrics"]["byQueue"]["trade"]["succeeded"], 3);
    assert_eq!(second["metrics"]["successRate"], 0.75);
    assert!(second["eventId"].as_u64() > first["eventId"].as_u64());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_of_another_user_and_a_bad_token_are_refused() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    let mut clients = Official::start().await;
    clients.connect("other", &url(&service), &token(OTHER_USER)).await;
    clients.next("other", "connect").await;
    let refused = clients.ask("other", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    assert_eq!(
        (&refused["success"], &refused["message"]),
        (&json!(false), &json!("Campaign not found or access denied"))
    );
    clients.connect("bad", &url(&service), "no token").await;
    clients.next("bad", "connect_error").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_gets_a_last_summary_and_both_runs_of_a_campaign_are_counted() {
    const SECOND: &str = "9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d0002";
    let scene = Scene::new().await;
    scene
        .sql(&format!("INSERT INTO campaign_runs (id, campaign_id) VALUES ('{SECOND}', '{CAMPAIGN}')"))
        .await;
    scene.add_jobs(SECOND, "sell", "processing", 2).await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    assert_eq!(scene.counted(SECOND, 2).await["runningJobs"], 2);
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let ended = "status = 'completed', ended_at = now()";
    scene.add_jobs(RUN, "trade", "failed", 1).await;
    scene.sql(&format!("UPDATE campaign_runs SET {ended} WHERE id = '{RUN}'")).await;
    wait_until("the last summary", SOON, async || {
        scene.summary(RUN).await.is_some_and(|summary| summary["final"] == true && summary["failedJobs"] == 1)
    })
    .await;
    loop {
        let status = clients.event("a", "campaign:status").await;
        if status["runId"] == RUN && status["metrics"]["failedJobs"] == 1 && status["final"] == true {
            assert_eq!(status["status"], "completed");
            break;
        }
    }
    let run =
        clients.wait(|line| line["name"] == "run:status" && line["values"][0]["status"] == "completed").await;
    assert_eq!(run["values"][0]["runId"], RUN);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_its_token_has_a_status_sent_again() {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let first = clients.event("a", "campaign:status").await;
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    let path = format!("/campaigns/{CAMPAIGN}/broadcast");
    let lines = |token: &str| [format!("POST {path} HTTP/1.1"), format!("Authorization: Bearer {token}")];
    let post = async |token: &str| {
        let client = format!(
            "{}\r\nHost: x\r\n{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            lines(token)[0],
            lines(token)[1]
        );
        raw(address, &client).await
    };
    assert!(post("another").await.starts_with("HTTP/1.1 401"));
    let answer = post(SERVICE_TOKEN).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"success\":true"), "{answer}");
    let again = clients.event("a", "campaign:status").await;
    assert_eq!(again["metrics"], first["metrics"]);
    assert!(again["eventId"].as_u64() > first["eventId"].as_u64());
    service.stop().await;
}

/// Sends a request as it is written, and returns the answer.
async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_and_both_names_of_metrics_tell_of_campaigns() {
    let scene = Scene::new().await;
    let environment = with(&scene.environment, &[("STATE_TRACKER__CAMPAIGNS__OLD_METRICS", "true")]);
    let service = crate::common::service(&environment).await;
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    assert_eq!(get(address, "/health/live").await.0, 200);
    wait_until("campaigns are ready", SOON, async || get(address, "/v1/health/ready").await.0 == 200).await;
    assert_eq!(get(address, "/campaigns/x/broadcast").await.0, 405);
    let metrics = service.http().metrics_address();
    wait_until("a run is counted", SOON, async || {
        let (_, page) = get(metrics, "/metrics").await;
        [
            "state_tracker_campaigns_jobs_total{outcome=\"succeeded\"",
            "volume_bot_jobs_processed_total{queue=\"status\"}",
        ]
        .iter()
        .all(|name| page.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0")))
    })
    .await;
    let (_, verbose) = ask(metrics, "/readyz?verbose", &[]).await;
    assert!(verbose.contains("campaigns: database") && verbose.contains("campaigns: monitor"), "{verbose}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_low_success_rate_is_one_alert_until_it_has_recovered() {
    let scene = Scene::new().await;
    let environment = with(&scene.environment, &[("STATE_TRACKER__CAMPAIGNS__ALERT_BELOW_PERCENT", "80")]);
    let service = crate::common::service(&environment).await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    scene.add_jobs(RUN, "trade", "failed", 1).await;
    let alert = clients.event("a", "campaign:alert").await;
    assert_eq!(
        (&alert["runId"], &alert["successRate"], &alert["threshold"]),
        (&json!(RUN), &json!(0), &json!(0.8))
    );
    // Still low, then fine, then low again.
    scene.add_jobs(RUN, "trade", "failed", 1).await;
    scene.counted(RUN, 3).await;
    scene.add_jobs(RUN, "trade", "succeeded", 98).await;
    clients
        .wait(|line| line["name"] == "campaign:status" && line["values"][0]["metrics"]["totalJobs"] == 101)
        .await;
    scene.add_jobs(RUN, "trade", "failed", 100).await;
    let second = clients.event("a", "campaign:alert").await;
    assert!(second["successRate"].as_f64().is_some_and(|rate| (0.4..0.6).contains(&rate)), "{second}");
    service.stop().await;
}
