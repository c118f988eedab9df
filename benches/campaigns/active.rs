//! 1,000 active campaigns at the default interval: what they cost beside the database.

use std::time::{Duration, Instant};

use crate::{load, scene::Scene, server::Server, setting};

const CAMPAIGNS: u64 = 1_000;
const JOBS: u64 = 100;
const MOST_CPU: f64 = 0.2;
/// Megabytes for a hundred campaigns.
const MOST_MEMORY: f64 = 1.0;
/// Until each has been counted twice.
const WARM_UP: Duration = Duration::from_secs(35);

pub(crate) async fn measure() -> bool {
    let length = Duration::from_secs(setting("ACTIVE_SECONDS", 60));
    // A service without campaigns, to compare with.
    let none = Scene::new(0, 0).await;
    let idle = run(&none, length).await;
    let scene = Scene::new(CAMPAIGNS, JOBS).await;
    let full = run(&scene, length).await;
    let written = written(&scene).await;
    let memory = (full.memory - idle.memory) / 1e6 / (CAMPAIGNS as f64 / 100.0);
    println!(
        "active: {CAMPAIGNS} campaigns of {JOBS} jobs at 15 s, {length:?} with changes of {CHANGES_A_SECOND} jobs a second; {written} runs \
         have a summary of the last 40 s; load {}",
        load()
    );
    let cpu = full.cpu;
    let mut is_kept = cpu <= MOST_CPU;
    println!(
        "  CPU {:.1} % of a core (at most {:.0} %), ratio {:.2}; without campaigns {:.1} %: {}",
        cpu * 100.0,
        MOST_CPU * 100.0,
        cpu / MOST_CPU,
        idle.cpu * 100.0,
        if is_kept { "kept" } else { "MISSED" }
    );
    let is_small = memory <= MOST_MEMORY;
    is_kept &= is_small;
    println!(
        "  memory {:.1} MB, {:.1} MB without campaigns: {memory:.2} MB for a hundred (at most {MOST_MEMORY} MB): {}",
        full.memory / 1e6,
        idle.memory / 1e6,
        if is_small { "kept" } else { "MISSED" }
    );
    // Nearly all were counted in their last turns: else the figure would be of a service that does nothing.
    let is_working = written >= CAMPAIGNS as i64 * 9 / 10;
    if !is_working {
        println!("  only {written} runs were counted lately: MISSED");
    }
    is_kept && is_working
}

/// A thousandth of all jobs twice a second.
const CHANGES_A_SECOND: u64 = CAMPAIGNS * JOBS / 500;

struct Cost {
    cpu: f64,
    memory: f64,
}

async fn run(scene: &Scene, length: Duration) -> Cost {
    let mut server = Server::ours(scene, &[]).await;
    change(scene, WARM_UP).await;
    let (cpu, began) = (server.cpu(), Instant::now());
    change(scene, length).await;
    let cost =
        Cost { cpu: (server.cpu() - cpu) / began.elapsed().as_secs_f64(), memory: server.memory().await };
    server.stop().await;
    cost
}

/// The users' own work: jobs change their status, so that most runs differ at each turn.
async fn change(scene: &Scene, length: Duration) {
    let users = scene.users().await;
    let statement = users
        .prepare(
            "UPDATE jobs SET status = CASE status WHEN 'queued' THEN 'succeeded' ELSE 'queued' END, updated_at = now() \
             WHERE id IN (SELECT id FROM jobs TABLESAMPLE BERNOULLI (0.1) WHERE queue <> 'status')",
        )
        .await
        .expect("a statement");
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    while began.elapsed() < length {
        ticks.tick().await;
        users.execute(&statement, &[]).await.expect("it is changed");
    }
}

/// How many runs have a summary that was written lately.
async fn written(scene: &Scene) -> i64 {
    let statement = "SELECT count(*) FROM campaign_runs WHERE (summary ->> 'updatedAt')::timestamptz > now() - interval '40 seconds'";
    scene.users().await.query_one(statement, &[]).await.expect("a row").get(0)
}
