//! The figures of a run, compared with a count row by row that shares no code with the statement.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use domain::campaigns::{Metrics, QueueMetrics, RunId, Unreadable};
use serde_json::{Value, json};
use support::{World, turn};
use testkit::{Dice, RoleRights, UserTables};

/// What the contract says of these rows, counted one by one.
async fn naive(world: &World, run: RunId, tip: &[&str], fee: &[&str]) -> (Metrics, Unreadable) {
    let jobs = "SELECT id, queue, type, status FROM jobs WHERE run_id = $1";
    let jobs = world.users.query(jobs, &[&run.0]).await.unwrap();
    let (mut metrics, mut odd) = (Metrics::default(), Unreadable::default());
    let mut latencies: Vec<u64> = Vec::new();
    for job in jobs {
        let (queue, status): (Option<String>, Option<String>) = (job.get(1), job.get(3));
        if queue.as_deref() == Some("status") && job.get::<_, &str>(2) == "aggregate-status" {
            continue;
        }
        let executions = "SELECT latency_ms, result FROM executions WHERE job_id = $1";
        for execution in world.users.query(executions, &[&job.get::<_, uuid::Uuid>(0)]).await.unwrap() {
            metrics.total_executions += 1;
            match execution.get::<_, Option<i32>>(0) {
                Some(latency) if (0..=86_400_000).contains(&latency) => latencies.push(latency as u64),
                _ => odd.latencies += 1,
            }
            let result: Option<Value> = execution.get(1);
            metrics.tip_lamports += naive_cost(result.as_ref(), tip, &mut odd);
            metrics.fee_lamports += naive_cost(result.as_ref(), fee, &mut odd);
        }
        let queue = queue.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned());
        let known = ["queued", "processing", "running", "succeeded", "failed", "cancelled"];
        let Some(status) = status.filter(|status| known.contains(&status.as_str())) else {
            odd.jobs += 1;
            continue;
        };
        if queue.chars().count() > 100 {
            odd.jobs += 1;
            continue;
        }
        metrics.total_jobs += 1;
        let entry: &mut QueueMetrics = metrics.by_queue.entry(queue).or_default();
        entry.total += 1;
        match status.as_str() {
            "queued" => (metrics.queued_jobs, entry.queued) = (metrics.queued_jobs + 1, entry.queued + 1),
            "succeeded" => {
                (metrics.succeeded_jobs, entry.succeeded) = (metrics.succeeded_jobs + 1, entry.succeeded + 1);
            }
            "failed" => (metrics.failed_jobs, entry.failed) = (metrics.failed_jobs + 1, entry.failed + 1),
            "cancelled" => metrics.cancelled_jobs += 1,
            _ => (metrics.running_jobs, entry.running) = (metrics.running_jobs + 1, entry.running + 1),
        }
    }
    if metrics.total_jobs > 0 {
        metrics.success_rate = metrics.succeeded_jobs as f64 / metrics.total_jobs as f64;
    }
    latencies.sort_unstable();
    if !latencies.is_empty() {
        metrics.avg_latency_ms = latencies.iter().sum::<u64>() as f64 / latencies.len() as f64;
        (metrics.min_latency_ms, metrics.max_latency_ms) = (latencies[0], latencies[latencies.len() - 1]);
        let nearest_rank = |percent: usize| latencies[(latencies.len() * percent).div_ceil(100) - 1];
        (metrics.p95_latency_ms, metrics.p99_latency_ms) = (nearest_rank(95), nearest_rank(99));
    }
    // Sums stay exact in JavaScript.
    let cut = |sum: u64| sum.min((1 << 53) - 1);
    metrics.total_cost_lamports = cut(metrics.tip_lamports + metrics.fee_lamports);
    (metrics.tip_lamports, metrics.fee_lamports) = (cut(metrics.tip_lamports), cut(metrics.fee_lamports));
    (metrics, odd)
}

