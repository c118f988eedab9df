//! `state-tracker backfill` as a process, against a real node and a real Redis.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, process::Output};

use common::{SOON, checkpoint, following};
use redis::aio::MultiplexedConnection;
use testkit::{Authority, RedisServer, RpcFault, RpcProxy, TlsFront, wait_until, world::World};
use tokio::process::Command;

/// The environment of a command that reads a world's chain; nothing listens at the port of its Redis.
fn reading(world: &World) -> BTreeMap<String, String> {
    following("127.0.0.1:1".parse().expect("an address"), world)
}

fn backfill(environment: &BTreeMap<String, String>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.arg("backfill").args(arguments).env_clear().envs(environment);
    command
}

async fn run(environment: &BTreeMap<String, String>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = backfill(environment, arguments).output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The count of a kind in a summary.
fn told(summary: &str, kind: &str) -> u64 {
    let many = |line: &str| line.trim().strip_suffix(kind)?.trim().parse().ok();
    summary.lines().find_map(many).unwrap_or(0)
}

/// The last accepted block.
async fn accepted(connection: &mut MultiplexedConnection) -> Option<u64> {
    checkpoint(connection).await.map(|(number, _)| number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_reports_the_content_of_blocks_and_needs_no_redis() {
    let mut world = World::new(31).await;
    world.grow(300).await;
    let (code, summary, log) = run(&reading(&world), &["--from", "1", "--to", "latest", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{log}");
    let height = world.height().await;
    assert!(summary.starts_with(&format!("{height} blocks read, nothing was written")), "{summary}");
    assert_eq!(told(&summary, "epoch released"), world.releases() as u64, "{summary}");
    assert!(told(&summary, "window closed") > 0, "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_accepted_once_and_up_to_the_given_one() {
    let mut world = World::new(32).await;
    world.grow(200).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let environment = following(redis.addr(), &world);

    let (code, summary, log) = run(&environment, &["--from", "1", "--to", "100"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(summary.starts_with("100 blocks accepted"), "{summary}");
    assert_eq!(accepted(&mut connection).await, Some(100));
    let first = told(&summary, "epoch released");

    let (code, summary, _) = run(&environment, &["--from", "1", "--to", "100"]).await;
    assert_eq!(code, Some(0));
    assert!(summary.contains("nothing to do"), "{summary}");

    let (code, _, error) = run(&environment, &["--from", "150", "--to", "160"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("blocks 101 to 149 would be skipped"), "{error}");
    assert_eq!(accepted(&mut connection).await, Some(100), "nothing was changed");

    // Accepted blocks are skipped.
    let (code, summary, log) = run(&environment, &["--from", "50", "--to", "latest"]).await;
    assert_eq!(code, Some(0), "{log}");
    let height = world.height().await;
    assert!(summary.starts_with(&format!("{} blocks accepted", height - 100)), "{summary}");
    assert_eq!(accepted(&mut connection).await, Some(height));
    assert_eq!(first + told(&summary, "epoch released"), world.releases() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_backfill_says_where_and_resumes_there() {
    let mut world = World::new(33).await;
    world.grow(600).await;
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = following(redis.addr(), &world);
    // Slow enough to be interrupted.
    environment.insert("STATE_TRACKER__COLLECTOR__RATE_LIMIT".to_owned(), "20".to_owned());
    let mut command = backfill(&environment, &["--from", "1", "--to", "latest"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("it runs");
    wait_until("it has got on", SOON, async || accepted(&mut connection.clone()).await > Some(30)).await;
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("sent");
    assert!(sent.success());
    let output = child.wait_with_output().await.expect("it ends");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{error}");
    let at = accepted(&mut connection).await.expect("one");
    assert!(at < world.height().await, "it was ended in the middle");
    let told = error
        .split("SIGTERM stopped the backfill at block ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    // The answer to the last commit may have been on its way: one chunk.
    assert!(told.is_some_and(|told: u64| told <= at && at <= told + 17), "{at}: {error}");

    environment.remove("STATE_TRACKER__COLLECTOR__RATE_LIMIT");
    let (code, summary, log) = run(&environment, &["--from", "1", "--to", "latest"]).await;
    assert_eq!(code, Some(0), "{log}");
    let height = world.height().await;
    assert!(summary.starts_with(&format!("{} blocks accepted", height - at)), "{summary}");
    assert_eq!(accepted(&mut connection).await, Some(height));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_can_not_be_read_are_refused_with_a_remedy() {
    let world = World::new(34).await;
    let mut environment = reading(&world);
    for (arguments, reason) in [
        (["--from", "5", "--to", "1"], "--from 5 is after --to 1"),
        (["--from", "1", "--to", "99999"], "the newest block is"),
    ] {
        let (code, _, error) = run(&environment, &arguments).await;
        assert_eq!(code, Some(1));
        assert!(error.contains(reason), "{error}");
    }
    let (code, _, error) = run(&environment, &["--from", "x", "--to", "1"]).await;
    assert_eq!(code, Some(2));
    assert!(error.contains("latest - 1000"), "{error}");
    let protocol = "0x000000000000000000000000000000000000dEaD";
    environment.insert("PROTOCOL_STATE_CONTRACT".to_owned(), protocol.to_owned());
    let market = world.contracts.markets[0].clone();
    for (wrong, reason) in
        [(protocol, "has no contract at 0x"), (&market, "does not say how long submissions for")]
    {
        environment.insert("PROTOCOL_STATE_CONTRACT".to_owned(), wrong.to_owned());
        for arguments in [vec!["--dry-run"], vec![]] {
            let arguments = [&["--from", "0", "--to", "1"], &arguments[..]].concat();
            let (code, _, error) = run(&environment, &arguments).await;
            assert_eq!(code, Some(1), "{error}");
            assert!(error.contains(reason) && error.contains("(PROTOCOL_STATE_CONTRACT)"), "{error}");
        }
        let mut check = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
        check.args(["check", "--connect"]).env_clear().envs(&environment);
        let output: Output = check.output().await.expect("it runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.code() == Some(1) && said.contains(reason), "{said}");
    }
    environment.remove("RPC_NODES");
    let (code, _, error) = run(&environment, &["--from", "1", "--to", "1"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("RPC_NODES"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_asked_by_tls_and_their_certificates_verified() {
    let mut world = World::new(35).await;
    world.grow(40).await;
    let [authority, stranger] = ["ours", "a stranger"].map(|name| Authority::new(name).expect("made"));
    let front =
        TlsFront::start(&authority.server().expect("made"), world.anvil.addr()).await.expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    // The output of a command that uses this scheme and trusts this authority only.
    let dry = async |scheme: &str, trusted: &Authority, name: &str| {
        let file = folder.path().join(format!("{scheme} {name}.pem"));
        std::fs::write(&file, trusted.certificate()).expect("written");
        let mut environment = reading(&world);
        environment.insert("RPC_NODES".to_owned(), format!("{scheme}://localhost:{}", front.addr().port()));
        environment.insert("SSL_CERT_FILE".to_owned(), file.display().to_string());
        run(&environment, &["--from", "1", "--to", "latest", "--dry-run"]).await
    };
    let height = world.height().await;
    let (https, wss, https_of_nobody, wss_of_nobody) = tokio::join!(
        dry("https", &authority, "known"),
        dry("wss", &authority, "known"),
        dry("https", &stranger, "unknown"),
        dry("wss", &stranger, "unknown")
    );
    for (code, summary, log) in [https, wss] {
        assert_eq!(code, Some(0), "{log}");
        assert!(summary.starts_with(&format!("{height} blocks read")), "{summary}");
    }
    for (code, _, error) in [https_of_nobody, wss_of_nobody] {
        assert_eq!(code, Some(1));
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_blocks_are_accepted_up_to_the_given_one_too() {
    let world = World::new(36).await;
    // A day and a half; all but the last half hour is read by events only.
    world.anvil.mine_many(100, 1_200).await.expect("mined");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = following(redis.addr(), &world);
    environment.insert("STATE_TRACKER__COLLECTOR__SUBMISSIONS_TTL".to_owned(), "20m".to_owned());
    for to in [40, 41, 75] {
        let (code, _, log) = run(&environment, &["--from", "1", "--to", &to.to_string()]).await;
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(accepted(&mut connection).await, Some(to));
    }
    let hashes: Vec<String> = testkit::contents::query(&mut connection, &["KEYS", "BlockHash*"]).await;
    // Steps of single blocks store their hashes.
    assert!(hashes.len() < 20, "{hashes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_answers_for_few_blocks_at_once_is_reported_once() {
    let mut world = World::new(37).await;
    world.grow(150).await;
    let node = RpcProxy::start(world.anvil.addr()).await.expect("a proxy");
    let mut environment = reading(&world);
    environment.insert("RPC_NODES".to_owned(), node.url());
    let hints = async |limit: u64| {
        node.set(RpcFault::LogRange(limit));
        let (code, _, log) = run(&environment, &["--from", "1", "--to", "latest", "--dry-run"]).await;
        assert_eq!(code, Some(0), "{log}");
        let hints = log.matches("use a node or a plan that allows larger ranges").count();
        assert!(hints == 0 || log.contains(&node.url()), "the node is named: {log}");
        hints
    };
    assert_eq!(hints(5).await, 1);
    // Not every size that is halved is a limit of ten blocks.
    assert_eq!(hints(15).await, 0);
    assert_eq!(hints(1_000).await, 0);
}
