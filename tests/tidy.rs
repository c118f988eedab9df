//! What the style guide asks of the sources, checked: layers, circles, sizes, words, tables and pages in step. Reads files
//! only, and takes seconds.
//!
//! Each failure says what to do. The rules are explained in `docs/STYLE.md`.

#![allow(missing_docs, clippy::expect_used, clippy::panic)] // A test that can not go on panics.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use documents::{banned_words, text_files};
use source::{crates, root};

/// The longest file of code, in lines; files of tests and of data aside.
const LONGEST_FILE: usize = 500;
/// The longest function, in lines.
const LONGEST_FUNCTION: usize = 70;

/// The crates that each crate may use of the workspace; tests and benches may use more.
const LAYERS: &[(&str, &[&str])] = &[
    ("errors", &[]),
    // It stands in for a crate of the registry, which alloy-core names; nothing here uses it.
    ("paste", &[]),
    ("retry", &[]),
    ("supervision", &[]),
    ("testkit", &[]),
    (
        "fuzz",
        &[
            "domain",
            "evm",
            "http-client",
            "peer-snapshots",
            "retry",
            "socket-io",
            "state-tracker",
            "store-tracker",
            "testkit",
        ],
    ),
    // It judges the tracker, so it shares no code with it.
    ("reference", &[]),
    ("domain", &[]),
    // For authors of senders too, so it stands alone.
    ("peer-snapshots", &["retry"]),
    ("sri-client", &["errors", "http-client", "peer-snapshots"]),
    ("http-client", &[]),
    ("relay-client", &["domain", "errors", "http-client"]),
    ("webhook", &["errors", "http-client"]),
    ("access-tokens", &["http-client", "supervision"]),
    ("socket-io", &["errors", "ports", "retry"]),
    ("campaign-gateway", &["access-tokens", "errors", "ports", "retry", "socket-io", "supervision"]),
    ("ports", &[]),
    ("http-server", &["errors", "ports", "retry"]),
    ("store-redis", &["errors", "retry"]),
    ("evm", &["domain", "errors", "http-client", "retry"]),
    ("store-tracker", &["domain", "errors", "store-redis"]),
    ("store-collector", &["domain", "errors", "store-redis"]),
    ("store-campaign-log", &["domain", "errors", "store-redis"]),
    ("store-peers", &["errors"]),
    ("store-campaigns", &["domain", "errors", "http-client", "retry"]),
    (
        "actors",
        &[
            "access-tokens",
            "campaign-gateway",
            "domain",
            "errors",
            "evm",
            "peer-snapshots",
            "ports",
            "relay-client",
            "retry",
            "sri-client",
            "store-campaign-log",
            "store-campaigns",
            "store-collector",
            "store-peers",
            "store-redis",
            "store-tracker",
            "supervision",
            "webhook",
        ],
    ),
];

/// Folders of one crate, and the folders of it that they may not use.
const FOLDERS: &[(&str, &[&str])] = &[
    (
        "actors/src/env",
        &["actors/src/tracker", "actors/src/collector", "actors/src/peers", "actors/src/campaigns"],
    ),
    ("actors/src/campaigns", &["actors/src/tracker", "actors/src/peers", "actors/src/alerts"]),
    ("actors/src/tracker", &["actors/src/collector", "actors/src/alerts"]),
    ("actors/src/collector", &["actors/src/tracker", "actors/src/alerts", "actors/src/peers"]),
    ("actors/src/peers", &["actors/src/tracker", "actors/src/collector", "actors/src/alerts"]),
    (
        "crates/domain/src/chain",
        &[
            "crates/domain/src/tracker",
            "crates/domain/src/collector",
            "crates/domain/src/peers",
            "crates/domain/src/campaigns",
        ],
    ),
    (
        "crates/domain/src/tracker",
        &["crates/domain/src/collector", "crates/domain/src/peers", "crates/domain/src/campaigns"],
    ),
    (
        "crates/domain/src/collector",
        &["crates/domain/src/tracker", "crates/domain/src/peers", "crates/domain/src/campaigns"],
    ),
    (
        "crates/domain/src/peers",
        &["crates/domain/src/tracker", "crates/domain/src/collector", "crates/domain/src/campaigns"],
    ),
    (
        "crates/domain/src/campaigns",
        &["crates/domain/src/tracker", "crates/domain/src/collector", "crates/domain/src/peers"],
    ),
    (
        "src/config",
        &[
            "src/service",
            "src/http",
            "src/doctor",
            "src/diff",
            "src/demo",
            "src/app",
            "src/cli",
            "src/remedy",
        ],
    ),
    ("src/api", &["src/config", "src/service", "src/doctor", "src/diff", "src/demo", "src/app"]),
    ("src/campaigns", &["src/config", "src/service", "src/doctor", "src/diff", "src/demo", "src/app"]),
    ("src/peers", &["src/config", "src/service", "src/doctor", "src/diff", "src/demo", "src/app"]),
    ("src/http", &["src/api", "src/config", "src/service", "src/doctor", "src/diff", "src/demo", "src/app"]),
];

