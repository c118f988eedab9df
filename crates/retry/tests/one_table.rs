//! The table of this crate defines every pause between attempts; no other file of the product does.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

/// `supervision` restarts actors as the configuration says; `testkit` is for tests.
const EXEMPT: [&str; 3] = ["crates/retry", "crates/supervision", "crates/testkit"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a line defines a constant for a pause between attempts.
fn defines_a_retry_pause(line: &str) -> bool {
    let Some((name, value)) = line.split_once("const ").and_then(|(_, rest)| rest.split_once(':')) else {
        return false;
    };
    let named = ["RETRY", "BACKOFF", "RECONNECT", "RESUBSCRIBE"].iter().any(|word| name.contains(word));
    named && value.contains("Duration")
}

#[test]
fn no_retry_pause_is_defined_outside_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut folders = vec![root.join("src"), root.join("actors/src")];
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        if !EXEMPT.iter().any(|exempt| folder == root.join(exempt)) && folder.join("src").is_dir() {
            folders.push(folder.join("src"));
        }
    }
    let mut files = Vec::new();
    folders.iter().for_each(|folder| sources(folder, &mut files));
    // A moved folder must not leave the test without files.
    assert!(files.len() > 50, "only {} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", file.display(), number + 1);
            assert!(!defines_a_retry_pause(line), "{place}: move it to crates/retry/src/table.rs: {line}");
        }
    }
}

#[test]
fn a_constant_for_a_retry_pause_is_recognised() {
    for line in [
        "const RETRY: Duration = Duration::from_secs(60);",
        "    pub(crate) const RETRY_AFTER: std::time::Duration = Duration::from_millis(5);",
        "const ACCEPT_RETRY: Duration = Duration::from_millis(100);",
    ] {
        assert!(defines_a_retry_pause(line), "{line}");
    }
    for line in ["const RETRY: RetryPolicy = AGGREGATOR;", "const PING: Duration = Duration::from_secs(15);"]
    {
        assert!(!defines_a_retry_pause(line), "{line}");
    }
}
