//! What is found out about a database: missing tables, columns, indexes and rights, hidden rows, old transactions.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

mod support;

use std::time::Duration;

use store_campaigns::{Database, DatabaseSettings, Inspection};
use support::{LONG, World, nobody};
use testkit::{Indexes, RoleRights, UserTables, wait_until};

async fn inspect(world: &World) -> Inspection {
    world.database().await.inspect().await.unwrap()
}

fn indexes_of(inspection: &Inspection) -> Vec<String> {
    let name =
        |index: &store_campaigns::WantedIndex| format!("{}({})", index.table, index.columns.join(", "));
    inspection.indexes.iter().map(name).collect()
}

#[tokio::test]
async fn a_database_as_the_contract_has_it_is_usable_and_lacks_nothing() {
    let world = World::new().await;
    let inspection = inspect(&world).await;
    assert!(inspection.is_usable(), "{inspection:?}");
    assert!(inspection.indexes.is_empty() && inspection.columns.is_empty() && inspection.rights.is_empty());
    assert!(!inspection.is_superuser && !inspection.is_pooled && inspection.latency_is_required);
    assert!(inspection.version >= 140_000, "{}", inspection.version);
    assert_eq!(inspection.role, world.role);
    assert!(inspection.connections >= 1 && inspection.most_connections == 100, "{inspection:?}");
}

#[tokio::test]
async fn missing_indexes_are_named_with_what_they_cost_and_stop_nothing() {
    let first = UserTables { indexes: Indexes::First, ..UserTables::default() };
    let inspection = inspect(&World::with(first, RoleRights::Service).await).await;
    let composite = ["campaign_runs(campaign_id, started_at)", "jobs(run_id)", "executions(job_id)"];
    assert_eq!(indexes_of(&inspection), composite);
    assert!(inspection.is_usable() && inspection.indexes.iter().all(|index| index.cost.starts_with("each ")));
    let none = UserTables { indexes: Indexes::None, ..UserTables::default() };
    let world = World::with(none, RoleRights::Service).await;
    assert_eq!(indexes_of(&inspect(&world).await).len(), 5);
    // Neither an index over a part of the rows nor one that begins otherwise serves.
    world
        .sql(
            "CREATE INDEX ON jobs (queue) WHERE status = 'queued'; CREATE INDEX ON jobs (type, run_id); \
             CREATE INDEX ON executions (lower(tx_signature), job_id)",
        )
        .await;
    assert_eq!(indexes_of(&inspect(&world).await).len(), 5);
    world.sql("CREATE INDEX ON jobs (run_id, type)").await;
    assert!(!indexes_of(&inspect(&world).await).contains(&"jobs(run_id)".to_owned()));
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_noticed_where_the_database_says_nothing() {
    let hidden = UserTables { row_level_security: true, ..UserTables::default() };
    let world = World::with(hidden, RoleRights::Service).await;
    world.running().await;
    let database = world.database().await;
    assert!(database.active_runs(None, 10).await.unwrap().rows.is_empty(), "no error, and no rows");
    let inspection = database.inspect().await.unwrap();
    assert!(inspection.tables.iter().all(|table| table.exists && table.hides_rows), "{inspection:?}");
    assert!(!inspection.is_usable());

    let world = World::with(hidden, RoleRights::ServiceBypassingRowSecurity).await;
    world.running().await;
    assert_eq!(world.database().await.active_runs(None, 10).await.unwrap().rows.len(), 1);
    assert!(inspect(&world).await.is_usable());
}

#[tokio::test]
async fn missing_rights_are_named_as_grant_names_them() {
    let world = World::with(UserTables::default(), RoleRights::Reader).await;
    let rights = |inspection: &Inspection| {
        let name = |right: &store_campaigns::TableRight| format!("{} ON {}", right.right, right.table);
        inspection.rights.iter().map(name).collect::<Vec<_>>()
    };
    let inspection = inspect(&world).await;
    let writes = ["UPDATE (summary) ON campaign_runs", "INSERT ON jobs", "UPDATE ON jobs", "DELETE ON jobs"];
    assert_eq!(rights(&inspection), writes);
    assert!(!inspection.is_usable());
    for right in rights(&inspection) {
        world.sql(&format!("GRANT {right} TO {}", world.role)).await;
    }
    assert!(inspect(&world).await.is_usable());
    let none = World::with(UserTables::default(), RoleRights::None).await;
    assert_eq!(rights(&inspect(&none).await).iter().filter(|right| right.starts_with("SELECT")).count(), 4);
}

#[tokio::test]
async fn missing_tables_and_columns_and_odd_types_are_named() {
    let world = World::new().await;
    world
        .sql(
            "DROP TABLE executions; ALTER TABLE jobs DROP COLUMN attempts; \
             ALTER TABLE campaign_runs ALTER COLUMN summary TYPE json",
        )
        .await;
    let inspection = inspect(&world).await;
    let missing: Vec<&str> =
        inspection.tables.iter().filter(|table| !table.exists).map(|table| table.name).collect();
    assert_eq!(missing, ["executions"]);
    let gaps: Vec<_> =
        inspection.columns.iter().map(|gap| (gap.table, gap.column, gap.found.as_deref())).collect();
    assert_eq!(gaps, [("campaign_runs", "summary", Some("json")), ("jobs", "attempts", None)]);
    assert!(!inspection.is_usable());
}

#[tokio::test]
async fn the_age_of_the_oldest_transaction_is_told_to_roles_that_may_see_it() {
    let world = World::new().await;
    world.sql(&format!("GRANT pg_read_all_stats TO {}", world.role)).await;
    world.sql("BEGIN; SELECT pg_current_xact_id()").await;
    let database = world.database().await;
    wait_until("the transaction has an age", LONG, async || {
        let oldest = database.inspect().await.unwrap().oldest_transaction;
        oldest.is_some_and(|age| age > Duration::from_millis(1) && age < LONG)
    })
    .await;
}

#[tokio::test]
async fn the_tables_for_an_empty_database_are_those_of_the_contract() {
    let server = support::server().await;
    server.execute("postgres", "CREATE DATABASE fresh").await.unwrap();
    server.execute("fresh", include_str!("../../../config/campaigns.sql")).await.unwrap();
    let database = Database::new(DatabaseSettings::new(server.admin_url("fresh"))).unwrap();
    let inspection = database.inspect().await.unwrap();
    assert!(inspection.is_usable() && inspection.indexes.is_empty(), "{inspection:?}");
    assert_eq!(database.owner_of(nobody()).await.unwrap(), None);
    // The same columns, defaults and checks as the tables that the test kit knows.
    let world = World::new().await;
    let shape = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (\
        SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' \
          || coalesce(column_default, '') AS line FROM information_schema.columns WHERE table_schema = \
          'public' \
        UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
          WHERE connamespace = 'public'::regnamespace \
        UNION ALL SELECT regexp_replace(indexdef, 'INDEX \\S+', 'INDEX') FROM pg_indexes WHERE \
        schemaname = 'public') l";
    let fresh: String = server.admin("fresh").await.unwrap().query_one(shape, &[]).await.unwrap().get(0);
    assert_eq!(fresh, world.one::<String>(shape).await);
}
