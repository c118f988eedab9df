//! The users' database with its campaigns, and tokens of their users.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};
use store_campaigns::{Database, DatabaseSettings};
use testkit::{Postgres, RedisServer, RoleRights, UserTables};

pub(crate) const SECRET: &str = "a secret of at least 32 characters";
const DATABASE: &str = "users";
const ROLE: &str = "service";

/// The servers that a service needs.
pub(crate) struct Scene {
    pub(crate) postgres: Postgres,
    pub(crate) redis: RedisServer,
}

/// The id of the campaign, of its user and of its run with this number.
pub(crate) fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// A token of this user for an hour.
pub(crate) fn token(user: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{header}.{}", part(json!({ "sub": user, "exp": now.as_secs() + 3_600 })));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

impl Scene {
    /// So many active campaigns, each with a running run of so many jobs, with the migration.
    pub(crate) async fn new(campaigns: u64, jobs: u64) -> Self {
        // As a user's server: each commit is on the disk.
        let builder = Postgres::builder().setting("fsync", "on").synchronous_commit(true);
        let postgres = builder.start().await.expect("a server");
        postgres.create_database(DATABASE, UserTables::default()).await.expect("a database");
        postgres.create_role(ROLE, DATABASE, RoleRights::Service).await.expect("a role");
        let of =
            |number: &str| format!("('00000000-0000-4000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid");
        let statements = format!(
            "INSERT INTO campaigns (id, user_id, name, status)
               SELECT {id}, {id}, 'a', 'active' FROM generate_series(0, {campaigns} - 1) n;
             INSERT INTO campaign_runs (id, campaign_id) SELECT {id}, {id} FROM generate_series(0, {campaigns} - 1) n;
             INSERT INTO jobs (run_id, queue, type, status)
               SELECT {id}, (ARRAY['buy', 'sell', 'funds'])[1 + i % 3], 'swap', (ARRAY['queued', 'succeeded'])[1 + i % 2]
               FROM generate_series(0, {campaigns} - 1) n, generate_series(1, {jobs}) i;
             INSERT INTO executions (job_id, latency_ms, result)
               SELECT id, (random() * 1000)::int, '{{\"tip_lamports\": 5}}' FROM jobs;",
            id = of("n")
        );
        postgres.execute(DATABASE, &statements).await.expect("rows");
        postgres.execute(DATABASE, "VACUUM ANALYZE").await.expect("statistics");
        let owner = Database::new(DatabaseSettings::new(postgres.admin_url(DATABASE))).expect("a URL");
        owner.migrate(Some(ROLE)).await.expect("the migration");
        let redis = RedisServer::start().await.expect("a Redis server");
        Self { postgres, redis }
    }

    /// The URL of the database for the service.
    pub(crate) fn url(&self) -> String {
        self.postgres.url(DATABASE, ROLE)
    }

    /// The URL of the database for the users' own programs.
    pub(crate) fn users_url(&self) -> String {
        self.postgres.admin_url(DATABASE)
    }

    /// The users' own connection.
    pub(crate) async fn users(&self) -> tokio_postgres::Client {
        self.postgres.admin(DATABASE).await.expect("a connection")
    }
}
