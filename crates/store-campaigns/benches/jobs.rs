//! How many turns a second five workers take, for runs of a hundred jobs: at least 500.
//!
//! `CAMPAIGN_RUNS=100 CAMPAIGN_SECONDS=3` is a short run. It prints the figures with their limit, and fails below it.

#![allow(clippy::expect_used)] // A benchmark that can not go on panics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use domain::campaigns::{CampaignId, RunId};
use store_campaigns::{Database, DatabaseSettings, TurnWanted};
use testkit::{Postgres, RoleRights, UserTables};

const WORKERS: usize = 5;
const LEAST: f64 = 500.0;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    assert!(runtime.block_on(bench()), "the goal was missed");
}

async fn bench() -> bool {
    let (runs, seconds) = (number("CAMPAIGN_RUNS", 1000), number("CAMPAIGN_SECONDS", 10));
    let server = Postgres::start().await.expect("a server");
    server.create_database("bench", UserTables::default()).await.expect("a database");
    server.create_role("tracker", "bench", RoleRights::Service).await.expect("a role");
    let statements = format!(
        "INSERT INTO campaigns (user_id, name, status)
           SELECT gen_random_uuid(), 'a', 'active' FROM generate_series(1, {runs});
         INSERT INTO campaign_runs (campaign_id) SELECT id FROM campaigns;
         INSERT INTO jobs (run_id, queue, type, status)
           SELECT r.id, (ARRAY['buy', 'sell', 'funds'])[1 + i % 3], 'swap', (ARRAY['queued', 'succeeded'])[1 + i % 2]
           FROM campaign_runs r, generate_series(1, 100) i;
         INSERT INTO executions (job_id, latency_ms, result)
           SELECT id, (random() * 1000)::int, '{{\"tip_lamports\": 5}}' FROM jobs;"
    );
    server.execute("bench", &statements).await.expect("rows");
    server.execute("bench", "VACUUM ANALYZE").await.expect("statistics");
    let database = Database::new(DatabaseSettings::new(server.url("bench", "tracker"))).expect("a URL");
    let turns = all_turns(&database).await;
    assert_eq!(turns.len() as u64, runs);

    let (is_over, done, planned) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (started, used) = (Instant::now(), processor_time());
    let scheduler = async {
        while !is_over.load(Relaxed) {
            let enqueued = database.enqueue(&turns).await.expect("turns");
            planned.fetch_add(enqueued.queued.len() as u64, Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let workers = (0..WORKERS).map(|_| async {
        while !is_over.load(Relaxed) {
            let claims = database.claim(10).await.expect("claims").claims;
            if claims.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for claim in claims {
                let computed = database.compute(claim.run).await.expect("figures");
                let finished = database.finish(&claim, computed.as_ref()).await.expect("an end");
                assert!(finished.is_held);
                done.fetch_add(1, Relaxed);
            }
        }
    });
    let end = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        is_over.store(true, Relaxed);
    };
    tokio::join!(scheduler, futures_util::future::join_all(workers), end);
    let (took, used) = (started.elapsed(), processor_time() - used);
    let rate = done.load(Relaxed) as f64 / took.as_secs_f64();
    println!(
        "{runs} runs of 100 jobs, {WORKERS} workers, {took:.1?}: {planned:?} turns planned, {done:?} taken"
    );
    println!(
        "{rate:.0} turns a second (goal {LEAST}); our own processor time {:.0} us a turn",
        used * 1e6 / done.load(Relaxed) as f64
    );
    rate >= LEAST
}

async fn all_turns(database: &Database) -> Vec<TurnWanted> {
    let (mut turns, mut after): (Vec<TurnWanted>, Option<(CampaignId, RunId)>) = (Vec::new(), None);
    loop {
        let page = database.active_runs(after, 1000).await.expect("runs");
        turns.extend(page.rows.iter().map(|row| TurnWanted {
            campaign: row.campaign,
            run: row.run,
            interval_ms: 0,
        }));
        after = page.next;
        if after.is_none() {
            return turns;
        }
    }
}

/// The processor time that this process has used, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    // A hundred ticks a second on Linux.
    (ticks(11) + ticks(12)) / 100.0
}
