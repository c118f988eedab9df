//! A panic outside of actors is one plain line, or one JSON line where the log is JSON, with a backtrace where one is asked
//! for. This binary runs itself: the panic is that of a process of its own.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::process::Command;

use serde_json::Value;
use state_tracker::{app, config::Config};

/// Set in the process that panics; says whether it has a log.
const CHILD: &str = "STATE_TRACKER_TEST_PANICS";

/// What the process that panics does. Without the variable this test is none.
#[test]
fn the_process_that_panics() {
    let Ok(log) = std::env::var(CHILD) else { return };
    app::install_reports();
    if log == "json" {
        // A service that does not start leaves its log behind.
        let settings = [
            ("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF"),
            ("DATA_MARKET_ADDRESSES", "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c"),
            // An address of no machine.
            ("STATE_TRACKER__HTTP__HOST", "203.0.113.1"),
            ("STATE_TRACKER__LOG__FORMAT", "json"),
            ("LOG_LEVEL", "off"),
        ];
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let started = runtime.block_on(app::run(move || Config::load(None, settings)));
        assert!(started.is_err(), "there is no such address");
    }
    let beside = std::thread::Builder::new().name("worker".to_owned());
    let ended = beside.spawn(|| panic!("what it had read was `a\nb\u{1b}[31m`")).expect("a thread").join();
    std::process::exit(if ended.is_err() { 3 } else { 4 });
}

/// What a process that panics writes to standard error.
fn panic_with(log: &str, backtrace: &str) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "the_process_that_panics", "--nocapture"]).env(CHILD, log);
    let output = command.env("RUST_BACKTRACE", backtrace).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_panic_is_one_plain_line_without_a_backtrace_unless_one_is_asked_for() {
    let stderr = panic_with("none", "0");
    let (line, rest) = stderr.split_once('\n').expect("a line");
    assert!(line.starts_with("state-tracker: panic in thread worker at tests/panics.rs:"), "{stderr}");
    assert!(line.contains(": what it had read was `a\\nb\\u{1b}[31m`; "), "{stderr}");
    assert_eq!(rest, "");

    let stderr = panic_with("none", "1");
    let (line, rest) = stderr.split_once('\n').expect("a line");
    assert!(line.starts_with("state-tracker: panic in thread worker at "), "{stderr}");
    assert!(rest.contains("panics.rs") && rest.ends_with('\n') && !rest.contains('\u{1b}'), "{stderr}");
}

#[test]
fn a_panic_is_a_line_of_a_log_that_is_json() {
    for (backtrace, has_one) in [("0", false), ("1", true)] {
        let stderr = panic_with("json", backtrace);
        let line: Value = serde_json::from_str(&stderr).expect("one line of JSON, and nothing else");
        assert_eq!(line["level"], "ERROR", "{stderr}");
        let message = line["message"].as_str().expect("a message");
        assert!(message.starts_with("panic in thread worker at tests/panics.rs:"), "{stderr}");
        let backtrace = line["backtrace"].as_str();
        assert_eq!(backtrace.is_some_and(|frames| frames.contains("panics.rs")), has_one, "{stderr}");
    }
}
