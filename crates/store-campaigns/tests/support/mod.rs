//! What the tests share: a server a test program, a database a test, users' rows.

#![allow(dead_code)] // Each test program uses a part of it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use domain::campaigns::{CampaignId, JobId, RunId};
use serde_json::Value;
use store_campaigns::{Claim, Database, DatabaseSettings, JobRows, TurnWanted};
use testkit::{Postgres, RoleRights, UserTables};
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use uuid::Uuid;

pub(crate) const LONG: Duration = Duration::from_secs(60);
/// An interval that is due at once.
pub(crate) const AT_ONCE: u64 = 0;

static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server that the tests of a program share; those that harm a server start their own.
pub(crate) async fn server() -> &'static Postgres {
    SERVER.get_or_init(async || Postgres::start().await.unwrap()).await
}

/// A database with the users' tables, and the users' way to it.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) users: Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(UserTables::default(), RoleRights::Service).await
    }

    pub(crate) async fn with(tables: UserTables, rights: RoleRights) -> Self {
        Self::on(server().await, tables, rights).await
    }

    pub(crate) async fn on(server: &Postgres, tables: UserTables, rights: RoleRights) -> Self {
        let number = DATABASES.fetch_add(1, Relaxed);
        let (name, role) = (format!("db{number}"), format!("role{number}"));
        server.create_database(&name, tables).await.unwrap();
        server.create_role(&role, &name, rights).await.unwrap();
        let users = server.admin(&name).await.unwrap();
        Self { name, role, users }
    }

    pub(crate) async fn settings(&self) -> DatabaseSettings {
        DatabaseSettings::new(server().await.url(&self.name, &self.role))
    }

    pub(crate) async fn database(&self) -> Database {
        Database::new(self.settings().await).unwrap()
    }

    pub(crate) async fn database_with(&self, change: impl FnOnce(&mut DatabaseSettings)) -> Database {
        let mut settings = self.settings().await;
        change(&mut settings);
        Database::new(settings).unwrap()
    }

    pub(crate) async fn each(&self) -> Database {
        self.database_with(|settings| settings.job_rows = JobRows::Each).await
    }

    pub(crate) async fn sql(&self, statements: &str) {
        self.users.batch_execute(statements).await.unwrap();
    }

    /// The first column of the first row.
    pub(crate) async fn one<T>(&self, query: &str) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        self.users.query_one(query, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn campaign(&self, status: &str) -> CampaignId {
        let insert =
            "INSERT INTO campaigns (user_id, name, status) VALUES (gen_random_uuid(), 'a', $1) RETURNING id";
        CampaignId(self.users.query_one(insert, &[&status]).await.unwrap().get(0))
    }

    pub(crate) async fn run_of(&self, campaign: CampaignId, status: &str) -> RunId {
        let insert = "INSERT INTO campaign_runs (campaign_id, status) VALUES ($1, $2) RETURNING id";
        RunId(self.users.query_one(insert, &[&campaign.0, &status]).await.unwrap().get(0))
    }

    /// A running run of an active campaign.
    pub(crate) async fn running(&self) -> (CampaignId, RunId) {
        let campaign = self.campaign("active").await;
        (campaign, self.run_of(campaign, "running").await)
    }

    pub(crate) async fn job(&self, run: RunId, queue: &str, status: &str) -> JobId {
        let insert =
            "INSERT INTO jobs (run_id, queue, type, status) VALUES ($1, $2, 'swap', $3) RETURNING id";
        JobId(self.users.query_one(insert, &[&run.0, &queue, &status]).await.unwrap().get(0))
    }

    pub(crate) async fn execution(&self, job: JobId, latency: i32, result: &Value) {
        let insert = "INSERT INTO executions (job_id, latency_ms, result) VALUES ($1, $2, $3)";
        self.users.execute(insert, &[&job.0, &latency, result]).await.unwrap();
    }

    pub(crate) async fn summary(&self, run: RunId) -> Option<Value> {
        let query = "SELECT summary FROM campaign_runs WHERE id = $1";
        self.users.query_one(query, &[&run.0]).await.unwrap().get(0)
    }

    pub(crate) async fn status_rows(&self) -> i64 {
        self.one("SELECT count(*) FROM jobs WHERE queue = 'status' AND type = 'aggregate-status'").await
    }

    /// The status and the payload of a status row.
    pub(crate) async fn status_row(&self, job: JobId) -> (String, Value, Option<Value>) {
        let query = "SELECT status, payload, error FROM jobs WHERE id = $1";
        let row = self.users.query_one(query, &[&job.0]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// Ends all leases, as time does.
    pub(crate) async fn end_leases(&self) {
        self.sql("UPDATE jobs SET payload = payload || '{\"until\": 1}' WHERE queue = 'status'").await;
    }

    /// Ends all pauses after computations, as time does.
    pub(crate) async fn end_breaks(&self) {
        self.sql("UPDATE jobs SET payload = payload - 'tookMs' WHERE queue = 'status'").await;
    }

    /// Ends all pauses between attempts, as time does.
    pub(crate) async fn end_pauses(&self) {
        self.sql("UPDATE jobs SET payload = payload - 'notBefore' WHERE queue = 'status'").await;
    }
}

pub(crate) fn wanted(campaign: CampaignId, run: RunId, interval_ms: u64) -> TurnWanted {
    TurnWanted { campaign, run, interval_ms }
}

/// Plans a turn of this run and claims it.
pub(crate) async fn turn(database: &Database, campaign: CampaignId, run: RunId) -> Claim {
    let enqueued = database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await.unwrap();
    assert_eq!(enqueued.queued.len(), 1, "{enqueued:?}");
    let mut claimed = database.claim(1).await.unwrap();
    assert_eq!(claimed.claims.len(), 1, "{claimed:?}");
    claimed.claims.remove(0)
}

/// A campaign that does not exist.
pub(crate) fn nobody() -> CampaignId {
    CampaignId(Uuid::from_u128(1))
}
