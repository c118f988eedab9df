//! The plans of the statements as they are sent, by the server's own `auto_explain`: each finds its rows by the contract's indexes, and
//! reads no table of jobs, executions or runs from end to end. `docs/campaigns-database.md` shows them.
//!
//! With `--nocapture` the plans are printed, with the rows and pages of each step.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use domain::campaigns::{CampaignId, RunId};
use store_campaigns::{Database, DatabaseSettings};
use support::{AT_ONCE, World, wanted};
use testkit::{Postgres, RoleRights, UserTables};

/// 2,000 active campaigns with a running run of 50 jobs each, 18,000 runs that have ended, an execution a job, a status row a campaign.
const ROWS: &str = "
    INSERT INTO campaigns (user_id, name, status) SELECT gen_random_uuid(), 'a', 'active' FROM generate_series(1, 2000);
    INSERT INTO campaign_runs (campaign_id, status, started_at)
        SELECT id, 'completed', now() - n * interval '1 day' FROM campaigns, generate_series(1, 9) n;
    INSERT INTO campaign_runs (campaign_id, summary) SELECT id, '{\"version\": 1}' FROM campaigns;
    INSERT INTO jobs (run_id, queue, type, status)
        SELECT id, (ARRAY['gather', 'trade-buy', 'trade-sell', 'distribute'])[1 + n % 4], 'swap',
            (ARRAY['queued', 'succeeded', 'succeeded', 'failed'])[1 + n % 4]
        FROM campaign_runs, generate_series(1, 50) n WHERE status = 'running';
    INSERT INTO executions (job_id, latency_ms, result)
        SELECT id, 100 + (random() * 900)::int, '{\"tip_lamports\": 10000, \"fee_lamports\": 5000}' FROM jobs;
    INSERT INTO jobs (run_id, queue, type, status, payload)
        SELECT id, 'status', 'aggregate-status', 'succeeded', '{}' FROM campaign_runs WHERE status = 'running';
    VACUUM ANALYZE";

/// The status jobs are found by their queue, or by their type.
const OURS: [&str; 2] = ["jobs_queue", "jobs_type"];

/// A server that writes the plan of each statement of the service into its log.
struct Explained {
    server: Postgres,
    world: World,
    database: Database,
}

impl Explained {
    async fn start() -> Self {
        let settings = [
            ("shared_preload_libraries", "auto_explain"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_timing", "off"),
            ("auto_explain.log_buffers", "on"),
            ("max_parallel_workers_per_gather", "0"),
        ];
        let builder =
            settings.into_iter().fold(Postgres::builder(), |all, (name, value)| all.setting(name, value));
        let server = builder.start().await.unwrap();
        let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
        for statement in ROWS.split(';') {
            world.sql(statement).await;
        }
        let log = "auto_explain.log_min_duration = 0";
        server.execute("postgres", &format!("ALTER ROLE {} SET {log}", world.role)).await.unwrap();
        let database = Database::new(DatabaseSettings::new(server.url(&world.name, &world.role))).unwrap();
        Self { server, world, database }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.server.dir().join("output.log")).unwrap()
    }

    /// The plans of the statements that a call sends. The server writes each before it answers.
    async fn plans(&self, name: &str, call: impl Future) -> String {
        let before = self.log().len();
        call.await;
        let plans = self.log()[before..].to_owned();
        println!("== {name}\n{plans}");
        assert!(plans.contains("Query Text"), "the server wrote no plan of {name}: {plans}");
        plans
    }
}

/// Checks that a plan reads by these indexes, each of which may be one of several, and no large table from end to end.
fn uses(plans: &str, indexes: &[&[&str]]) {
    for any in indexes {
        let is_used = |index: &&str| {
            plans.contains(&format!("using {index} ")) || plans.contains(&format!("Index Scan on {index} "))
        };
        assert!(any.iter().any(is_used), "none of {any:?} is used:\n{plans}");
    }
    for table in ["jobs", "executions", "campaign_runs"] {
        assert!(
            !plans.contains(&format!("Seq Scan on {table} ")),
            "{table} is read from end to end:\n{plans}"
        );
    }
}

#[tokio::test]
async fn each_statement_finds_its_rows_by_the_indexes_of_the_contract() {
    let explained = Explained::start().await;
    let (world, database) = (&explained.world, &explained.database);
    let newest = "SELECT id, campaign_id FROM campaign_runs WHERE status = 'running' ORDER BY id LIMIT 1000";
    let rows = world.users.query(newest, &[]).await.unwrap();
    let runs: Vec<(RunId, CampaignId)> =
        rows.iter().map(|row| (RunId(row.get(0)), CampaignId(row.get(1)))).collect();
    let (run, campaign) = runs[0];

    let plans = explained.plans("runs to count", database.active_runs(None, 1_000)).await;
    uses(&plans, &[&["campaign_runs_status"]]);
    let turns: Vec<_> =
        runs.iter().take(100).map(|(run, campaign)| wanted(*campaign, *run, AT_ONCE)).collect();
    let plans = explained.plans("plan turns", async { database.enqueue(&turns).await.unwrap() }).await;
    uses(&plans, &[&["jobs_pkey"]]);
    let plans = explained.plans("claim turns", async { database.claim(5).await.unwrap() }).await;
    uses(&plans, &[&OURS, &["jobs_pkey"]]);
    let plans = explained.plans("state of the queue", async { database.queue().await.unwrap() }).await;
    uses(&plans, &[&OURS]);
    let plans = explained.plans("count a run", async { database.compute(run).await.unwrap() }).await;
    uses(&plans, &[&["executions_job_created"], &["jobs_run_status", "jobs_run_created"]]);

    let seen = database.runs(&runs.iter().map(|(run, _)| *run).collect::<Vec<_>>()[..50]).await.unwrap();
    let seen: Vec<_> = seen.iter().map(store_campaigns::RunRow::seen).collect();
    assert_eq!(seen.len(), 50);
    let plans =
        explained.plans("changes, for the monitor", async { database.changes(&seen).await.unwrap() }).await;
    uses(&plans, &[&["campaign_runs_pkey"]]);
    let plans = explained.plans("running runs", async { database.running(None, 1_000).await.unwrap() }).await;
    uses(&plans, &[&["campaign_runs_status"]]);
    let plans = explained.plans("latest status", async { database.latest(&[campaign]).await.unwrap() }).await;
    uses(&plans, &[&["campaign_runs_campaign_started"]]);
}

#[tokio::test]
async fn a_table_that_is_read_from_end_to_end_is_noticed() {
    // Without this, a log that never has a plan in the expected form would pass the test above.
    let explained = Explained::start().await;
    explained.world.sql("DROP INDEX jobs_queue, jobs_type").await;
    let plans = explained.plans("claim turns", async { explained.database.claim(5).await.unwrap() }).await;
    assert!(plans.contains("Seq Scan on jobs "), "{plans}");
}
