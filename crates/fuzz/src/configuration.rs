//! The configuration: a file, and environment variables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use state_tracker::config::{Config, ConfigErrors, Loaded};
use testkit::fuzz::label;

/// A secret that is always set, and never shown.
const SECRET: &str = "correct-horse-battery";

/// Names of the variables without which nothing is valid.
const REQUIRED: [(&str, &str); 2] = [
    ("PROTOCOL_STATE_CONTRACT", "0x1111111111111111111111111111111111111111"),
    ("DATA_MARKET_ADDRESSES", "0x2222222222222222222222222222222222222222"),
];

/// The longest error of one value, in bytes for each byte of the input: it is shown once, escaped.
const MOST_GROWTH: usize = 12;

/// A TOML file.
pub(crate) fn file(input: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), input).expect("written");
    let environment = REQUIRED.into_iter().chain([("REDIS_SENTINEL_PASSWORD", SECRET)]);
    outcome(Config::load(Some(file.path()), environment), input, Some(file.path()))
}

/// Variables, one a line: `NAME=VALUE`. `\n` within a value is written as `\r`.
pub(crate) fn environment(input: &[u8]) -> String {
    let required = REQUIRED.into_iter().chain([("REDIS_SENTINEL_PASSWORD", SECRET)]);
    let required = required.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let given = input.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let value: Vec<u8> =
            line[at + 1..].iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect();
        Some((OsString::from_vec(line[..at].to_vec()), OsString::from_vec(value)))
    });
    // Files are another target: here any name would be opened, pipes included.
    let is_file = |name: &OsString| {
        let name = name.to_string_lossy();
        name.ends_with("_FILE") || name == "STATE_TRACKER_CONFIG"
    };
    let all: Vec<_> = required.chain(given.filter(|(name, _)| !is_file(name))).collect();
    outcome(Config::load(None, all), input, None)
}

fn outcome(loaded: Result<Loaded, ConfigErrors>, input: &[u8], file: Option<&Path>) -> String {
    // An input that spells the secret itself shows itself.
    let may_show = String::from_utf8_lossy(input).contains(SECRET);
    let hides = |text: &str| assert!(may_show || !text.contains(SECRET), "{text}");
    match loaded {
        Ok(loaded) => {
            let (shown, json) = (loaded.describe_changes(), loaded.to_json().to_string());
            hides(&shown);
            hides(&json);
            hides(&format!("{:?}", loaded.config));
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            loaded.config.redis.servers().expect("what is allowed describes servers");
            // Each line of the table is one setting.
            assert!(!shown.contains('\r') && !shown.contains('\u{1b}'), "{shown:?}");
            format!("valid {}", label(&loaded.notes.join("|")))
        }
        Err(errors) => {
            let text = errors.to_string();
            hides(&text);
            assert_eq!(text.lines().count(), 1 + errors.problems().len() + errors.notes().len(), "{text}");
            let most = 4_000 * (errors.problems().len() + errors.notes().len() + 1);
            assert!(text.len() <= most + MOST_GROWTH * input.len(), "{} bytes of errors", text.len());
            let named = |problem: &String| {
                let of_file = file.is_some_and(|file| problem.contains(&*file.to_string_lossy()));
                of_file
                    || problem.contains("environment variable")
                    || problem.contains("(from default)")
                    || problem.contains(" is not set")
                    || problem.contains(" is set more than once")
                    || problem.ends_with(" are not listed")
            };
            let without = errors.problems().iter().find(|problem| !named(problem));
            assert!(without.is_none(), "it names no place: {without:?}");
            // Of the first ones only: any number of unknown keys is one place in the code.
            errors.problems().iter().take(2).map(|problem| label(problem)).collect::<Vec<_>>().join("|")
        }
    }
}
