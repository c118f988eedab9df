//! A database that is away, slow, restarted, read-only, crowded, or behind a PgBouncer; logins and TLS.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use std::time::{Duration, Instant};

use http_client::Trust;
use store_campaigns::{Database, DatabaseErrorKind, DatabaseSettings, History, SummaryWrite};
use support::{AT_ONCE, LONG, World, nobody, turn, wanted};
use testkit::{Authority, PgBouncer, PoolMode, Postgres, RoleRights, UserTables, wait_until};

fn quick(url: String) -> DatabaseSettings {
    let mut settings = DatabaseSettings::new(url);
    settings.connect_timeout = Duration::from_secs(2);
    settings.statement_timeout = Duration::from_millis(500);
    settings
}

async fn kind_of(database: &Database) -> DatabaseErrorKind {
    database.owner_of(nobody()).await.unwrap_err().kind
}

#[tokio::test]
async fn a_restarted_server_is_used_again_and_a_claim_outlives_it() {
    let mut server = Postgres::start().await.unwrap();
    let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
    let database = Database::new(quick(server.url(&world.name, &world.role))).unwrap();
    let (campaign, run) = world.running().await;
    let claim = turn(&database, campaign, run).await;
    let computed = database.compute(run).await.unwrap();
    server.kill_hard().unwrap();
    let error = database.finish(&claim, computed.as_ref(), History::Absent).await.unwrap_err();
    assert!(error.kind.is_outage(), "{error}");
    assert_eq!(kind_of(&database).await, DatabaseErrorKind::Away);
    server.restart().await.unwrap();
    // Connections of before are found dead one by one.
    let finished = wait_until("the turn ends", LONG, async || {
        database.finish(&claim, computed.as_ref(), History::Absent).await.ok()
    })
    .await;
    assert!(finished.is_held && matches!(finished.summary, SummaryWrite::Written { .. }), "{finished:?}");
}

