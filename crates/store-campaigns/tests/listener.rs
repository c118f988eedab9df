//! The listener: what it hears, how it notices that it hears nothing, and that it misses nothing it could know of.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that can not go on panics.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use domain::campaigns::RunId;
use store_campaigns::{DEAF_AFTER, Database, DatabaseSettings, Heard, Listener, ListenerState, Pooling};
use support::World;
use testkit::{FaultProxy, PgBouncer, PoolMode, Postgres, RoleRights, UserTables, wait_until};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

/// A listener in a task of its own, as the monitor runs it.
struct Listening {
    heard: mpsc::UnboundedReceiver<Heard>,
    state: watch::Receiver<ListenerState>,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listening {
    fn start(url: String) -> Self {
        let mut settings = DatabaseSettings::new(url);
        settings.connect_timeout = Duration::from_secs(2);
        settings.statement_timeout = Duration::from_secs(2);
        let mut listener = Listener::new(Database::new(settings).unwrap());
        let (sender, heard) = mpsc::unbounded_channel();
        let state = listener.state();
        let task = tokio::spawn(async move { while sender.send(listener.next().await).is_ok() {} });
        Self { heard, state, task }
    }

    async fn connected(&mut self) {
        while self.next().await != Heard::Connected {}
    }

    async fn next(&mut self) -> Heard {
        timeout(LONG, self.heard.recv()).await.expect("something is heard").expect("the listener runs")
    }

    async fn run(&mut self, wanted: RunId) {
        while self.next().await != Heard::Run(wanted) {}
    }

    fn hears(&self) -> bool {
        self.state.borrow().hears(tokio::time::Instant::now())
    }
}

/// A server of its own, since its tests harm it, with the migration, reached through a proxy.
struct Harmed {
    server: Postgres,
    proxy: FaultProxy,
    world: World,
}

impl Harmed {
    async fn new() -> Self {
        let server = Postgres::start().await.unwrap();
        let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
        let owner = Database::new(DatabaseSettings::new(server.admin_url(&world.name))).unwrap();
        owner.migrate(Some(&world.role)).await.unwrap();
        let proxy = FaultProxy::start(server.addr()).await.unwrap();
        Self { server, proxy, world }
    }

