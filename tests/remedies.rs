//! Remedies: only the edge names settings and keys to delete, since a library does not know which setting it was given; and no
//! remedy touches a producers' key.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{MARKETS, PROTOCOL, SOON};
use serde_json::Value;
use state_tracker::{config::defaults_toml, key_families, remedy};
use store_redis::{ErrorKind, KeyType, Writer};
use testkit::RedisServer;
use tokio::process::Command;

/// The crates whose errors and comments name no setting. The testkit is part of no program.
const LIBRARIES: [&str; 12] = [
    "actors/src",
    "crates/domain/src",
    "crates/errors/src",
    "crates/evm/src",
    "crates/http-client/src",
    "crates/peer-snapshots/src",
    "crates/retry/src",
    "crates/store-collector/src",
    "crates/store-peers/src",
    "crates/store-redis/src",
    "crates/store-tracker/src",
    "crates/supervision/src",
];

/// Every setting, as `section.key`.
fn settings() -> Vec<String> {
    let (mut section, mut settings) = (String::new(), Vec::new());
    for line in defaults_toml().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            settings.push(format!("{section}.{key}"));
        }
    }
    settings
}

/// The Rust files of a folder, with their texts.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push((path.display().to_string(), fs::read_to_string(&path).expect("text")));
        }
    }
    all
}

/// The comments and string literals of a Rust file, by lines; code such as `self.collector.workers` is neither.
fn words_for_people(text: &str) -> Vec<String> {
    let (mut lines, mut is_string, mut previous) = (Vec::new(), false, ' ');
    for line in text.lines() {
        let mut words = String::new();
        for (at, character) in line.char_indices() {
            match character {
                // Neither an escaped quote nor one between two ticks begins or ends a string.
                '"' if previous != '\\' && !(previous == '\'' && line[at..].starts_with("\"'")) => {
                    is_string = !is_string;
                    words.push(' ');
                }
                '/' if !is_string && line[at..].starts_with("//") => {
                    words.push_str(&line[at..]);
                    break;
                }
                _ if is_string => words.push(character),
                _ => {}
            }
            previous = if previous == '\\' && character == '\\' { ' ' } else { character };
        }
        lines.push(words);
    }
    lines
}

/// Whether these words contain this one, and not as a part of another.
fn names(words: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    words.match_indices(word).any(|(at, _)| {
        let before = words[..at].chars().next_back().is_some_and(|c| is_part(c) || c == '.');
        let after = words[at + word.len()..].chars().next().is_some_and(|c| is_part(c) || c == '(');
        !before && !after
    })
}

#[test]
fn no_library_names_a_setting_or_tells_to_delete_keys() {
    let settings = settings();
    assert!(settings.len() > 80, "{settings:?}");
    let (root, mut checked) = (Path::new(env!("CARGO_MANIFEST_DIR")), 0);
    for (path, text) in LIBRARIES.iter().flat_map(|library| files(&root.join(library))) {
        for (at, words) in words_for_people(&text).iter().enumerate() {
            let named = settings.iter().find(|setting| names(words, setting));
            assert_eq!(named, None, "{path}:{}: {words}", at + 1);
            assert!(!words.contains("delete the key"), "{path}:{}: {words}", at + 1);
            checked += 1;
        }
    }
    assert!(checked > 10_000, "only {checked} lines");
}

/// docs/producers.md: correct the producer, and neither delete nor rename the key.
#[test]
fn no_remedy_renames_or_deletes_a_producers_key() {
    let documented = include_str!("../docs/producers.md").replace('\n', " ");
    assert!(documented.contains("neither delete nor rename the key"), "the rule is in docs/producers.md");
    let mut checked = 0;
    for family in key_families::tables().into_iter().flat_map(|table| table.rows) {
        if family.writer != Writer::Producers {
            continue;
        }
        let key = family.name.replace('*', "0");
        for kind in [ErrorKind::WrongType, ErrorKind::Malformed] {
            let remedy = remedy::of_key(kind, &key);
            assert!(remedy.starts_with("fix the producer"), "{key}: {remedy}");
            for command in ["RENAME", "DEL ", "UNLINK", "EXPIRE", "ZREM", "LTRIM"] {
                assert!(!remedy.contains(command), "{key}: {remedy}");
            }
            if kind == ErrorKind::WrongType {
                assert!(remedy.contains("neither rename nor delete it"), "{key}: {remedy}");
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} remedies");
}

/// A key of each family, all of a wrong type, in one Redis: the doctor names for each the type that it has and must have, and who writes
/// it, and tells nobody to delete it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_types_and_writer_of_a_mistyped_key_of_any_family() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    let mut environment = common::environment(redis.addr());
    for (name, value) in [
        ("DATA_MARKET_ADDRESSES", MARKETS[0]),
        ("RPC_NODES", "http://127.0.0.1:1"),
        ("ATTESTOR_QUEUE_PUSH_ENABLED", "true"),
        ("STATE_TRACKER__INDEX__ENABLED", "true"),
        ("STATE_TRACKER__INDEX__NAMESPACED", "true"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    let mut written = BTreeMap::new();
    for table in key_families::tables() {
        let space = table.space.replace("P:M", &format!("{PROTOCOL}:{}", MARKETS[0]));
        for family in table.rows {
            let key = format!("{space}{}", family.name.replace('*', "7"));
            let (command, kind) = match family.kind {
                KeyType::List => ("SET", "string"),
                _ => ("RPUSH", "list"),
            };
            redis::cmd("DEL").arg(&key).exec_async(&mut connection).await.expect("deleted");
            redis::cmd(command).arg(&key).arg("x").exec_async(&mut connection).await.expect("written");
            written.insert(key, (family, kind));
        }
    }
    assert!(written.len() > 60, "{}", written.len());
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
    doctor.args(["doctor", "--json"]).env_clear().envs(&environment).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, doctor.output()).await.expect("it ends").expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    assert!(findings.iter().all(|finding| finding["check"] != "redis"), "it went on to the end: {report:#}");
    for (key, (family, kind)) in written {
        let is_it = |finding: &&Value| finding["check"] == "wrong_type" && finding["object"] == key;
        let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("{key}: {report:#}"));
        let problem = format!("it is a {kind}, and must be a {}", family.kind.as_str());
        assert_eq!(finding["problem"], problem, "{key}");
        let remedy = finding["remedy"].as_str().expect("a text");
        assert!(remedy.contains("this key is written by "), "{key}: {remedy}");
        for loss in ["UNLINK", "DEL ", "delete the key"] {
            assert!(!remedy.contains(loss), "{key}: {remedy}");
        }
        assert_eq!(
            remedy.contains("RENAME it to aside:"),
            family.writer == Writer::Outputs,
            "{key}: {remedy}"
        );
    }
}

#[test]
fn the_words_of_a_file_are_its_comments_and_strings() {
    let words = |text: &str| words_for_people(text).join("|");
    assert_eq!(words("let a = self.chain.workers; // raise chain.workers"), "// raise chain.workers");
    assert_eq!(
        words("f(\"set redis.host \\\n  or redis.url\", redis.port)"),
        " set redis.host \\|  or redis.url "
    );
    assert_eq!(words("'\"' => collector.workers.acquire()"), "");
    assert!(names("raise redis.host;", "redis.host") && !names("redis.host_name", "redis.host"));
}
