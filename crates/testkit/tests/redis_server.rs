//! What a private Redis server promises, against the real program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::AsyncCommands;
use testkit::{RedisServer, RedisServerError, wait_until};

const LONG: Duration = Duration::from_secs(20);

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_started_server_answers_and_is_empty() {
    let server = RedisServer::start().await.unwrap();
    let mut connection = server.connection().await.unwrap();
    let size: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap();
    assert_eq!(size, 0);
    assert!(server.log_path().is_file());
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_directory() {
    for paused in [false, true] {
        let server = RedisServer::start().await.unwrap();
        let (pid, dir) = (server.pid().unwrap(), server.dir().to_path_buf());
        assert!(alive(pid) && dir.is_dir());
        if paused {
            server.pause().unwrap();
        }
        drop(server);
        assert!(!alive(pid), "paused: {paused}");
        assert!(!dir.exists(), "paused: {paused}");
    }
}

#[tokio::test]
async fn an_append_only_server_keeps_what_it_answered_through_a_hard_kill() {
    let mut server = RedisServer::builder().append_only(true).start().await.unwrap();
    let mut connection = server.connection().await.unwrap();
    for key in 0..100 {
        let () = connection.set(key, key).await.unwrap();
    }
    let (port, pid) = (server.port(), server.pid().unwrap());
    server.kill_hard().unwrap();
    assert!(!alive(pid));
    assert_eq!(server.pid(), None);
    assert!(server.connection().await.is_err());

    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), Some(pid));
    let mut connection = server.connection().await.unwrap();
    let size: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap();
    assert_eq!(size, 100);
}

#[tokio::test]
async fn without_persistence_a_restarted_server_is_empty() {
    let mut server = RedisServer::start().await.unwrap();
    let () = server.connection().await.unwrap().set("key", 1).await.unwrap();
    server.restart().await.unwrap();
    let found: Option<u64> = server.connection().await.unwrap().get("key").await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn a_paused_server_is_silent_and_goes_on_when_resumed_or_stopped() {
    let mut server = RedisServer::start().await.unwrap();
    let mut connection = server.connection().await.unwrap();
    connection.set_response_timeout(Duration::from_millis(100));
    server.pause().unwrap();
    assert!(connection.get::<_, Option<u64>>("key").await.unwrap_err().is_timeout());
    server.resume().unwrap();
    connection.set_response_timeout(LONG);
    assert_eq!(connection.get::<_, Option<u64>>("key").await.unwrap(), None);

    let pid = server.pid().unwrap();
    server.pause().unwrap();
    server.stop().await.unwrap();
    assert!(!alive(pid));
    assert!(matches!(server.pause(), Err(RedisServerError::NotRunning { .. })));
}

#[tokio::test]
async fn any_password_works_and_is_required() {
    let server = RedisServer::builder().password("p@ss \"word\"/#:é").start().await.unwrap();
    let mut connection = server.connection().await.unwrap();
    let () = connection.set("key", 1).await.unwrap();
    let open = redis::Client::open(format!("redis://{}", server.addr())).unwrap();
    let refused = match open.get_multiplexed_async_connection().await {
        Ok(mut connection) => connection.get::<_, Option<u64>>("key").await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn directives_reach_the_server() {
    let server = RedisServer::builder().arg("maxmemory", "50mb").start().await.unwrap();
    let mut connection = server.connection().await.unwrap();
    let answer: (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query_async(&mut connection).await.unwrap();
    assert_eq!(answer.1, (50 * 1024 * 1024).to_string());
}

#[tokio::test]
async fn a_taken_port_is_reported_and_never_mistaken_for_our_server() {
    let first = RedisServer::start().await.unwrap();
    let error = RedisServer::builder().port(first.port()).start().await.unwrap_err();
    assert!(matches!(error, RedisServerError::PortTaken { port } if port == first.port()), "{error}");
}

#[tokio::test]
async fn many_servers_started_at_once_get_ports_of_their_own() {
    let starting: Vec<_> = (0..8).map(|_| tokio::spawn(RedisServer::start())).collect();
    let mut servers = Vec::new();
    for server in starting {
        servers.push(server.await.unwrap().unwrap());
    }
    let mut ports: Vec<u16> = servers.iter().map(RedisServer::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 8);
}

#[tokio::test]
async fn a_missing_program_is_reported_with_what_to_install() {
    let error = RedisServer::builder().program("no-such-redis-server").start().await.unwrap_err();
    assert!(error.to_string().contains("apt-get install redis-server"), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_reported_with_its_own_words() {
    let error = RedisServer::builder().arg("no-such-directive", "1").start().await.unwrap_err();
    assert!(error.to_string().contains("no-such-directive"), "{error}");
}

/// Not a test: the process that the next one kills.
#[tokio::test]
#[ignore = "run by a_server_does_not_outlive_an_owner_that_is_killed"]
async fn owner_that_is_killed() {
    let Some(report) = std::env::var_os("TESTKIT_OWNER_REPORT").map(PathBuf::from) else { return };
    let server = RedisServer::start().await.unwrap();
    let draft = report.with_extension("draft");
    std::fs::write(&draft, format!("{}\n{}", server.pid().unwrap(), server.dir().display())).unwrap();
    std::fs::rename(draft, report).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_does_not_outlive_an_owner_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_that_is_killed", "--ignored"])
        .env("TESTKIT_OWNER_REPORT", &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = wait_until("the owner's server", LONG, async || std::fs::read_to_string(&report).ok()).await;
    let (pid, server_dir) = text.split_once('\n').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(alive(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    // A zombie that nothing reaps counts as dead.
    let gone = async || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    wait_until("the server's end", LONG, gone).await;
    wait_until("the end of its directory", LONG, async || !Path::new(server_dir).exists()).await;
}