/// Crates from outside that only these crates of ours may be built with, so that each way to the world has one door.
const DOORS: &[(&str, &[&str])] = &[
    ("ractor", &["supervision"]),
    ("deadpool", &["store-redis"]),
    ("deadpool-redis", &["store-redis"]),
    ("redis", &["store-redis", "store-tracker", "store-collector", "store-campaign-log", "state-tracker"]),
    ("rusqlite", &["store-peers"]),
    ("tokio-postgres", &["store-campaigns"]),
    ("deadpool-postgres", &["store-campaigns"]),
    ("alloy-core", &["evm"]),
    ("tokio-tungstenite", &["evm"]),
    ("hyper", &["http-client", "http-server", "socket-io"]),
    ("rustls-webpki", &["ports"]),
    ("axum", &["http-server", "state-tracker"]),
    ("clap", &["state-tracker"]),
    ("color-eyre", &["state-tracker"]),
    ("figment", &["state-tracker"]),
    ("prometheus", &["actors"]),
    ("opentelemetry", &["actors"]),
    ("tracing-subscriber", &["state-tracker"]),
];

/// All that these crates may be built with from outside: they do no I/O and read no clock.
const PURE: &[(&str, &[&str])] = &[
    ("domain", &["humantime", "serde", "serde_json", "sha3", "thiserror", "uuid"]),
    ("errors", &["humantime"]),
    ("retry", &[]),
    ("reference", &["serde_json"]),
];

