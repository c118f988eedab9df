//! Crashes, kills and outages: no status is missed, none comes twice, and their order is kept.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use supervision::fail::{Fault, When};
use testkit::wait_until;

use crate::{
    common::{Process, SOON, free_port, get, with},
    official::Official,
    scene::{CAMPAIGN, RUN, Scene, USER, token, url},
};

/// The failure points of campaigns' actors.
const PLACES: [&str; 10] = [
    "campaign_scheduler::before_round",
    "campaign_scheduler::before_queue",
    "campaign_scheduler::after_queue",
    "status_worker::after_claim",
    "status_worker::before_write",
    "status_worker::after_write",
    "campaign_monitor::after_read",
    "campaign_monitor::after_append",
    "campaign_gateway::before_serve",
    "campaign_gateway::after_feed",
];

/// What a client has received of the run: event ids and numbers of jobs, in their order.
#[derive(Default)]
struct Received(Vec<(u64, u64)>);

impl Received {
    /// Takes statuses until one counts so many jobs.
    async fn until(&mut self, clients: &mut Official, id: &str, jobs: u64) {
        loop {
            let status: Value = clients.event(id, "campaign:status").await;
            let event = status["eventId"].as_u64().expect("an id");
            let total = status["metrics"]["totalJobs"].as_u64().expect("a number");
            self.0.push((event, total));
            if total == jobs {
                return;
            }
        }
    }

    /// Each event came once and in order, but for the latest one, which a client that joins again gets again.
    fn judge(&self) {
        let ids: Vec<u64> = self.0.iter().map(|(id, _)| *id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "twice, or out of order: {:?}", self.0);
        let totals: Vec<u64> = self.0.iter().map(|(_, total)| *total).collect();
        assert!(totals.windows(2).all(|pair| pair[0] <= pair[1]), "an old status: {:?}", self.0);
        let states: BTreeSet<u64> = totals.iter().copied().collect();
        assert_eq!(states.len(), totals.len(), "a status is two events: {:?}", self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_each_failure_point_loses_no_status_and_doubles_none() {
    let mut scene = Scene::new().await;
    for (name, value) in [("MAX_RESTARTS", "1000"), ("RESTART_WINDOW", "1s"), ("BACKOFF_MAX", "50ms")] {
        scene.environment.insert(format!("STATE_TRACKER__SUPERVISION__{name}"), value.to_owned());
    }
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let mut received = Received::default();
    received.until(&mut clients, "a", 1).await;
    let mut jobs = 1;
    for place in PLACES {
        let points = service.tree().failure_points();
        let before = points.passages(place).1;
        points.arm(place, "", Fault::Panic, When::Times(1));
        if place == "campaign_gateway::before_serve" {
            // It is passed when the gateway starts.
            points.arm("campaign_gateway::after_feed", "", Fault::Panic, When::Times(1));
        }
        jobs += 1;
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        wait_until(place, SOON, async || points.passages(place).1 > before).await;
        received.until(&mut clients, "a", jobs).await;
    }
    received.judge();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_amid_jobs_that_are_done_together_loses_none_and_kills_none() {
    let mut scene = Scene::new().await;
    for (name, value) in [("SUPERVISION__MAX_RESTARTS", "1000"), ("CAMPAIGNS__JOB_RETRIES", "1")] {
        scene.environment.insert(format!("STATE_TRACKER__{name}"), value.to_owned());
    }
    let mut runs = vec![RUN.to_owned()];
    for number in 0..8 {
        let (campaign, run) = (uuid(1, number), uuid(2, number));
        scene.add_campaign(&campaign, USER, &run).await;
        scene.add_jobs(&run, "trade", "queued", 1).await;
        runs.push(run);
    }
    let service = scene.service().await;
    for run in &runs {
        scene.counted(run, 1).await;
    }
    let points = service.tree().failure_points();
    for (round, place) in PLACES.iter().filter(|place| place.starts_with("status_worker")).enumerate() {
        let before = points.passages(place).1;
        points.arm(place, "", Fault::Panic, When::Times(1));
        for run in &runs {
            scene.add_jobs(run, "trade", "succeeded", 1).await;
        }
        wait_until(place, SOON, async || points.passages(place).1 > before).await;
        for run in &runs {
            scene.counted(run, round as u64 + 2).await;
        }
    }
    // Each was charged with one attempt at most, although one retry is all that they have.
    let client = scene.postgres.admin(crate::scene::DATABASE).await.expect("a connection");
    let dead = "SELECT count(*) FROM jobs WHERE queue = 'status' AND status = 'failed'";
    assert_eq!(client.query_one(dead, &[]).await.expect("a row").get::<_, i64>(0), 0);
    service.stop().await;
}

fn uuid(kind: u32, number: u32) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_of_clients_lose_no_status_and_double_none() {
    cuts(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn a_thousand_cuts_of_clients_lose_no_status_and_double_none() {
    cuts(1_000).await;
}

async fn cuts(many: u64) {
    let scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let mut received = Received::default();
    received.until(&mut clients, "a", 1).await;
    for cut in 0..many {
        clients.cut("a").await;
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        let back = clients.next("a", "connect").await;
        assert_eq!(back["recovered"], true, "cut {cut}");
        received.until(&mut clients, "a", cut + 2).await;
    }
    received.judge();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_service_redis_and_the_database_lose_no_status_and_double_none() {
    let mut scene = Scene::new().await;
    let port = free_port().await;
    let address = format!("127.0.0.1:{port}");
    let environment =
        with(&scene.environment, &[("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", address.as_str())]);
    let mut process = Process::start(&environment).await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &format!("http://{address}/campaigns"), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let mut received = Received::default();
    received.until(&mut clients, "a", 1).await;
    for round in 0..3_u64 {
        process.signal_until_it_ends("KILL").await;
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        process = Process::start(&environment).await;
        received.until(&mut clients, "a", 3 * round + 2).await;
        scene.redis.kill_hard().expect("killed");
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        scene.redis.restart().await.expect("started again");
        received.until(&mut clients, "a", 3 * round + 3).await;
        scene.postgres.kill_hard().expect("killed");
        scene.postgres.restart().await.expect("started again");
        scene.add_jobs(RUN, "trade", "succeeded", 1).await;
        received.until(&mut clients, "a", 3 * round + 4).await;
    }
    received.judge();
    process.signal_until_it_ends("TERM").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_clients_stay_and_join_with_a_stale_status() {
    let mut scene = Scene::new().await;
    let service = scene.service().await;
    scene.counted(RUN, 1).await;
    let mut clients = Official::start().await;
    clients.connect("a", &url(&service), &token(USER)).await;
    clients.next("a", "connect").await;
    clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let fresh = clients.event("a", "campaign:status").await;
    assert!(fresh.get("stale").is_none(), "{fresh}");
    scene.postgres.kill_hard().expect("killed");
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    wait_until("campaigns are not ready", SOON, async || get(address, "/health/ready").await.0 == 503).await;
    clients.ask("a", "leave_campaign", json!({ "campaignId": CAMPAIGN })).await;
    let joined = clients.ask("a", "join_campaign", json!({ "campaignId": CAMPAIGN })).await;
    assert_eq!(joined["success"], true, "{joined}");
    let stale = clients.event("a", "campaign:status").await;
    assert_eq!((&stale["stale"], &stale["eventId"]), (&json!(true), &fresh["eventId"]));
    scene.postgres.restart().await.expect("started again");
    scene.add_jobs(RUN, "trade", "succeeded", 1).await;
    let next = clients.event("a", "campaign:status").await;
    assert_eq!(next["metrics"]["totalJobs"], 2);
    service.stop().await;
}
