//! What commands print, and where: results to standard output, one plain line for an error.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, fs::File, process::Stdio};

use common::{MARKETS, Process, environment, free_port};
use serde_json::Value;
use testkit::RedisServer;
use tokio::process::Command;

/// How a command ended, and what it wrote to standard error.
async fn run(
    args: &[&str],
    environment: &BTreeMap<String, String>,
    stdout: Stdio,
) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    command.args(args).env_clear().envs(environment).env("RUST_BACKTRACE", "1");
    // `output` of the command would capture standard output, whatever it is to be.
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("it starts");
    let output = child.wait_with_output().await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn closed_pipe() -> Stdio {
    std::io::pipe().expect("a pipe").1.into()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

/// Commands that print a result.
const PRINTING: [&[&str]; 7] = [
    &["check"],
    &["check", "--json"],
    &["check", "--connect"],
    &["doctor"],
    &["doctor", "--json"],
    &["--help"],
    &["--version"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_standard_output_ends_a_command_quietly() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let environment = environment(redis.addr());
    for args in PRINTING {
        let (code, _, stderr) = run(args, &environment, closed_pipe()).await;
        let (all, ..) = run(args, &environment, Stdio::piped()).await;
        assert_eq!((code, stderr.as_str()), (all, ""), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_standard_output_is_an_error_in_one_line() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    let diff = ["diff", MARKETS[0]];
    for args in PRINTING.into_iter().chain([&diff[..]]) {
        let (code, _, stderr) = run(args, &environment, full_disk()).await;
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        is_one_line(&stderr, "standard output can't be written: No space left on device");
    }
    // A message that can't be written changes no exit code.
    environment.insert("REDIS_PORT".to_owned(), free_port().await.to_string());
    for (args, code) in [(&["check", "--connect"][..], 1), (&diff, 1), (&["nonsense"], 2)] {
        for stderr in [closed_pipe(), full_disk()] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
            command.args(args).env_clear().envs(&environment).stdout(Stdio::null()).stderr(stderr);
            let status = command.status().await.expect("it runs");
            assert_eq!(status.code(), Some(code), "{args:?}");
        }
    }
}

#[track_caller]
fn is_one_line(stderr: &str, part: &str) {
    assert!(stderr.starts_with("state-tracker: ") && stderr.contains(part), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.ends_with('\n') && !stderr.trim_end().contains(char::is_control), "{stderr:?}");
}

/// Arguments, what is changed in the environment, and what the error says.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_one_plain_line_with_its_cause_and_what_to_do() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let environment = environment(redis.addr());
    let closed = format!("http://127.0.0.1:{}/readyz", free_port().await);
    let (none, some) = ("0x0000000000000000000000000000000000000001", MARKETS[0]);
    let cases: [Case<'_>; 5] = [
        (
            &["healthcheck", "--url", &closed],
            &[],
            &["can't be reached: Connection refused", "; check that the service runs there"],
        ),
        (
            &["healthcheck", "--url", "ftp\n\u{1b}[31m"],
            &[],
            &["`ftp\\n\\u{1b}[31m` is not supported; give a URL"],
        ),
        (&["diff", none], &[], &["is no market of tracker.markets"]),
        (&["diff", some], &[("REDIS_PORT", "1")], &["Connection refused", "; check that Redis runs"]),
        (&["backfill", "--from", "1", "--to", "2"], &[], &["no chain is configured; set collector.nodes"]),
    ];
    for (args, changed, parts) in cases {
        let mut environment = environment.clone();
        environment.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (code, _, stderr) = run(args, &environment, Stdio::null()).await;
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        parts.iter().for_each(|part| is_one_line(&stderr, part));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_error_of_a_service_is_json_when_its_log_is() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    let running = Process::start(&environment).await;
    let port = running.metrics.port().to_string();
    environment.insert("STATE_TRACKER_METRICS_PORT".to_owned(), port);
    // An error that ends the process is reported at any log level.
    environment.insert("LOG_LEVEL".to_owned(), "off".to_owned());
    let (code, _, stderr) = run(&[], &environment, Stdio::null()).await;
    assert_eq!(code, Some(1), "{stderr}");
    is_one_line(&stderr, "for metrics and probes: Address already in use");
    is_one_line(&stderr, "; another process listens there");
    environment.insert("STATE_TRACKER__LOG__FORMAT".to_owned(), "json".to_owned());
    let (code, _, stderr) = run(&[], &environment, Stdio::null()).await;
    assert_eq!(code, Some(1), "{stderr}");
    let line: Value = serde_json::from_str(&stderr).expect("one JSON line");
    assert_eq!(line["level"], "ERROR");
    let message = line["message"].as_str().expect("a message");
    assert!(message.contains("Address already in use") && message.contains("; another process"), "{message}");
}

/// The writing end of a pipe that is full and that nobody reads, and its reading end, to keep it open.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // In another process, since a write to a full pipe blocks: `timeout` ends the one that blocks.
    let mut filler = std::process::Command::new("timeout");
    filler.args(["1", "cat", "/dev/zero"]).stdout(writer.try_clone().expect("a copy"));
    filler.status().expect("coreutils");
    writer.flush().expect("nothing is buffered");
    (reader, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_standard_error_does_not_hold_a_command_that_fails() {
    let (_unread, full) = full_pipe();
    for (args, code) in
        [(&["run"][..], 78), (&["--nope"], 2), (&["healthcheck", "--url", "http://127.0.0.1:1/"], 1)]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
        command.args(args).env_clear().stdout(Stdio::null()).stderr(full.try_clone().expect("a copy"));
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{args:?} waits for its reader")).expect("it runs");
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_from_a_configuration_file_reach_no_terminal_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("evil\u{1b}[31m.toml");
    std::fs::write(&file, "[\"\\u001b[31mevil\"]\nx = 1\n[redis]\n\"\\u001b[2Jhost\" = 1\n")
        .expect("written");
    let path = file.to_str().expect("UTF-8");
    let (code, _, stderr) = run(&["--config", path, "check"], &BTreeMap::new(), Stdio::piped()).await;
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("evil") && !stderr.contains('\u{1b}'), "{stderr:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_the_size_of_files_ends_no_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let redis = std::net::SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let mut command = Command::new("/bin/sh");
    // In blocks of 512 bytes: the log reaches that with its first lines.
    command
        .args(["-c", "ulimit -f 1; exec \"$0\" run 2>\"$1\"", env!("CARGO_BIN_EXE_state-tracker")])
        .arg(&log);
    let mut child = command.env_clear().envs(environment(redis)).kill_on_drop(true).spawn().expect("a shell");
    let id = child.id().expect("it runs").to_string();
    let kill = |signal: &'static str| Command::new("kill").args([signal, &id]).status();
    let size = || std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
    testkit::wait_until("the log reaches its limit", common::SOON, async || size() >= 512).await;
    // Each reload logs more lines, none of which has room.
    for _ in 0..20 {
        assert!(kill("-HUP").await.expect("coreutils").success(), "it is still there");
        assert!(child.try_wait().expect("a status").is_none(), "it still runs");
    }
    assert!(kill("-TERM").await.expect("coreutils").success());
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait()).await;
    assert_eq!(ended.expect("it stops").expect("a status").code(), Some(0));
}

/// A node that refuses every request and repeats it, head and body, with more.
fn repeating_node(more: &'static str) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let answer = move |mut stream: std::net::TcpStream| {
        let mut request = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut request) {
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let message = format!("{more} {head}");
            let error = serde_json::json!({ "code": -32_000, "message": message });
            let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "error": error }).to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    };
    // Ends with the process of the test.
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(std::thread::spawn(move || answer(stream))));
    });
    at
}

