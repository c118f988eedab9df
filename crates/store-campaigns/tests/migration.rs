//! The opt-in migration: what it makes, that it can be repeated and undone, and that users never wait for it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that can not go on panics.

mod support;

use std::time::{Duration, Instant};

use domain::campaigns::RunId;
use store_campaigns::{Database, DatabaseErrorKind, DatabaseSettings, LOCK_TIMEOUT, MigrationKind};
use support::{World, server};
use testkit::{Indexes, Postgres, RoleRights, UserTables, wait_until};

/// Every object of the database that is no part of PostgreSQL, with its definition.
const CATALOGUE: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (\
     SELECT 'schema ' || nspname AS line FROM pg_namespace WHERE nspname !~ '^pg_' \
     UNION ALL SELECT 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || coalesce(c.relacl::text, '') FROM pg_class c \
       JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     UNION ALL SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
       JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' \
     UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
       WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal \
     UNION ALL SELECT 'constraint ' || conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0 \
     UNION ALL SELECT 'column ' || attrelid::regclass || attname || atttypid::regtype || attnotnull FROM pg_attribute a \
       JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
       WHERE attnum > 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     UNION ALL SELECT 'type ' || oid::regtype FROM pg_type WHERE typnamespace IN \
       (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')) AS every";

/// Users' tables that the service's role owns, as where an operator migrates with the role of the application.
async fn owned(tables: UserTables) -> World {
    let world = World::with(tables, RoleRights::Service).await;
    let (role, name) = (&world.role, &world.name);
    let owners = ["campaigns", "campaign_runs", "jobs", "executions"]
        .map(|table| format!("ALTER TABLE {table} OWNER TO {role};"))
        .concat();
    world
        .sql(&format!(
            "{owners} GRANT CREATE ON DATABASE {name} TO {role}; GRANT CREATE ON SCHEMA public TO {role}"
        ))
        .await;
    world
}

#[tokio::test]
async fn the_migration_adds_what_is_missing_and_its_undo_leaves_nothing() {
    let world = owned(UserTables { indexes: Indexes::None, ..UserTables::default() }).await;
    let database = world.database().await;
    let before: String = world.one(CATALOGUE).await;
    assert_eq!(database.migration().await.unwrap().kind, MigrationKind::Absent);

    let migrated = database.migrate(None).await.unwrap();
    assert_eq!(migrated.steps.len(), 5, "{migrated:?}");
    assert_eq!(migrated.indexes.len(), store_campaigns::INDEXES.len(), "{migrated:?}");
    let state = database.migration().await.unwrap();
    assert_eq!(state.kind, MigrationKind::Applied, "{state:?}");
    assert!(state.notifies() && state.counts(), "{state:?}");
    let applied: String = world.one(CATALOGUE).await;
    assert_ne!(applied, before);

    let again = database.migrate(None).await.unwrap();
    assert!(again.steps.is_empty() && again.indexes.is_empty(), "{again:?}");
    assert_eq!(world.one::<String>(CATALOGUE).await, applied, "a repeated migration changes nothing");

    // Rows of users and of ours must not be in the way.
    let (_, run) = world.running().await;
    world.job(run, "buy", "queued").await;
    database.recount(run).await.unwrap().unwrap();
    database.undo_migration().await.unwrap();
    assert_eq!(world.one::<String>(CATALOGUE).await, before, "the undo leaves nothing");
    assert_eq!(database.migration().await.unwrap().kind, MigrationKind::Absent);
    database.undo_migration().await.unwrap();
    world.job(run, "buy", "queued").await;
}

#[tokio::test]
async fn indexes_that_serve_are_not_built_again() {
    let world = owned(UserTables::default()).await;
    let migrated = world.database().await.migrate(None).await.unwrap();
    assert!(migrated.indexes.is_empty(), "{migrated:?}");
}

#[tokio::test]
async fn what_others_removed_or_disabled_is_found_and_made_again() {
    let world = owned(UserTables::default()).await;
    let database = world.database().await;
    database.migrate(None).await.unwrap();
    world.sql("DROP TRIGGER state_tracker_job_updated ON jobs").await;
    let state = database.migration().await.unwrap();
    assert_eq!((state.kind, state.missing.as_slice()), (MigrationKind::Partial, &["triggers of jobs"][..]));
    assert!(state.notifies() && !state.counts());
    assert_eq!(database.migrate(None).await.unwrap().steps, ["triggers of jobs"]);
    world.sql("ALTER TABLE executions DISABLE TRIGGER state_tracker_execution_inserted").await;
    let state = database.migration().await.unwrap();
    assert_eq!(state.missing, ["triggers of executions"]);
    world.sql("DROP FUNCTION state_tracker.run_changed() CASCADE; DROP TABLE state_tracker.held_jobs").await;
    database.migrate(None).await.unwrap();
    let state = database.migration().await.unwrap();
    assert!(!state.missing.contains(&"schema") && !state.missing.contains(&"functions"), "{state:?}");
}

#[tokio::test]
async fn a_role_that_does_not_own_the_tables_is_refused_and_a_service_role_gets_its_rights() {
    let world = World::new().await;
    let service = world.database().await;
    let error = service.migrate(None).await.unwrap_err();
    assert_eq!(error.kind, DatabaseErrorKind::Denied, "{error}");
    let settings = store_campaigns::DatabaseSettings::new(server().await.admin_url(&world.name));
    let owner = store_campaigns::Database::new(settings).unwrap();
    owner.migrate(None).await.unwrap();
    let state = service.migration().await.unwrap();
    assert!(!state.is_usable && state.notifies() && !state.counts(), "{state:?}");
    let error = service.count_changes().await.unwrap_err();
    assert_eq!(error.kind, DatabaseErrorKind::Denied, "{error}");
    owner.migrate(Some(&world.role)).await.unwrap();
    assert!(service.migration().await.unwrap().counts());
    service.count_changes().await.unwrap();
    let (_, run) = world.running().await;
    service.recount(run).await.unwrap().unwrap();
    assert!(service.counted(run).await.unwrap().is_some());
}

#[tokio::test]
async fn a_role_without_rights_on_our_schema_writes_as_before() {
    let world = owned(UserTables::default()).await;
    world.database().await.migrate(None).await.unwrap();
    server().await.create_role("stranger", &world.name, RoleRights::Service).await.unwrap();
    let (_, run) = world.running().await;
    let stranger = server().await.connect(&world.name, "stranger").await.unwrap();
    // An operator of the caller's search path must not be run with our rights.
    let trap = "SET search_path = public, pg_catalog";
    stranger.batch_execute(trap).await.unwrap();
    let insert = "INSERT INTO jobs (run_id, queue, type) VALUES ($1, 'buy', 'swap')";
    assert_eq!(stranger.execute(insert, &[&run.0]).await.unwrap(), 1);
    stranger.execute("UPDATE jobs SET status = 'succeeded' WHERE run_id = $1", &[&run.0]).await.unwrap();
    let refused = stranger.execute("DELETE FROM state_tracker.job_changes", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
    // The inserted row; the new and the old row of the update.
    assert_eq!(world.one::<i64>("SELECT count(*) FROM state_tracker.job_changes").await, 3);
}

#[tokio::test]
async fn a_two_phase_commit_of_users_is_not_refused_where_the_server_allows_it() {
    let server = Postgres::builder().setting("max_prepared_transactions", "10").start().await.unwrap();
    server.create_database("app", UserTables::default()).await.unwrap();
    let owner = Database::new(DatabaseSettings::new(server.admin_url("app"))).unwrap();
    owner.migrate(None).await.unwrap();
    let state = owner.migration().await.unwrap();
    assert_eq!(state.kind, MigrationKind::Applied);
    assert!(!state.notifies() && !state.may_notify && state.counts(), "{state:?}");
    let run = "00000000-0000-4000-8000-000000000001";
    let prepared = format!(
        "BEGIN; INSERT INTO campaigns (id, user_id, name, status) VALUES (gen_random_uuid(), gen_random_uuid(), 'a', 'active'); \
         INSERT INTO campaign_runs (id, campaign_id) SELECT '{run}', id FROM campaigns; \
         INSERT INTO jobs (run_id, queue, type) VALUES ('{run}', 'buy', 'swap'); \
         UPDATE campaign_runs SET summary = '{{}}'; PREPARE TRANSACTION 'a'"
    );
    server.execute("app", &prepared).await.unwrap();
    server.execute("app", "COMMIT PREPARED 'a'").await.unwrap();
    let run = RunId(run.parse().unwrap());
    owner.recount(run).await.unwrap();
    assert_eq!(owner.counted(run).await.unwrap().unwrap().tally.queues["buy"].total(), 1);

    server.execute("app", "ALTER DATABASE app SET state_tracker.notify = 'on'").await.unwrap();
    let owner = Database::new(DatabaseSettings::new(server.admin_url("app"))).unwrap();
    assert!(owner.migration().await.unwrap().notifies());
}

#[tokio::test]
async fn a_schema_of_our_name_that_belongs_to_others_is_left_alone() {
    let world = owned(UserTables::default()).await;
    world.sql("CREATE SCHEMA state_tracker; CREATE TABLE state_tracker.theirs (id integer)").await;
    let database = world.database().await;
    assert_eq!(database.migration().await.unwrap().kind, MigrationKind::Foreign);
    assert!(database.migrate(None).await.is_err());
    assert!(database.undo_migration().await.is_err());
    assert_eq!(world.one::<i64>("SELECT count(*) FROM state_tracker.theirs").await, 0);
}

#[tokio::test]
async fn the_undo_drops_nothing_of_others_that_needs_ours() {
    let world = owned(UserTables::default()).await;
    let database = world.database().await;
    database.migrate(None).await.unwrap();
    world.sql("CREATE VIEW trends AS SELECT * FROM state_tracker.summaries").await;
    let error = database.undo_migration().await.unwrap_err();
    assert!(error.to_string().contains("depend"), "{error}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM trends").await, 0);
    world.sql("DROP VIEW trends").await;
    database.undo_migration().await.unwrap();
    assert_eq!(database.migration().await.unwrap().kind, MigrationKind::Absent);
}

#[tokio::test]
async fn a_newer_migration_is_left_alone() {
    let world = owned(UserTables::default()).await;
    let database = world.database().await;
    database.migrate(None).await.unwrap();
    world.sql("INSERT INTO state_tracker.migration VALUES (1000)").await;
    assert_eq!(database.migration().await.unwrap().kind, MigrationKind::Newer);
    assert!(database.migrate(None).await.is_err());
    assert!(database.undo_migration().await.is_err());
}

/// A long transaction of a user holds its table: the migration waits for it, and other users do not wait for the migration.
#[tokio::test]
async fn users_do_not_wait_for_a_migration_that_waits_for_a_user() {
    let world = owned(UserTables::default()).await;
    let database = world.database().await;
    let (_, run) = world.running().await;
    for undo in [false, true] {
        let long = server().await.admin(&world.name).await.unwrap();
        long.batch_execute("BEGIN").await.unwrap();
        long.execute("INSERT INTO jobs (run_id, queue, type) VALUES ($1, 'buy', 'swap')", &[&run.0])
            .await
            .unwrap();
        let working = {
            let database = database.clone();
            tokio::spawn(async move {
                if undo { database.undo_migration().await } else { database.migrate(None).await }
            })
        };
        // Some refusals later, users have written as fast as ever.
        let mut slowest = Duration::ZERO;
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            let begun = Instant::now();
            world.job(run, "sell", "queued").await;
            slowest = slowest.max(begun.elapsed());
        }
        // Waiting in the queue behind the request for the lock, and what a busy machine adds.
        assert!(slowest < LOCK_TIMEOUT + Duration::from_secs(1), "{slowest:?}");
        assert!(!working.is_finished());
        long.batch_execute("COMMIT").await.unwrap();
        let done = working.await.unwrap().unwrap();
        assert!(done.refused_locks > 0, "{done:?}");
    }
}

#[tokio::test]
async fn two_migrations_at_once_make_one() {
    let world = owned(UserTables { indexes: Indexes::All, ..UserTables::default() }).await;
    let database = world.database().await;
    let (one, other) = tokio::join!(database.migrate(None), database.migrate(None));
    one.unwrap();
    other.unwrap();
    assert_eq!(database.migration().await.unwrap().kind, MigrationKind::Applied);
}

#[tokio::test]
async fn a_failed_build_of_an_index_is_removed_and_repeated() {
    let world = owned(UserTables { indexes: Indexes::First, ..UserTables::default() }).await;
    world.sql("DROP INDEX jobs_queue").await;
    let (_, run) = world.running().await;
    let long = server().await.admin(&world.name).await.unwrap();
    // The build waits for this transaction, and its end by force leaves an invalid index.
    long.batch_execute("BEGIN").await.unwrap();
    long.execute("INSERT INTO jobs (run_id, queue, type) VALUES ($1, 'buy', 'swap')", &[&run.0])
        .await
        .unwrap();
    let build = "SET lock_timeout = '100ms'";
    let builder = server().await.admin(&world.name).await.unwrap();
    builder.batch_execute(build).await.unwrap();
    builder
        .batch_execute("CREATE INDEX CONCURRENTLY state_tracker_jobs_queue ON jobs (queue)")
        .await
        .unwrap_err();
    long.batch_execute("COMMIT").await.unwrap();
    world.sql(&format!("ALTER INDEX state_tracker_jobs_queue OWNER TO {}", world.role)).await;
    let database = world.database().await;
    let state = database.migration().await.unwrap();
    assert_eq!(state.invalid_indexes, ["state_tracker_jobs_queue"]);
    let migrated = database.migrate(None).await.unwrap();
    assert!(migrated.indexes.contains(&"state_tracker_jobs_queue".to_owned()), "{migrated:?}");
    wait_until("the index is valid", Duration::from_secs(10), async || {
        database.migration().await.unwrap().kind == MigrationKind::Applied
    })
    .await;
}
