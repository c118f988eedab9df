//! How many turns a second five workers take, for runs of a hundred jobs: at least 500, without the migration and with it.
//!
//! `CAMPAIGN_RUNS=100 CAMPAIGN_SECONDS=3` is a short run. It prints the figures beside a limit of the same server in the same run, what
//! pgbench makes of the bare statements one run at a time, and fails below the goal. `CAMPAIGN_STATEMENTS=1` prints what each statement
//! costs the server.

#![allow(clippy::expect_used)] // A benchmark that can not go on panics.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use domain::campaigns::{CampaignId, Metrics, RunId};
use store_campaigns::{Claim, Computed, Database, DatabaseSettings, History, TurnWanted};
use testkit::{Postgres, RoleRights, UserTables};

const WORKERS: usize = 5;
const CLAIMS: usize = 32;
const LEAST: f64 = 500.0;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    // `cargo test --benches` runs this too, and needs no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    assert!(runtime.block_on(bench()), "the goal was missed");
}

async fn bench() -> bool {
    let (runs, seconds) = (number("CAMPAIGN_RUNS", 1000), number("CAMPAIGN_SECONDS", 10));
    let explains = number("CAMPAIGN_STATEMENTS", 0) > 0;
    let mut builder = Postgres::builder();
    if explains {
        for (name, value) in
            [("shared_preload_libraries", "pg_stat_statements"), ("pg_stat_statements.track_planning", "on")]
        {
            builder = builder.setting(name, value);
        }
    }
    let server = builder.start().await.expect("a server");
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
    println!(
        "{runs} runs of 100 jobs and 100 executions, {WORKERS} workers; the goal is {LEAST} turns a second"
    );
    let bare = bare(&server, &database, turns[0].run, seconds);
    if explains {
        server.execute("bench", "CREATE EXTENSION pg_stat_statements").await.expect("an extension");
    }
    println!("the bare statement of a run with a commit, {WORKERS} clients of pgbench: {bare:.0} a second");
    let full = measure(&database, &turns, seconds, History::Absent).await;
    let owner = Database::new(DatabaseSettings::new(server.admin_url("bench"))).expect("a URL");
    owner.migrate(Some("tracker")).await.expect("the migration");
    for turn in &turns {
        database.recount(turn.run).await.expect("counts");
    }
    if explains {
        explain(&server).await;
    }
    let counted = measure(&database, &turns, seconds, History::Kept).await;
    if explains {
        explain(&server).await;
    }
    full.min(counted) >= LEAST
}

/// Prints what the most expensive statements cost, and begins again.
async fn explain(server: &Postgres) {
    let client = server.admin("bench").await.expect("a connection");
    let statement = "SELECT calls, total_plan_time, total_exec_time, rows, left(regexp_replace(query, '\\s+', ' ', 'g'), 110) \
         FROM pg_stat_statements ORDER BY total_plan_time + total_exec_time DESC LIMIT 8";
    for row in client.query(statement, &[]).await.expect("statements") {
        let (calls, plan, execution): (i64, f64, f64) = (row.get(0), row.get(1), row.get(2));
        let (rows, text): (i64, &str) = (row.get(3), row.get(4));
        let each = |total: f64| total / calls as f64;
        println!(
            "  {calls} calls, {rows} rows, {:.2} ms to plan, {:.2} ms to execute: {text}",
            each(plan),
            each(execution)
        );
    }
    client.batch_execute("SELECT pg_stat_statements_reset()").await.expect("a reset");
}