#[tokio::test]
async fn a_silent_server_costs_a_call_its_limit_and_no_more() {
    let server = Postgres::start().await.unwrap();
    let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
    let database = Database::new(quick(server.url(&world.name, &world.role))).unwrap();
    database.owner_of(nobody()).await.unwrap();
    server.pause().unwrap();
    let started = Instant::now();
    assert_eq!(kind_of(&database).await, DatabaseErrorKind::Slow);
    // A new connection finds no answer either.
    assert!(kind_of(&database).await.is_outage());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    server.resume().unwrap();
    wait_until("the server answers", LONG, async || database.owner_of(nobody()).await.is_ok()).await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_by_the_server() {
    let world = World::new().await;
    let database = world
        .database_with(|settings| {
            settings.compute_timeout = Duration::from_millis(100);
        })
        .await;
    let (_, run) = world.running().await;
    world
        .sql(
            "INSERT INTO jobs (run_id, queue, type) SELECT id, 'a', 't' FROM campaign_runs, \
            generate_series(1, 200); \
             INSERT INTO executions (job_id, latency_ms) SELECT id, 1 FROM jobs; \
             CREATE FUNCTION slow(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1 FROM pg_sleep(1)'; \
             ALTER TABLE executions RENAME TO all_executions; \
             CREATE VIEW executions AS SELECT id, job_id, latency_ms, slow(result) AS result FROM \
             all_executions; \
             GRANT SELECT ON executions TO PUBLIC",
        )
        .await;
    assert_eq!(database.compute(run).await.unwrap_err().kind, DatabaseErrorKind::Slow);
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'state-tracker' \
         AND datname = current_database() AND state <> 'idle'";
    wait_until("no statement of ours is left", LONG, async || world.one::<i64>(left).await == 0).await;
}

#[tokio::test]
async fn no_connection_is_left_idle_in_a_transaction() {
    let world = World::new().await;
    let (database, (campaign, run)) = (world.database().await, world.running().await);
    // Callers that go away in the middle of a call.
    for _ in 0..50 {
        let turns = [wanted(campaign, run, AT_ONCE)];
        let _ = tokio::time::timeout(Duration::from_micros(300), database.enqueue(&turns)).await;
        let _ = tokio::time::timeout(Duration::from_micros(300), database.claim(1)).await;
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'state-tracker' \
         AND datname = current_database() AND state LIKE 'idle in transaction%'";
    wait_until("no transaction is open", LONG, async || world.one::<i64>(open).await == 0).await;
    let most: i64 = world
        .one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'state-tracker' AND datname = current_database()")
        .await;
    assert!(most <= 8, "{most} connections, where 8 are allowed");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_still_read() {
    let mut server = Postgres::start().await.unwrap();
    let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
    let (campaign, run) = world.running().await;
    // A server that recovers and never ends it, as a standby without its primary.
    server.become_standby().await.unwrap();
    let database = Database::new(quick(server.url(&world.name, &world.role))).unwrap();
    assert!(database.compute(run).await.unwrap().is_some());
    assert!(database.inspect().await.unwrap().is_read_only);
    for error in [
        database.claim(1).await.unwrap_err(),
        database.enqueue(&[wanted(campaign, run, AT_ONCE)]).await.unwrap_err(),
    ] {
        assert_eq!((error.kind, error.kind.is_outage()), (DatabaseErrorKind::ReadOnly, true), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_free_connections_is_an_outage() {
    let server = Postgres::builder()
        .setting("max_connections", "8")
        .setting("superuser_reserved_connections", "3")
        .setting("max_wal_senders", "0")
        .start()
        .await
        .unwrap();
    let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
    let mut held = Vec::new();
    while let Ok(client) = server.connect(&world.name, &world.role).await {
        held.push(client);
    }
    let database = Database::new(quick(server.url(&world.name, &world.role))).unwrap();
    assert_eq!(kind_of(&database).await, DatabaseErrorKind::Crowded);
    drop(held);
    wait_until("a connection is free", LONG, async || database.owner_of(nobody()).await.is_ok()).await;
}

#[tokio::test]
async fn a_pool_whose_connections_are_all_in_use_refuses_after_its_wait() {
    let world = World::new().await;
    let database = world
        .database_with(|settings| {
            settings.connections = 1;
            settings.connect_timeout = Duration::from_millis(200);
            settings.lock_timeout = Duration::from_secs(3);
        })
        .await;
    let (campaign, run) = world.running().await;
    world.sql("BEGIN; LOCK TABLE jobs").await;
    let turns = [wanted(campaign, run, AT_ONCE)];
    let second = async {
        let is_taken = async || database.pool().connections == 1 && database.pool().free == 0;
        wait_until("the only connection is taken", LONG, is_taken).await;
        database.owner_of(nobody()).await
    };
    let (first, second) = tokio::join!(database.enqueue(&turns), second);
    assert_eq!(first.unwrap_err().kind, DatabaseErrorKind::Slow, "it waited for the lock");
    assert_eq!(second.unwrap_err().kind, DatabaseErrorKind::Crowded);
    world.sql("COMMIT").await;
}

#[tokio::test]
async fn wrong_logins_names_tables_and_rights_are_no_outages() {
    let world = World::with(UserTables::default(), RoleRights::None).await;
    let server = support::server().await;
    let good = server.url(&world.name, &world.role);
    assert_eq!(kind_of(&Database::new(quick(good.clone())).unwrap()).await, DatabaseErrorKind::Denied);
    for bad in [
        good.replace("secret", "wrong"),
        good.replace(&world.role, "stranger"),
        server.url("nowhere", &world.role),
    ] {
        assert_eq!(kind_of(&Database::new(quick(bad)).unwrap()).await, DatabaseErrorKind::Refused);
    }
    let empty = Database::new(quick(server.admin_url("postgres"))).unwrap();
    let error = empty.owner_of(nobody()).await.unwrap_err();
    assert_eq!((error.kind, error.kind.is_outage()), (DatabaseErrorKind::Missing, false));
    let text = error.to_string();
    assert!(text.contains("find the owner of a campaign: 127.0.0.1:") && !text.contains("secret"), "{text}");
    let nothing = Database::new(quick("postgresql://role:secret@127.0.0.1:1/db".to_owned())).unwrap();
    assert_eq!(kind_of(&nothing).await, DatabaseErrorKind::Away);
}

#[tokio::test]
async fn everything_works_behind_a_pgbouncer_of_either_mode() {
    let server = support::server().await;
    for (mode, is_pooled) in [(PoolMode::Transaction, true), (PoolMode::Session, false)] {
        let world = World::new().await;
        let more = ["default_pool_size = 3", "server_round_robin = 1"];
        let bouncer = PgBouncer::start(server, mode, &[&world.role], &more).await.unwrap();
        let url = Postgres::url_at(bouncer.addr(), &world.name, &world.role);
        let mut settings = DatabaseSettings::new(url);
        settings.connections = 3;
        let database = Database::new(settings).unwrap();
        for _ in 0..20 {
            let (campaign, run) = world.running().await;
            world.job(run, "buy", "succeeded").await;
            let work = async || {
                let claim = turn(&database, campaign, run).await;
                let computed = database.compute(run).await.unwrap();
                database.finish(&claim, computed.as_ref(), History::Absent).await.unwrap()
            };
            let finished = work().await;
            assert!(matches!(finished.summary, SummaryWrite::Written { .. }), "{mode:?}: {finished:?}");
        }
        assert_eq!(database.latest(&[nobody()]).await.unwrap().len(), 0);
        // A session of its own is wanted twice, beside those of the pool.
        drop(database);
        let mut settings = DatabaseSettings::new(Postgres::url_at(bouncer.addr(), &world.name, &world.role));
        settings.connections = 1;
        let inspection = wait_until("the sessions are free", LONG, async || {
            Database::new(settings.clone()).unwrap().inspect().await.ok()
        })
        .await;
        assert_eq!(inspection.is_pooled, is_pooled, "{mode:?}");
        assert!(inspection.is_usable(), "{inspection:?}");
    }
}

#[tokio::test]
async fn a_servers_certificate_is_checked_where_the_url_asks_for_tls() {
    let authority = Authority::new("ours").unwrap();
    let server = Postgres::builder().tls(authority.server().unwrap()).start().await.unwrap();
    let world = World::on(&server, UserTables::default(), RoleRights::Service).await;
    let url = format!("{}?sslmode=verify-full", server.url(&world.name, &world.role));
    let trusting = |authority: &Authority| {
        let mut settings = quick(url.clone());
        settings.trust = Trust::only(authority.certificate().as_bytes()).unwrap();
        Database::new(settings).unwrap()
    };
    assert_eq!(trusting(&authority).owner_of(nobody()).await.unwrap(), None);
    let stranger = Authority::new("another").unwrap();
    assert_eq!(kind_of(&trusting(&stranger)).await, DatabaseErrorKind::Tls);
    // A server that takes TLS only refuses who comes without it.
    let plain =
        Database::new(quick(format!("{}?sslmode=disable", server.url(&world.name, &world.role)))).unwrap();
    assert_eq!(kind_of(&plain).await, DatabaseErrorKind::Refused);
}

#[tokio::test]
async fn an_unknown_certificate_is_no_hindrance_where_the_url_asks_for_none() {
    let authority = Authority::new("ours").unwrap();
    let server = Postgres::builder().tls(authority.server().unwrap()).start().await.unwrap();
    server.create_database("open", UserTables::default()).await.unwrap();
    // The superuser may come without TLS; the server offers it.
    let mut settings = quick(server.admin_url("open"));
    settings.trust = Trust::only(Authority::new("another").unwrap().certificate().as_bytes()).unwrap();
    assert_eq!(Database::new(settings).unwrap().owner_of(nobody()).await.unwrap(), None);
}