/// A cost, or 0 where there is none to read.
fn naive_cost(result: Option<&Value>, path: &[&str], odd: &mut Unreadable) -> u64 {
    let found = result.and_then(|result| path.iter().try_fold(result, |value, part| value.get(part)));
    let whole = match found {
        None | Some(Value::Null) => return 0,
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Some(_) => None,
    };
    match whole.filter(|cost| *cost < 1_000_000_000_000_000) {
        Some(cost) => cost,
        None => {
            odd.costs += 1;
            0
        }
    }
}

fn random_cost(dice: &mut Dice) -> Value {
    match dice.roll(16) {
        0 => Value::Null,
        1 => json!("many"),
        2 => json!(-5),
        3 => json!(1.5),
        4 => json!("12345"),
        5 => json!(""),
        6 => json!([7]),
        7 => json!(1_000_000_000_000_000_u64),
        8 => json!("1234567890123456"),
        9 => json!(1e30),
        10 => json!(999_999_999_999_999_u64),
        11 => json!(true),
        _ => json!(dice.roll(1_000_000)),
    }
}

/// Rows as a database without checks may hold them.
async fn random_rows(world: &World, run: RunId, dice: &mut Dice) {
    let queues = ["buy", "sell", "", "status", "unknown", "Ünïcode 🦀", "x\"y'z"];
    let statuses = [
        "queued",
        "processing",
        "running",
        "succeeded",
        "succeeded",
        "failed",
        "cancelled",
        "odd",
        "Failed",
        "",
    ];
    for _ in 0..dice.roll(60) {
        let queue = match dice.roll(12) {
            0 => None,
            1 => Some("é".repeat(100)),
            2 => Some("é".repeat(101)),
            _ => Some(queues[dice.roll(queues.len() as u64) as usize].to_owned()),
        };
        let status = (dice.roll(20) > 0).then(|| statuses[dice.roll(statuses.len() as u64) as usize]);
        let kind = if dice.roll(8) == 0 { "aggregate-status" } else { "swap" };
        let insert = "INSERT INTO jobs (run_id, queue, type, status) VALUES ($1, $2, $3, $4) RETURNING id";
        let job: uuid::Uuid =
            world.users.query_one(insert, &[&run.0, &queue, &kind, &status]).await.unwrap().get(0);
        for _ in 0..dice.roll(5) {
            let latency: Option<i32> = match dice.roll(12) {
                0 => None,
                1 => Some(-1),
                2 => Some(86_400_001),
                3 => Some(86_400_000),
                _ => Some(dice.roll(500) as i32),
            };
            let result = match dice.roll(10) {
                0 => None,
                1 => Some(json!([1, 2])),
                2 => Some(json!("text")),
                3 => Some(Value::Null),
                4 => Some(json!({})),
                _ => Some(json!({"tip_lamports": random_cost(dice), "cost": {"fee": random_cost(dice)}})),
            };
            let insert = "INSERT INTO executions (job_id, latency_ms, result) VALUES ($1, $2, $3)";
            world.users.execute(insert, &[&job, &latency, &result]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_figures_of_random_runs_are_those_of_a_count_row_by_row() {
    let seed = std::env::var("CAMPAIGNS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("CAMPAIGNS_SEED={seed}");
    let mut dice = Dice::new(seed);
    let tables = UserTables { unchecked: true, ..UserTables::default() };
    let world = World::with(tables, RoleRights::Service).await;
    let fee_path = vec!["cost".to_owned(), "fee".to_owned()];
    let database = world.database_with(|settings| settings.fee_path = fee_path).await;
    let mut all = Vec::new();
    for round in 0..40 {
        // Several runs, so that rows of others would be seen.
        let (campaign, run) = world.running().await;
        random_rows(&world, run, &mut dice).await;
        let computed = database.compute(run).await.unwrap().unwrap();
        let (metrics, odd) = naive(&world, run, &["tip_lamports"], &["cost", "fee"]).await;
        assert_eq!(computed.metrics, metrics, "seed {seed}, round {round}");
        assert_eq!(computed.tally.unreadable, odd, "seed {seed}, round {round}");
        assert_eq!(computed.campaign, campaign);
        all.push(computed);
    }
    // The same for all of them in one statement; one that is gone has none.
    let mut runs: Vec<RunId> = all.iter().map(|computed| computed.run).collect();
    runs.push(RunId(uuid::Uuid::from_u128(1)));
    let mut several = database.compute_small(&runs).await.unwrap();
    let took = several[0].took;
    several.sort_by_key(|computed| runs.iter().position(|run| *run == computed.run));
    all.iter_mut().for_each(|computed| computed.took = took);
    assert_eq!(several, all, "seed {seed}");
}

#[tokio::test]
async fn a_large_run_is_not_counted_among_small_ones() {
    let world = World::new().await;
    let (database, (_, small), (_, large)) =
        (world.database().await, world.running().await, world.running().await);
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT '{large}', 'buy', 'swap', 'queued' \
             FROM generate_series(1, 2001); \
             INSERT INTO jobs (run_id, queue, type, status) SELECT '{small}', 'buy', 'swap', 'queued' \
             FROM generate_series(1, 2000)"
        ))
        .await;
    let counted = database.compute_small(&[small, large]).await.unwrap();
    assert_eq!(counted.iter().map(|computed| computed.run).collect::<Vec<_>>(), [small]);
    assert_eq!(counted[0].metrics.queued_jobs, 2000);
}

#[tokio::test]
async fn a_run_without_jobs_has_zeroes_and_a_run_that_is_gone_has_none() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    let computed = database.compute(run).await.unwrap().unwrap();
    assert_eq!((computed.metrics, computed.campaign), (Metrics::default(), campaign));
    world.sql("DELETE FROM campaigns").await;
    assert_eq!(database.compute(run).await.unwrap(), None);
}

#[tokio::test]
async fn status_jobs_are_not_counted_and_jobs_of_a_users_queue_of_that_name_are() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    world.job(run, "status", "succeeded").await;
    turn(&database, campaign, run).await;
    let metrics = database.compute(run).await.unwrap().unwrap().metrics;
    assert_eq!((metrics.total_jobs, metrics.by_queue["status"].total), (1, 1));
}

#[tokio::test]
async fn processing_counts_as_running() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    world.job(run, "buy", "processing").await;
    let metrics = database.compute(run).await.unwrap().unwrap().metrics;
    assert_eq!((metrics.running_jobs, metrics.by_queue["buy"].running), (1, 1));
}

