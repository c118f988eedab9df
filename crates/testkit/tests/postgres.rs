//! What a private PostgreSQL server and a private PgBouncer promise, against the real programs.

use std::path::Path;
use std::time::Duration;

use testkit::{Authority, Indexes, PgBouncer, PoolMode, Postgres, RoleRights, UserTables, wait_until};

const LONG: Duration = Duration::from_secs(20);

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The processes of a server: its first one and the children of that.
fn processes(parent: u32) -> Vec<u32> {
    let of_parent = |entry: std::fs::DirEntry| -> Option<u32> {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let found: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (found == parent).then_some(pid)
    };
    let children =
        std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| of_parent(entry.ok()?));
    [parent].into_iter().chain(children).collect()
}

#[tokio::test]
async fn a_started_server_has_databases_with_the_users_tables_and_roles_that_may_use_them() {
    let server = Postgres::start().await.unwrap();
    server.create_database("db", UserTables::default()).await.unwrap();
    server.create_role("tracker", "db", RoleRights::Service).await.unwrap();
    let client = server.connect("db", "tracker").await.unwrap();
    let row = client.query_one("SELECT count(*), current_user::text FROM campaigns", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (0, "tracker"));
    let refused = client.batch_execute("UPDATE campaign_runs SET status = 'failed'").await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("permission denied"), "{refused}");
    let odd = "INSERT INTO campaigns (user_id, name, status) VALUES (gen_random_uuid(), 'a', 'odd')";
    assert!(server.execute("db", odd).await.is_err(), "a check refuses it");
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_directory() {
    for paused in [false, true] {
        let server = Postgres::start().await.unwrap();
        let _open = server.admin("postgres").await.unwrap();
        let (all, dir) = (processes(server.pid().unwrap()), server.dir().to_path_buf());
        assert!(all.len() > 3 && dir.is_dir(), "{all:?}");
        if paused {
            server.pause().unwrap();
        }
        drop(server);
        assert!(!dir.exists(), "paused: {paused}");
        wait_until("all processes end", LONG, async || !all.iter().copied().any(alive)).await;
    }
}

#[tokio::test]
async fn a_killed_server_keeps_what_it_committed() {
    let mut server = Postgres::start().await.unwrap();
    server.execute("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    let open = server.admin("postgres").await.unwrap();
    open.batch_execute("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();
    let (port, pid) = (server.port(), server.pid().unwrap());
    let all = processes(pid);
    server.kill_hard().unwrap();
    wait_until("all processes end", LONG, async || !all.iter().copied().any(alive)).await;
    assert!(server.admin("postgres").await.is_err() && open.simple_query("SELECT 1").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    let row = server.admin("postgres").await.unwrap().query_one("SELECT sum(n) FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1, "what was not committed is gone");
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed_and_a_stopped_one_refuses() {
    let mut server = Postgres::start().await.unwrap();
    let client = server.admin("postgres").await.unwrap();
    server.pause().unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(200), client.simple_query("SELECT 1")).await;
    assert!(silent.is_err());
    server.resume().unwrap();
    client.simple_query("SELECT 1").await.unwrap();
    server.stop().await.unwrap();
    assert!(server.pid().is_none() && server.admin("postgres").await.is_err());
    assert!(server.pause().is_err());
    server.restart().await.unwrap();
    server.become_standby().await.unwrap();
    let refused = server.execute("postgres", "CREATE TABLE t (n int)").await.unwrap_err();
    assert!(std::error::Error::source(&refused).is_some(), "{refused}");
}

#[tokio::test]
async fn row_level_security_hides_the_rows_of_others_without_an_error() {
    let server = Postgres::start().await.unwrap();
    let tables = UserTables { row_level_security: true, indexes: Indexes::None, ..UserTables::default() };
    server.create_database("db", tables).await.unwrap();
    server.create_role("tracker", "db", RoleRights::Service).await.unwrap();
    server.create_role("master", "db", RoleRights::ServiceBypassingRowSecurity).await.unwrap();
    let rows =
        "INSERT INTO campaigns (user_id, name) SELECT gen_random_uuid(), 'a' FROM generate_series(1, 2);
        INSERT INTO campaign_runs (campaign_id) SELECT id FROM campaigns";
    server.execute("db", rows).await.unwrap();
    let count = "SELECT count(*) FROM campaign_runs";
    let master = server.connect("db", "master").await.unwrap();
    assert_eq!(master.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 2);
    let tracker = server.connect("db", "tracker").await.unwrap();
    assert_eq!(tracker.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(tracker.execute("UPDATE campaign_runs SET summary = '{}'", &[]).await.unwrap(), 0);
    let owner: String =
        master.query_one("SELECT user_id::text FROM campaigns LIMIT 1", &[]).await.unwrap().get(0);
    tracker.batch_execute(&format!("SET request.user_id = '{owner}'")).await.unwrap();
    assert_eq!(tracker.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_pgbouncer_gives_transactions_of_one_client_different_processes() {
    let server = Postgres::start().await.unwrap();
    let more = ["default_pool_size = 1"];
    for (mode, shared) in [(PoolMode::Transaction, true), (PoolMode::Session, false)] {
        let bouncer = PgBouncer::start(&server, mode, &[], &more).await.unwrap();
        let connect = async || {
            let url = Postgres::url_at(bouncer.addr(), "postgres", "postgres");
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        };
        let process = "SELECT pg_backend_pid()";
        let (first, second) =
            (connect().await, tokio::time::timeout(Duration::from_millis(500), connect()).await);
        let answer = first.simple_query(process).await;
        assert!(answer.is_ok(), "{mode:?}");
        // One process serves both, or the second waits for the first one's.
        let other = match &second {
            Ok(second) => {
                tokio::time::timeout(Duration::from_millis(500), second.simple_query(process)).await.is_ok()
            }
            Err(_) => false,
        };
        assert_eq!(other, shared, "{mode:?}");
        bouncer.pause().unwrap();
        bouncer.resume().unwrap();
    }
}

#[tokio::test]
async fn a_server_with_tls_refuses_roles_that_come_without() {
    let tls = Authority::new("ours").unwrap().server().unwrap();
    let server = Postgres::builder().tls(tls).start().await.unwrap();
    server.create_database("db", UserTables::default()).await.unwrap();
    server.create_role("tracker", "db", RoleRights::Service).await.unwrap();
    assert!(server.connect("db", "tracker").await.is_err());
}
