//! Halves that run apart, replicas, poolers, and a role that sees nothing.

use serde_json::json;
use testkit::{
    pgbouncer::{PgBouncer, PoolMode},
    postgres::{Postgres, RoleRights},
    wait_until,
};

use crate::{
    common::{self, SOON, get, with},
    official::Official,
    scene::{CAMPAIGN, DATABASE, ROLE, RUN, Scene, USER, token, url},
};

const SCHEDULER: &str = "STATE_TRACKER__CAMPAIGNS__SCHEDULER";
const GATEWAY: &str = "STATE_TRACKER__CAMPAIGNS__GATEWAY";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduler_and_gateways_run_apart_and_all_gateways_give_an_event_the_same_id() {
    let scene = Scene::new().await;
    let workers = common::service(&with(&scene.environment, &[(GATEWAY, "false")])).await;
    assert!(workers.campaigns().is_some_and(|port| port.address().is_none()));
    let only_gateway = with(&scene.environment, &[(SCHEDULER, "false")]);
    let gateways = [common::service(&only_gateway).await, common::service(&only_gateway).await];
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    for (id, gateway) in ["a", "b"].into_iter().zip(&gateways) {
        clients.connect(id, &url(gateway), &token(USER)).await;
        clients.next(id, "connect").await;
        clients.ask(id, "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
        clients.event(id, "campaign:status").await;
    }
    for jobs in 2..6_u64 {
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        let [a, b] =
            [clients.event("a", "campaign:status").await, clients.event("b", "campaign:status").await];
        assert_eq!((&a["metrics"]["totalJobs"], &a["eventId"]), (&json!(jobs), &b["eventId"]));
    }
    for service in gateways.into_iter().chain([workers]) {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_on_one_database_count_a_run_once_an_interval() {
    let scene = Scene::new().await;
    let services = [scene.service().await, scene.service().await];
    scene.counted(RUN, 1).await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    scene.counted(RUN, 2).await;
    let client = scene.postgres.admin(DATABASE).await.expect("a connection");
    let row = client.query_one("SELECT count(*) FROM jobs WHERE queue = 'status'", &[]).await.expect("a row");
    assert_eq!(row.get::<_, i64>(0), 1, "one row of status jobs for the run");
    for service in services {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_that_changes_connections_all_of_it_works() {
    let scene = Scene::new().await;
    let pooler =
        PgBouncer::start(&scene.postgres, PoolMode::Transaction, &[ROLE], &["default_pool_size = 2"])
            .await
            .expect("PgBouncer");
    let url_of_pooler = Postgres::url_at(pooler.addr(), DATABASE, ROLE);
    let service = common::service(&with(&scene.environment, &[("DATABASE_URL", &url_of_pooler)])).await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    clients.event("a", "campaign:status").await;
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    assert_eq!(clients.event("a", "campaign:status").await["metrics"]["totalJobs"], 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_to_which_row_level_security_shows_nothing_makes_the_service_not_ready() {
    let scene = Scene::with_tables(true, RoleRights::Service).await;
    let service = scene.service().await;
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    let told = wait_until("it says why", SOON, async || {
        let (status, body) = get(address, "/health/ready").await;
        (status == 503 && body.contains("row-level security hides")).then_some(body)
    })
    .await;
    assert!(told.contains("campaigns: database"), "{told}");
    service.stop().await;
    let (code, text, _) = run_check(&scene).await;
    assert!(code != 0 && text.contains("BYPASSRLS"), "{text}");
    // With the right it works.
    scene.sql(&format!("ALTER ROLE {ROLE} BYPASSRLS")).await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    service.stop().await;
}

/// Runs `check --connect`.
async fn run_check(scene: &Scene) -> (i32, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .args(["check", "--connect"])
        .env_clear()
        .envs(&scene.environment)
        .output()
        .await
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
