//! The commands of `docs/migration.md` that remove keys, run as they are written there.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::{collections::BTreeSet, fs::Permissions, os::unix::fs::PermissionsExt};

use testkit::{RedisServer, contents::query};
use tokio::process::Command;

const PAGE: &str = include_str!("../docs/migration.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_removal_takes_exactly_the_keys_of_its_pattern() {
    let removal = PAGE.lines().find(|line| line.contains("| sed 's/^/UNLINK /' | redis-cli"));
    let removal = removal.expect("the page says how keys are removed");
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    // Names that a careless command would split, and the names that it would then hit.
    let removed: [&[u8]; 8] = [
        b"shadow:open",
        b"shadow:with victim",
        b"shadow:line\nvictim",
        b"shadow:return\r\nvictim",
        b"shadow:\"quoted\" 'twice'",
        b"shadow:back\\slash",
        b"shadow:$(touch victim)",
        b"shadow:\xff\x00\x01",
    ];
    let kept: [&[u8]; 4] = [b"victim", b"P:M:tracker:open", b"shadows:open", b"x:shadow:open"];
    for key in removed.iter().chain(&kept) {
        let set = redis::cmd("SET").arg(key).arg("1").query_async::<()>(&mut connection).await;
        set.expect("written");
    }
    assert!(PAGE.contains("| `'shadow:*'`: the prefix, a colon and a star |"), "the pattern of this test");
    // As the page assumes, redis-cli reaches the server without options.
    let directory = tempfile::tempdir().expect("a directory");
    let wrapper = directory.path().join("redis-cli");
    let port = redis.port();
    std::fs::write(&wrapper, format!("#!/bin/sh\nPATH=${{PATH#*:}} exec redis-cli -p {port} \"$@\"\n"))
        .expect("written");
    std::fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).expect("executable");
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new("sh");
    command.arg("-c").arg(removal).env("PATTERN", "shadow:*");
    command.env("PATH", format!("{}:{path}", directory.path().display()));
    let output = command.output().await.expect("it runs");
    let answers = String::from_utf8_lossy(&output.stdout);
    assert!(answers.lines().eq(removed.map(|_| "1")), "{answers}{}", String::from_utf8_lossy(&output.stderr));
    let left: BTreeSet<Vec<u8>> = query(&mut connection, &["KEYS", "*"]).await;
    assert_eq!(left, kept.into_iter().map(<[u8]>::to_vec).collect());
}
