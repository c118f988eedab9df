//! A database of campaigns, a Redis server, and a service at both.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};
use state_tracker::service::Service;
use testkit::{
    RedisServer,
    postgres::{Indexes, Postgres, RoleRights, UserTables},
    wait_until,
};

use crate::common::{self, SOON};

pub(crate) const DATABASE: &str = "app";
pub(crate) const ROLE: &str = "service";
pub(crate) const USER: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const OTHER_USER: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const CAMPAIGN: &str = "3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11";
pub(crate) const RUN: &str = "9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d0001";
const SECRET: &str = "a secret of at least 32 characters";
pub(crate) const SERVICE_TOKEN: &str = "the-token-of-another-service";

/// A token of this user for an hour.
pub(crate) fn token(user: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{header}.{}", part(json!({ "sub": user, "exp": now.as_secs() + 3_600 })));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

pub(crate) struct Scene {
    pub(crate) postgres: Postgres,
    pub(crate) redis: RedisServer,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Scene {
    /// An active campaign with a running run and one queued job.
    pub(crate) async fn new() -> Self {
        Self::with_tables(false, RoleRights::Service).await
    }

    pub(crate) async fn with_tables(row_level_security: bool, rights: RoleRights) -> Self {
        let postgres = Postgres::builder().synchronous_commit(true).start().await.expect("PostgreSQL");
        let tables = UserTables { indexes: Indexes::All, row_level_security, unchecked: false };
        postgres.create_database(DATABASE, tables).await.expect("a database");
        postgres.create_role(ROLE, DATABASE, rights).await.expect("a role");
        let redis = RedisServer::builder().append_only(true).arg("appendfsync", "always");
        let redis = redis.start().await.expect("a Redis server");
        let mut environment = common::environment(redis.addr());
        // The variables of the original, and a port of its own.
        for (name, value) in [
            ("DATABASE_URL", postgres.url(DATABASE, ROLE)),
            ("STATUS_AGGREGATOR_INTERVAL_SECONDS", "1".to_owned()),
            ("STATE_TRACKER__CAMPAIGNS__JWT_SECRET", SECRET.to_owned()),
            ("STATE_TRACKER__CAMPAIGNS__SERVICE_TOKEN", SERVICE_TOKEN.to_owned()),
            ("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", "127.0.0.1:0".to_owned()),
            ("STATE_TRACKER__CAMPAIGNS__WORKERS", "2".to_owned()),
            ("STATE_TRACKER__SUPERVISION__BACKOFF_FIRST", "10ms".to_owned()),
        ] {
            environment.insert(name.to_owned(), value);
        }
        let scene = Self { postgres, redis, environment };
        scene.add_campaign(CAMPAIGN, USER, RUN).await;
        scene.add_jobs(RUN, "trade", "queued", 1).await;
        scene
    }

    pub(crate) async fn sql(&self, statement: &str) {
        self.postgres.execute(DATABASE, statement).await.expect("a statement");
    }

    pub(crate) async fn add_campaign(&self, campaign: &str, user: &str, run: &str) {
        self.sql(&format!(
            "INSERT INTO campaigns (id, user_id, name, status) VALUES ('{campaign}', '{user}', 'c', 'active'); \
             INSERT INTO campaign_runs (id, campaign_id) VALUES ('{run}', '{campaign}')"
        ))
        .await;
    }

    pub(crate) async fn add_jobs(&self, run: &str, queue: &str, status: &str, many: usize) {
        self.sql(&format!(
            "INSERT INTO jobs (run_id, queue, type, status) SELECT '{run}', '{queue}', 'swap', '{status}' \
             FROM generate_series(1, {many})"
        ))
        .await;
    }

    pub(crate) async fn service(&self) -> Service {
        common::service(&self.environment).await
    }

    /// The summary of a run as the database has it.
    pub(crate) async fn summary(&self, run: &str) -> Option<Value> {
        let client = self.postgres.admin(DATABASE).await.ok()?;
        let statement = format!("SELECT summary::text FROM campaign_runs WHERE id = '{run}'");
        let row = client.query_one(statement.as_str(), &[]).await.ok()?;
        row.get::<_, Option<String>>(0).and_then(|text| serde_json::from_str(&text).ok())
    }

    /// Waits until the summary of a run counts so many jobs.
    pub(crate) async fn counted(&self, run: &str, jobs: u64) -> Value {
        wait_until("the run is counted", SOON, async || {
            self.summary(run).await.filter(|summary| summary["totalJobs"] == jobs)
        })
        .await
    }
}

/// Where clients connect.
pub(crate) fn url(service: &Service) -> String {
    let address = service.campaigns().and_then(|port| port.address()).expect("a gateway");
    format!("http://{address}/campaigns")
}