/// The turns a second.
async fn measure(database: &Database, turns: &[TurnWanted], seconds: u64, history: History) -> f64 {
    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (written, left_out) = (AtomicU64::new(0), AtomicU64::new(0));
    let (started, used) = (Instant::now(), processor_time());
    let scheduler = async {
        while !is_over.load(Relaxed) {
            database.enqueue(turns).await.expect("turns");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let workers = (0..WORKERS).map(|_| async {
        while !is_over.load(Relaxed) {
            let claims = database.claim(CLAIMS).await.expect("claims").claims;
            if claims.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let figures = figures(database, &claims, history).await;
            let turns: Vec<(&Claim, &Computed)> =
                claims.iter().filter_map(|claim| Some((claim, figures.get(&claim.run)?))).collect();
            assert_eq!(turns.len(), claims.len(), "all runs are small");
            let mut ended = database.finish_several(&turns, history).await.expect("ends");
            for (claim, computed) in
                turns.iter().filter(|(claim, _)| !ended.contains_key(&claim.job)).collect::<Vec<_>>()
            {
                let finished = database.finish(claim, Some(computed), history).await.expect("an end");
                ended.extend(finished.is_held.then_some((claim.job, finished)));
                left_out.fetch_add(1, Relaxed);
            }
            assert_eq!(ended.len(), turns.len(), "each claim is held");
            done.fetch_add(ended.len() as u64, Relaxed);
            let changed = |ended: &&store_campaigns::Finished| {
                matches!(ended.summary, store_campaigns::SummaryWrite::Written { .. })
            };
            written.fetch_add(ended.values().filter(changed).count() as u64, Relaxed);
        }
    });
    let end = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        is_over.store(true, Relaxed);
    };
    tokio::join!(scheduler, futures_util::future::join_all(workers), end);
    let (took, used) = (started.elapsed(), processor_time() - used);
    let rate = done.load(Relaxed) as f64 / took.as_secs_f64();
    let ours = used / done.load(Relaxed) as f64;
    println!(
        "{}: {rate:.0} turns a second, {} summaries written, {} turns ended by themselves; our own processor time is {:.0} us a turn, so {:.1} % of a \
         core for 1,000 campaigns every 15 s",
        if history == History::Kept { "with the migration" } else { "computed in full" },
        written.load(Relaxed),
        left_out.load(Relaxed),
        ours * 1e6,
        ours * 1000.0 / 15.0 * 100.0,
    );
    rate
}

async fn figures(database: &Database, claims: &[Claim], history: History) -> BTreeMap<RunId, Computed> {
    let runs: Vec<RunId> = claims.iter().map(|claim| claim.run).collect();
    if history == History::Absent {
        let computed = database.compute_small(&runs).await.expect("figures");
        return computed.into_iter().map(|computed| (computed.run, computed)).collect();
    }
    let counted = database.counted_runs(&runs).await.expect("counts").into_iter();
    let computed = counted.map(|counted| Computed {
        run: counted.run,
        campaign: counted.campaign,
        status: counted.status,
        metrics: Metrics::of(&counted.tally),
        tally: counted.tally,
        took: Duration::ZERO,
    });
    computed.map(|computed| (computed.run, computed)).collect()
}

/// What pgbench makes of the statement for one random run and an update of its summary, as transactions a second.
fn bare(server: &Postgres, database: &Database, run: RunId, seconds: u64) -> f64 {
    let random = "(SELECT id FROM campaign_runs OFFSET :n LIMIT 1)";
    let statement = database.compute_statement_for(run).replace(&format!("'{run}'::uuid"), random);
    let script = server.dir().join("bare.sql");
    let many = number("CAMPAIGN_RUNS", 1000);
    let text = format!(
        "\\set n random(0, {})\nBEGIN;\n{};\nUPDATE campaign_runs SET summary = summary WHERE id = {random};\nCOMMIT;\n",
        many - 1,
        statement.replace('\n', " ")
    );
    std::fs::write(&script, text).expect("a script");
    let psql = server.psql("bench").expect("psql");
    let mut pgbench = Command::new(Path::new(psql.get_program()).with_file_name("pgbench"));
    let clients = WORKERS.to_string();
    pgbench
        .args(["--no-vacuum", "--client", &clients, "--time", &seconds.to_string(), "--file"])
        .arg(&script);
    let output = pgbench.arg(server.admin_url("bench")).output().expect("pgbench");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
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