/// What must stand in no output, in the forms in which a server may repeat it.
const SECRETS: [&str; 9] = [
    "someone-here",
    "pa%20ss%2Fw0rd",
    "pa ss/w0rd",
    "c29tZW9uZS1oZXJlOnBhIHNzL3cwcmQ=",
    "abc-k3y",
    "q%2Bs3cret",
    "q+s3cret",
    "redis-s3cret",
    "key-of-another",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_repeats_what_it_gets_puts_no_credentials_and_no_line_into_the_log() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let set = ["CONFIG", "SET", "requirepass", "redis-s3cret"];
    testkit::contents::query::<()>(&mut connection, &set).await;
    let node = repeating_node(
        "redis-s3cret key-of-another q+s3cret pa ss/w0rd \n2026 ERROR forged\u{1b}[31m\u{2028}",
    );
    let mut environment = environment(redis.addr());
    environment.remove("REDIS_HOST");
    environment.remove("REDIS_PORT");
    for (name, value) in [
        ("REDIS_URL", format!("redis://:redis-s3cret@{}", redis.addr())),
        (
            "RPC_NODES",
            format!(
                "http://someone-here:pa%20ss%2Fw0rd@{node}/abc-k3y?key=q%2Bs3cret,http://{node}/v3/key-of-another"
            ),
        ),
        ("BATCH_SIZE", "5".to_owned()),
        ("LOG_LEVEL", "trace".to_owned()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    let mut process = Process::start(&environment).await;
    let mut log = process.log.clone();
    let seen = log.wait_for(|log| log.contains("forged") && log.contains("/v3/***"));
    drop(tokio::time::timeout(common::SOON, seen).await.expect("it tells the node's words").expect("a log"));
    let health = common::get(process.operator, "/health").await.1;
    let (_, checked, _) = run(&["check", "--connect"], &environment, Stdio::piped()).await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    let log = process.log.borrow().clone();
    for secret in SECRETS {
        for (what, text) in [("log", &log), ("/health", &health), ("check", &checked)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in {what}");
        }
    }
    for line in log.lines() {
        serde_json::from_str::<Value>(line).expect("each line is an event");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_before_there_is_a_log_are_json_when_the_log_is_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state-tracker.toml");
    std::fs::write(&file, "[log]\nformat = \"json\"\n[redis]\nport = 99999\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let variable = BTreeMap::from([("STATE_TRACKER__LOG__FORMAT".to_owned(), "json".to_owned())]);
    let none = BTreeMap::new();
    let cases = [
        (&["run"][..], &variable, 78, "PROTOCOL_STATE_CONTRACT"),
        (&["--config", file, "run"], &none, 78, "redis.port"),
        (&["--config", file, "diff", MARKETS[0]], &none, 78, "redis.port"),
        (&["healthcheck", "--url", "http://127.0.0.1:1/"], &variable, 1, "Connection refused"),
        (&["--nonsense"], &variable, 2, "unexpected argument"),
    ];
    for (args, environment, code, part) in cases {
        let (ended, _, stderr) = run(args, environment, Stdio::null()).await;
        assert_eq!(ended, Some(code), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        let line: Value = serde_json::from_str(&stderr).expect("JSON");
        assert_eq!(line["level"], "ERROR");
        assert!(line["message"].as_str().is_some_and(|text| text.contains(part)), "{args:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_more_clients_is_told_in_its_own_words() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    testkit::contents::query::<()>(&mut connection, &["CONFIG", "SET", "maxclients", "1"]).await;
    let environment = environment(redis.addr());
    let words = "max number of clients reached";
    let cases: [(&[&str], i32); 3] =
        [(&["check", "--connect"], 1), (&["doctor"], 1), (&["diff", MARKETS[0]], 1)];
    for (args, code) in cases {
        let (ended, stdout, stderr) = run(args, &environment, Stdio::piped()).await;
        let all = stdout + &stderr;
        assert_eq!(ended, Some(code), "{args:?}: {all}");
        assert!(all.contains(words) && all.contains("raise maxclients"), "{args:?}: {all}");
        assert!(!all.contains("sentinel, which") && !all.contains("wants TLS"), "{args:?}: {all}");
    }
    let mut process = Process::start(&environment).await;
    let mut log = process.log.clone();
    let told = log.wait_for(|log| log.contains(words) && log.contains("raise maxclients"));
    drop(tokio::time::timeout(common::SOON, told).await.expect("it tells").expect("a log"));
    testkit::contents::query::<()>(&mut connection, &["CONFIG", "SET", "maxclients", "1000"]).await;
    process.wait_ready().await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    assert!(!process.log.borrow().contains("wants TLS"), "{}", *process.log.borrow());
}

/// What a program shows on a terminal.
async fn on_a_terminal(line: &str, environment: &BTreeMap<String, String>) -> String {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("exec {} {line}", env!("CARGO_BIN_EXE_state-tracker")), "/dev/null"]);
    command.env_clear().envs(environment).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // With a closed input it would end at once.
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("`script` starts");
    let input = child.stdin.take();
    let output = child.wait_with_output().await.expect("it ends");
    drop(input);
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_colours_unless_its_user_wants_none() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    environment.insert("STATE_TRACKER_METRICS_PORT".to_owned(), port);
    for (value, has_colours) in [("", true), ("1", false)] {
        environment.insert("NO_COLOR".to_owned(), value.to_owned());
        for (line, part) in [("run", "starting"), ("--nonsense", "unexpected argument")] {
            let shown = on_a_terminal(line, &environment).await;
            assert!(shown.contains(part), "{shown:?}");
            assert_eq!(shown.contains('\u{1b}'), has_colours, "{line}, NO_COLOR={value}: {shown:?}");
        }
    }
}