#[test]
fn crates_use_only_the_crates_below_them() {
    let mut wrong = Vec::new();
    let known: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for (name, dependencies) in documents::manifests() {
        for used in dependencies.iter().map(String::as_str) {
            let doors = DOORS.iter().find(|(door, _)| *door == used).map(|(_, allowed)| *allowed);
            let pure = PURE.iter().find(|(pure, _)| *pure == name).map(|(_, allowed)| *allowed);
            let is_closed =
                doors.is_some_and(|allowed| name != "testkit" && !allowed.contains(&name.as_str()));
            if is_closed || pure.is_some_and(|allowed| !known.contains_key(used) && !allowed.contains(&used))
            {
                wrong.push(format!(
                    "{name} uses {used}, which tests/tidy.rs allows for {doors:?} or {pure:?} alone"
                ));
            }
        }
        let Some(allowed) = known.get(name.as_str()) else {
            assert_eq!(name, "state-tracker", "say in LAYERS of tests/tidy.rs what the crate {name} may use");
            continue;
        };
        for used in dependencies.iter().map(String::as_str) {
            if (known.contains_key(used) || used == "state-tracker") && !allowed.contains(&used) {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nmove what is shared into a crate below both (docs/STYLE.md, layers)"
    );
}

/// What code without I/O and clock never names.
const IMPURE: [&str; 6] = ["fs", "net", "process", "thread", "SystemTime", "Instant"];

#[test]
fn pure_crates_name_no_clock_no_file_and_no_socket() {
    let mut wrong = Vec::new();
    let is_pure = |home: &source::Crate| PURE.iter().any(|(name, _)| home.name == *name);
    for home in crates().into_iter().filter(is_pure) {
        for module in home.modules.values() {
            let all = module.paths.iter().chain(module.imports.values()).chain(&module.globs);
            let impure = all.filter(|path| {
                let of_std = path.first().is_some_and(|first| first == "std");
                of_std && path.iter().any(|part| IMPURE.contains(&part.as_str()))
            });
            wrong.extend(impure.map(|path| format!("{}: {}", module.file.display(), path.join("::"))));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\nhand the time or the data in (docs/STYLE.md, layers)");
}

#[test]
fn folders_use_only_what_lies_below_them() {
    let edges = imports::imports(&crates());
    let mut wrong = Vec::new();
    let lies_in =
        |file: &Path, folder: &str| file.starts_with(folder) || file == Path::new(&format!("{folder}.rs"));
    for (folder, forbidden) in FOLDERS {
        for (file, used) in edges.iter().filter(|(file, _)| lies_in(file, folder)) {
            for (other, items) in used {
                if forbidden.iter().any(|forbidden| lies_in(other, forbidden)) {
                    wrong.push(format!("{} uses {items:?} of {}", file.display(), other.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nhand in what is needed, or move it below both (docs/STYLE.md, layers)"
    );
}

/// The layers of the actor kit, from the bottom to the top: a file uses files of its own layer and of those below.
const KIT: [&[&str]; 5] = [
    &["budget", "clock", "name", "policy", "state", "sync", "text", "weak_list"],
    &["changes", "current", "env", "fail", "progress"],
    &["edges", "mailbox"],
    &["actor", "cell", "context", "crash", "exit", "gate", "health", "slot", "tasks"],
    &["alarm", "child", "group", "plan", "registry", "supervisor", "tree", "watch"],
];

/// The kit's layer of a file; none for files of other crates.
fn kit_layer(file: &Path) -> Option<usize> {
    let below =
        file.strip_prefix("crates/supervision/src").ok().filter(|below| *below != Path::new("lib.rs"))?;
    let module = below.iter().next()?.to_str()?.trim_end_matches(".rs");
    let layer = KIT.iter().position(|modules| modules.contains(&module));
    assert!(layer.is_some(), "say in KIT of tests/tidy.rs in which layer {} is", file.display());
    layer
}

#[test]
fn the_actor_kit_uses_nothing_from_above() {
    let edges = imports::imports(&crates());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, used) in &edges {
        let Some(layer) = kit_layer(file) else { continue };
        for (other, items) in used {
            seen += 1;
            if kit_layer(other).is_some_and(|of_other| of_other > layer) {
                wrong.push(format!("{} uses {items:?} of {}", file.display(), other.display()));
            }
        }
    }
    assert!(seen > 100, "the reader of imports sees only {seen} uses in the kit");
    assert!(wrong.is_empty(), "{wrong:#?}\nmove what is shared into a layer below both");
}

#[test]
fn ractor_has_one_file_in_the_actor_kit() {
    let names_it = |module: &source::Module| {
        let all = module.paths.iter().chain(module.imports.values()).chain(&module.globs);
        all.into_iter().any(|path| path.first().is_some_and(|first| first == "ractor"))
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for home in crates().into_iter().filter(|home| home.name == "supervision") {
        files.extend(
            home.modules.values().filter(|module| names_it(module)).map(|module| module.file.clone()),
        );
    }
    files.dedup();
    assert_eq!(files, [PathBuf::from("crates/supervision/src/cell.rs")]);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let edges = imports::uses(&crates());
    let circles = imports::circles(&edges);
    let mut told = String::new();
    for circle in &circles {
        for file in circle {
            for (other, items) in edges[file].iter().filter(|(other, _)| circle.contains(other)) {
                told += &format!("{} uses {items:?} of {}\n", file.display(), other.display());
            }
        }
        told.push('\n');
    }
    assert!(
        circles.is_empty(),
        "{told}cut one arrow of each circle: move the item to a file that both may use"
    );
}

#[test]
fn a_circle_is_seen() {
    // Without this, a reader of imports that sees nothing would pass the test above.
    let edge = |from: &str, to: &str| {
        let items = BTreeSet::from(["Item".to_owned()]);
        (PathBuf::from(from), BTreeMap::from([(PathBuf::from(to), items)]))
    };
    let edges = BTreeMap::from([edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("d", "a")]);
    assert_eq!(imports::circles(&edges), [["a", "b", "c"].map(PathBuf::from).to_vec()]);
    let real = imports::uses(&crates());
    let (user, used) = ("crates/supervision/src/tree/change.rs", "crates/supervision/src/tree/mod.rs");
    assert!(real[Path::new(user)][Path::new(used)].contains("Tree"), "{:?}", real[Path::new(user)]);
}

#[test]
fn files_and_functions_are_short() {
    let mut long = Vec::new();
    let mut files = BTreeSet::new();
    for home in crates().into_iter().chain([source::binary()]) {
        for module in home.modules.values() {
            files.insert(module.file.clone());
            for (name, lines) in module.functions.iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION) {
                long.push(format!("{}: fn {name} has {lines} lines", module.file.display()));
            }
        }
    }
    assert!(files.len() > 150, "only {} files were found", files.len());
    for file in files {
        let lines = fs::read_to_string(root().join(&file)).expect("a file").lines().count();
        if lines > LONGEST_FILE {
            long.push(format!("{} has {lines} lines", file.display()));
        }
    }
    assert!(
        long.is_empty(),
        "{long:#?}\nsplit them: {LONGEST_FILE} lines a file, {LONGEST_FUNCTION} a function"
    );
}

/// What starts something that outlives the future which calls it, or holds such things.
const SPAWNS: [&str; 8] =
    ["spawn", "spawn_blocking", "spawn_local", "spawn_on", "JoinSet", "LocalSet", "TaskTracker", "Builder"];

#[test]
fn actors_spawn_no_tasks_that_outlive_them() {
    let mut found = Vec::new();
    for home in crates().into_iter().filter(|home| home.name == "actors") {
        for module in home.modules.values() {
            // The head of that file says what comes of its one way to start work.
            let allowed =
                (module.file == Path::new("actors/src/env/blocking.rs")).then_some("spawn_blocking");
            let is_spawn = |name: &String| SPAWNS.contains(&name.as_str()) && Some(name.as_str()) != allowed;
            let mut all = module.paths.iter().chain(module.imports.values()).flatten().chain(&module.methods);
            let has_glob = |from: &Vec<String>| ["tokio", "thread"].contains(&from[0].as_str());
            if all.any(is_spawn) || module.globs.iter().any(has_glob) {
                found.push(module.file.display().to_string());
            }
        }
    }
    assert!(
        found.is_empty(),
        "{found:#?}\na task of its own outlives its actor: make it part of the actor's own future"
    );
}

#[test]
fn every_crate_says_what_it_must_never_do() {
    for home in crates() {
        let head = fs::read_to_string(root().join(&home.root)).expect("a file");
        let head: String = head.lines().take_while(|line| line.starts_with("//!")).collect();
        let invariant = head.split_once("**Invariant:**").map_or("", |(_, invariant)| invariant);
        assert!(
            invariant.split_whitespace().count() >= 8,
            "{}: its head says nothing of what the crate must never do; add a paragraph `**Invariant:** …`",
            home.root.display()
        );
    }
}

#[test]
fn every_promise_names_a_test_that_exists() {
    names_its_tests("docs/guarantees.md", 50);
    names_its_tests("SECURITY.md", 15);
    names_its_tests("docs/compatibility.md", 50);
}

/// Checks that a document names at least so many tests, all of which exist, and at least one under each heading of the third level.
fn names_its_tests(document: &str, least: usize) {
    let text = fs::read_to_string(root().join(document)).expect(document);
    let references: Vec<(String, String)> = documents::test_references(&text).collect();
    assert!(references.len() > least, "only {} tests are named in {document}", references.len());
    let mut missing = Vec::new();
    for (file, test) in references {
        let code = fs::read_to_string(root().join(&file)).unwrap_or_default();
        if !documents::has_test(&code, &test) {
            missing.push(format!("{file}::{test}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}\nname the tests as they are now, or write them");
    let odd = text.lines().find(|line| line.starts_with("####"));
    assert_eq!(odd, None, "a promise is a heading of the third level");
    let mut unproved = Vec::new();
    for (heading, body) in documents::sections(&text) {
        if documents::test_references(&body).next().is_none() {
            unproved.push(heading);
        }
    }
    assert!(unproved.is_empty(), "{unproved:#?}\neach promise of {document} names the test that would fail");
}

#[test]
fn no_text_has_a_word_that_the_style_guide_bans() {
    let banned = banned_words();
    assert!(banned.len() > 20, "only {} banned words were read from docs/STYLE.md", banned.len());
    let mut found = Vec::new();
    for (file, text) in text_files() {
        let (words, lines) = documents::words(&text);
        for (phrase, better) in &banned {
            for at in documents::places_of(&words, phrase) {
                found.push(format!("{}:{}: `{phrase}`; better: {better}", file.display(), lines[at]));
            }
        }
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_service_is_built_without_the_test_kit_and_the_demo_with_it() {
    let tree = |more: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            "state-tracker",
        ]);
        let output = cargo.args(more).current_dir(root()).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let has_kit = |tree: &str| tree.lines().any(|line| line.starts_with("testkit "));
    assert!(!has_kit(&tree(&[])), "the shipped binary has the test kit: make it optional (feature `demo`)");
    assert!(has_kit(&tree(&["--features", "demo"])), "the feature `demo` is there for the test kit");
}

#[test]
fn the_crate_for_authors_of_senders_brings_tls_and_runtimes_to_none_that_ask_for_none() {
    let tree = |features: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--offline", "--edges", "normal", "--prefix", "none"]);
        cargo.args(["--package", "peer-snapshots", "--no-default-features", "--features", features]);
        let output = cargo.current_dir(root()).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let has = |tree: &str, name: &str| tree.lines().any(|line| line.starts_with(&format!("{name} ")));
    let (lean, by_tls) = (tree("sender"), tree("tls"));
    assert!(has(&lean, "retry") && has(&by_tls, "rustls") && has(&by_tls, "ring"));
    for heavy in ["rustls", "ring", "tokio", "hyper", "tracing"] {
        assert!(!has(&lean, heavy), "the sender brings {heavy}: make it optional");
    }
    assert!(!has(&by_tls, "tokio"), "the sender needs no runtime");
}