#[tokio::test]
async fn of_a_flood_of_queues_the_largest_are_listed_and_all_jobs_counted() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT '{run}', 'q' || i, 't', 'failed' \
             FROM generate_series(1, 5000) i; \
             INSERT INTO jobs (run_id, queue, type, status) SELECT '{run}', 'large' || i % 10, 't', \
             'queued' \
             FROM generate_series(1, 100) i"
        ))
        .await;
    let metrics = database.compute(run).await.unwrap().unwrap().metrics;
    assert_eq!((metrics.total_jobs, metrics.failed_jobs, metrics.queued_jobs), (5100, 5000, 100));
    assert_eq!(metrics.by_queue.len(), 100);
    assert_eq!(metrics.by_queue.keys().filter(|name| name.starts_with("large")).count(), 10);
}

#[tokio::test]
async fn a_full_computation_reads_no_table_from_end_to_end_where_its_indexes_are() {
    let world = World::new().await;
    let (database, (_, run)) = (world.database().await, world.running().await);
    // A run of a hundred jobs among many.
    world
        .sql(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT r.id, 'buy', 't', 'succeeded' \
             FROM campaign_runs r, generate_series(1, 100)",
        )
        .await;
    let (_, other) = world.running().await;
    world
        .sql(&format!(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT '{other}', 'buy', 't', 'succeeded' \
             FROM generate_series(1, 80000); \
             INSERT INTO executions (job_id, latency_ms) SELECT id, 5 FROM jobs; ANALYZE"
        ))
        .await;
    let explain = format!("EXPLAIN {}", database.compute_statement_for(run));
    let plan = world.users.query(&explain, &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(!plan.contains("Seq Scan on jobs") && !plan.contains("Seq Scan on executions"), "{plan}");
}