    fn url(&self) -> String {
        Postgres::url_at(self.proxy.addr(), &self.world.name, &self.world.role)
    }
}

#[tokio::test]
async fn runs_that_any_program_changes_are_heard_and_no_others() {
    let harmed = Harmed::new().await;
    let world = &harmed.world;
    let mut listening = Listening::start(harmed.url());
    listening.connected().await;
    let (_, run) = world.running().await;
    assert_eq!(listening.next().await, Heard::Run(run), "a run was inserted");
    world
        .users
        .execute("UPDATE campaign_runs SET summary = '{\"a\": 1}' WHERE id = $1", &[&run.0])
        .await
        .unwrap();
    assert_eq!(listening.next().await, Heard::Run(run), "its summary changed");
    // The same summary, a rollback, and another column are no change.
    world
        .users
        .execute("UPDATE campaign_runs SET summary = '{\"a\": 1}' WHERE id = $1", &[&run.0])
        .await
        .unwrap();
    world.sql("BEGIN; UPDATE campaign_runs SET status = 'failed'; ROLLBACK").await;
    world.sql("UPDATE campaign_runs SET ended_at = now()").await;
    world.sql("UPDATE campaign_runs SET status = 'completed'").await;
    assert_eq!(listening.next().await, Heard::Run(run), "its status changed");
    let (_, other) = world.running().await;
    assert_eq!(listening.next().await, Heard::Run(other));
    assert_eq!(listening.state.borrow().notifications, 4);
    world.sql("SELECT pg_notify('state_tracker_runs', 'nonsense')").await;
    wait_until("nonsense is counted", LONG, async || listening.state.borrow().unreadable == 1).await;
    assert!(listening.hears());
    assert_eq!(listening.state.borrow().pooling, Pooling::None);
}

#[tokio::test]
async fn a_summary_of_any_size_is_notified_by_its_id_alone() {
    let harmed = Harmed::new().await;
    let (_, run) = harmed.world.running().await;
    let mut listening = Listening::start(harmed.url());
    listening.connected().await;
    let big = "UPDATE campaign_runs SET summary = jsonb_build_object('a', repeat('ä', 100000)) WHERE id = $1";
    assert_eq!(harmed.world.users.execute(big, &[&run.0]).await.unwrap(), 1);
    listening.run(run).await;
}

#[tokio::test]
async fn a_caller_with_little_patience_connects_as_well() {
    let harmed = Harmed::new().await;
    let mut listener = Listener::new(Database::new(DatabaseSettings::new(harmed.url())).unwrap());
    let connected = async || {
        // Less than a connection takes: each call goes away before its end.
        let heard = timeout(Duration::from_micros(200), listener.next()).await;
        heard == Ok(Heard::Connected)
    };
    wait_until("it is connected", LONG, connected).await;
}

#[tokio::test]
async fn a_connection_that_is_silently_dead_is_noticed_within_seconds() {
    let harmed = Harmed::new().await;
    let (_, run) = harmed.world.running().await;
    let mut listening = Listening::start(harmed.url());
    listening.connected().await;
    harmed.proxy.blackhole(true);
    let begun = Instant::now();
    wait_until("the loss is noticed", LONG, async || !listening.hears()).await;
    // The last sign may be a second old already, and a busy machine is late.
    assert!(begun.elapsed() < DEAF_AFTER + Duration::from_secs(3), "{:?}", begun.elapsed());
    harmed
        .world
        .users
        .execute("UPDATE campaign_runs SET status = 'failed' WHERE id = $1", &[&run.0])
        .await
        .unwrap();
    harmed.proxy.blackhole(false);
    harmed.proxy.cut();
    // What was missed is told by this: the caller reads all again.
    listening.connected().await;
    assert!(listening.hears());
    let state = listening.state.borrow().clone();
    assert_eq!((state.connections, state.losses, state.reason), (2, 1, None));
}

#[tokio::test]
async fn a_paused_server_is_noticed_and_heard_again() {
    let harmed = Harmed::new().await;
    let mut listening = Listening::start(harmed.url());
    listening.connected().await;
    harmed.server.pause().unwrap();
    wait_until("the loss is noticed", LONG, async || {
        !listening.hears() && listening.state.borrow().reason.is_some()
    })
    .await;
    harmed.server.resume().unwrap();
    listening.connected().await;
    let (_, run) = harmed.world.running().await;
    listening.run(run).await;
}

/// A reader that reads all runs at each `Connected`, and each run that is heard, knows the last status of every run, however
/// often connection and server are lost.
#[tokio::test]
async fn no_change_is_missed_over_cuts_and_restarts() {
    let mut harmed = Harmed::new().await;
    let mut listening = Listening::start(harmed.url());
    listening.connected().await;
    let mut known: BTreeSet<RunId> = BTreeSet::new();
    let mut all: BTreeSet<RunId> = BTreeSet::new();
    for round in 0..6 {
        for _ in 0..20 {
            let (_, run) = harmed.world.running().await;
            all.insert(run);
        }
        match round % 3 {
            0 => harmed.proxy.cut(),
            1 => {
                harmed.server.restart().await.unwrap();
                harmed.world.users = harmed.server.admin(&harmed.world.name).await.unwrap();
            }
            _ => {
                harmed.server.kill_hard().unwrap();
                harmed.server.restart().await.unwrap();
                harmed.world.users = harmed.server.admin(&harmed.world.name).await.unwrap();
            }
        }
        for _ in 0..20 {
            let (_, run) = harmed.world.running().await;
            all.insert(run);
        }
        while known != all {
            match listening.next().await {
                Heard::Run(run) => {
                    known.insert(run);
                }
                Heard::Connected => {
                    let rows = harmed.world.users.query("SELECT id FROM campaign_runs", &[]).await.unwrap();
                    known.extend(rows.iter().map(|row| RunId(row.get(0))));
                }
            }
        }
    }
    assert!(listening.state.borrow().losses >= 5, "{:?}", listening.state.borrow());
}

#[tokio::test]
async fn a_failover_to_another_server_is_heard_there() {
    let first = Harmed::new().await;
    let second = Harmed::new().await;
    second.world.sql(&format!("ALTER ROLE {} RENAME TO {}", second.world.role, first.world.role)).await;
    second.world.sql(&format!("ALTER ROLE {} PASSWORD 'secret'", first.world.role)).await;
    let rename = format!("ALTER DATABASE {} RENAME TO {}", second.world.name, first.world.name);
    let other = second.server.admin("postgres").await.unwrap();
    let Harmed { server: second_server, world, .. } = second;
    drop(world);
    wait_until("the database is free", LONG, async || other.batch_execute(&rename).await.is_ok()).await;
    let mut listening = Listening::start(first.url());
    listening.connected().await;
    first.proxy.set_upstream(second_server.addr());
    first.proxy.cut();
    listening.connected().await;
    let users = second_server.admin(&first.world.name).await.unwrap();
    let insert = "WITH c AS (INSERT INTO campaigns (user_id, name) VALUES (gen_random_uuid(), 'a') RETURNING id) \
                  INSERT INTO campaign_runs (campaign_id) SELECT id FROM c RETURNING id";
    let run = RunId(users.query_one(insert, &[]).await.unwrap().get(0));
    listening.run(run).await;
}

#[tokio::test]
async fn a_pooler_of_transactions_is_found_out_at_start_and_leaves_no_listener_behind() {
    let harmed = Harmed::new().await;
    let (name, role) = (&harmed.world.name, &harmed.world.role);
    let bouncer =
        PgBouncer::start(&harmed.server, PoolMode::Transaction, &[role], &["default_pool_size = 4"])
            .await
            .unwrap();
    let mut listening = Listening::start(Postgres::url_at(bouncer.addr(), name, role));
    wait_until("the pooler is found out", LONG, async || {
        listening.state.borrow().pooling == Pooling::Transactions
    })
    .await;
    assert!(!listening.hears());
    let reason = listening.state.borrow().reason.clone().unwrap();
    assert!(reason.contains("pooler"), "{reason}");
    assert!(listening.heard.try_recv().is_err());
    drop(bouncer);

    let bouncer = PgBouncer::start(&harmed.server, PoolMode::Session, &[role], &["default_pool_size = 8"])
        .await
        .unwrap();
    let mut listening = Listening::start(Postgres::url_at(bouncer.addr(), name, role));
    listening.connected().await;
    assert_eq!(listening.state.borrow().pooling, Pooling::Pooled);
    let (_, run) = harmed.world.running().await;
    listening.run(run).await;
}

#[tokio::test]
async fn a_full_queue_of_notifications_refuses_no_statement_of_users() {
    let server = Postgres::start().await.unwrap();
    let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
    let owner = Database::new(DatabaseSettings::new(server.admin_url(&world.name))).unwrap();
    owner.migrate(None).await.unwrap();
    let (_, run) = world.running().await;
    // What the trigger looks at, as it is when the queue is over half full.
    world
        .sql(
            "CREATE SCHEMA fake; \
             CREATE FUNCTION fake.usage() RETURNS float8 LANGUAGE sql AS 'SELECT 0.9::float8'; \
             CREATE FUNCTION fake.notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$; \
             DO $$ BEGIN EXECUTE replace(replace(pg_get_functiondef('state_tracker.run_changed'::regproc), \
               'pg_catalog.pg_notification_queue_usage', 'fake.usage'), 'pg_catalog.pg_notify', 'fake.notify'); END $$",
        )
        .await;
    let update = "UPDATE campaign_runs SET status = 'failed' WHERE id = $1";
    assert_eq!(world.users.execute(update, &[&run.0]).await.unwrap(), 1);
    // With room in the queue the same trigger would notify, here: fail.
    world
        .sql("CREATE OR REPLACE FUNCTION fake.usage() RETURNS float8 LANGUAGE sql AS 'SELECT 0.1::float8'")
        .await;
    let update = "UPDATE campaign_runs SET status = 'running' WHERE id = $1";
    assert!(world.users.execute(update, &[&run.0]).await.is_err());
}
