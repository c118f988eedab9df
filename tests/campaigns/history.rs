//! The history of summaries, from the workers that keep it to those who may read it.

use serde_json::Value;
use state_tracker::service::Service;
use testkit::wait_until;

use crate::{
    common::{SOON, ask, exchange, get, with},
    migrated::run,
    scene::{CAMPAIGN, DATABASE, OTHER_USER, ROLE, RUN, SERVICE_TOKEN, Scene, USER, token},
};

/// Asks for the history of a campaign.
async fn history(service: &Service, campaign: &str, query: &str, token: &str) -> (u16, Value) {
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    let authorisation = format!("Authorization: Bearer {token}");
    let path = format!("/campaigns/{campaign}/history{query}");
    let (status, body) = ask(address, &path, &["Host: x", &authorisation]).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// The totals of a history, in its order.
fn totals(history: &Value) -> Vec<u64> {
    let all = history["history"].as_array().expect("a history").iter();
    all.map(|one| one["metrics"]["totalJobs"].as_u64().expect("a number")).collect()
}

/// Waits until the history has as many summaries.
async fn kept(service: &Service, many: usize) -> Value {
    wait_until("the history", SOON, async || {
        let (status, found) = history(service, CAMPAIGN, "", SERVICE_TOKEN).await;
        (status == 200 && totals(&found).len() == many).then_some(found)
    })
    .await
}

async fn migrated(scene: &Scene) {
    run(scene, &["migrate", "--service", ROLE]).await;
}

/// Waits until a service keeps summaries.
async fn keeping(service: &Service) {
    let metrics = service.http().metrics_address();
    wait_until("it counts by changes", SOON, async || {
        get(metrics, "/metrics")
            .await
            .1
            .lines()
            .any(|line| line.starts_with("state_tracker_campaigns_counting") && line.ends_with(" 1"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_changed_summary_is_kept_and_read_by_its_owner_in_pages() {
    let scene = Scene::new().await;
    migrated(&scene).await;
    let service = scene.service().await;
    keeping(&service).await;
    for jobs in 2..=4 {
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        scene.counted(RUN, jobs).await;
    }
    scene
        .sql(&format!("UPDATE campaign_runs SET status = 'completed', ended_at = now() WHERE id = '{RUN}'"))
        .await;
    // With the token of services, since a user may ask so often only.
    wait_until("the last summary is kept", SOON, async || {
        let (status, found) = history(&service, CAMPAIGN, "", SERVICE_TOKEN).await;
        let last = found["history"].as_array().and_then(|all| all.last().cloned());
        status == 200 && last.is_some_and(|last| last["final"] == true)
    })
    .await;
    let (status, all) = history(&service, CAMPAIGN, "", &token(USER)).await;
    assert_eq!(status, 200, "{all}");
    let found = totals(&all);
    // The first one may have been written before it was known that there is a history.
    assert!(found.ends_with(&[2, 3, 4, 4]), "{all}");
    assert_eq!(
        (&all["success"], &all["campaignId"], &all["next"]),
        (&Value::Bool(true), &CAMPAIGN.into(), &Value::Null)
    );
    let entries = all["history"].as_array().expect("a history");
    assert!(
        entries.iter().all(|entry| entry["runId"] == RUN && entry["metrics"]["byQueue"].is_object()),
        "{all}"
    );

    // Page by page, with the token of services.
    let (mut query, mut pages) = ("?limit=2".to_owned(), Vec::new());
    loop {
        let (status, page) = history(&service, CAMPAIGN, &query, SERVICE_TOKEN).await;
        assert!(status == 200 && totals(&page).len() <= 2, "{page}");
        pages.extend(page["history"].as_array().expect("a history").iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(&pages, entries);
    // Between two times, both included.
    let at = entries[entries.len() - 2]["at"].as_str().expect("a time");
    let (_, part) = history(&service, CAMPAIGN, &format!("?from={at}&to={at}"), &token(USER)).await;
    assert_eq!(part["history"], Value::Array(vec![entries[entries.len() - 2].clone()]));
    assert_eq!(totals(&history(&service, CAMPAIGN, "?to=1000", &token(USER)).await.1), [0; 0]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_reads_a_history_and_what_can_not_be_answered_is_said() {
    let mut scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let (unknown, one) = ("00000000-0000-4000-8000-000000000000", "x".to_owned());
    // Without the migration there is none.
    let (status, body) = history(&service, CAMPAIGN, "", &token(USER)).await;
    assert!(
        status == 501 && body["message"].as_str().is_some_and(|text| text.contains("migrate")),
        "{status} {body}"
    );
    // A stranger does not learn whether there is such a campaign.
    let foreign = history(&service, CAMPAIGN, "", &token(OTHER_USER)).await;
    assert_eq!((foreign.0, &foreign.1["message"]), (404, &"Campaign not found or access denied".into()));
    for token in [token(OTHER_USER), token(USER), SERVICE_TOKEN.to_owned()] {
        assert_eq!(history(&service, unknown, "", &token).await, foreign);
    }
    assert_eq!(history(&service, CAMPAIGN, "", &one).await.0, 401);
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    assert_eq!(get(address, &format!("/campaigns/{CAMPAIGN}/history")).await.0, 401);
    for (campaign, query, text) in [
        ("x", "", "Invalid campaign ID"),
        (CAMPAIGN, "?from=yesterday", "from must be a time"),
        (CAMPAIGN, "?to=-1", "to must be a time"),
        (CAMPAIGN, "?from=2&to=1", "from must not be after to"),
        (CAMPAIGN, "?limit=0", "limit must be"),
        (CAMPAIGN, "?after=1", "after must be"),
    ] {
        let (status, body) = history(&service, campaign, query, &token(USER)).await;
        assert!(
            status == 400 && body["message"].as_str().is_some_and(|found| found.contains(text)),
            "{query}: {body}"
        );
    }
    scene.postgres.kill_hard().expect("killed");
    let authorisation = format!("Authorization: Bearer {}", token(USER));
    let path = format!("/campaigns/{CAMPAIGN}/history");
    let (head, _) = exchange(address, &path, &["Host: x", &authorisation]).await;
    assert!(head.starts_with("HTTP/1.1 503") && head.to_lowercase().contains("retry-after: 5"), "{head}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_can_not_be_written_costs_no_status_and_old_summaries_are_pruned() {
    let scene = Scene::new().await;
    migrated(&scene).await;
    let old = |hours: u32, version: u32| {
        format!(
            "INSERT INTO state_tracker.summaries VALUES ('{RUN}', {version}, '{CAMPAIGN}', \
             now() - interval '{hours} hours', '{{\"totalJobs\": {version}}}')"
        )
    };
    scene.sql(&format!("{}; {}", old(3, 1), old(1, 2))).await;
    scene.sql(&format!("REVOKE INSERT ON state_tracker.summaries FROM {ROLE}")).await;
    let environment = with(&scene.environment, &[("STATE_TRACKER__CAMPAIGNS__HISTORY_RETENTION", "2h")]);
    let service = crate::common::service(&environment).await;
    keeping(&service).await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    scene.counted(RUN, 2).await;
    let metrics = service.http().metrics_address();
    wait_until("it is counted", SOON, async || {
        let (_, page) = get(metrics, "/metrics").await;
        page.lines()
            .any(|line| line.starts_with("state_tracker_campaigns_unkept_total") && !line.ends_with(" 0"))
    })
    .await;
    assert_eq!(totals(&kept(&service, 1).await), [2], "the older one is pruned");
    // No attempt was charged.
    let client = scene.postgres.admin(DATABASE).await.expect("a connection");
    let failed = "SELECT count(*) FROM jobs WHERE queue = 'status' AND (error IS NOT NULL OR attempts > 1)";
    assert_eq!(client.query_one(failed, &[]).await.expect("a row").get::<_, i64>(0), 0);
    scene.sql(&format!("GRANT INSERT ON state_tracker.summaries TO {ROLE}")).await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    assert_eq!(totals(&kept(&service, 2).await), [2, 3]);
    service.stop().await;
}
