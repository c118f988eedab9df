//! The promises of the configuration.

mod campaigns;
mod collector;
mod failure_points;
mod files;
mod layers;
mod markets;
mod refusals;
mod secrets;
mod service_links;
mod tables;
mod unknown;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const PROTOCOL: &str = "0x1111111111111111111111111111111111111111";
const MARKET: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
const REQUIRED: [(&str, &str); 2] =
    [("PROTOCOL_STATE_CONTRACT", PROTOCOL), ("DATA_MARKET_ADDRESSES", MARKET)];

/// Loads without a file, with the addresses set unless `env` sets them.
fn from_env(env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    load(None, env)
}

fn load(file: Option<&Path>, env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let given: Vec<&str> = env.iter().map(|(name, _)| *name).collect();
    let required = REQUIRED.into_iter().filter(|(name, _)| !given.contains(name));
    let env: Vec<_> = env.iter().copied().chain(required).collect();
    Config::load(file, env)
}

/// A file, which exists as long as the directory that is returned with it.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn from_file(text: &str) -> Result<Loaded, ConfigErrors> {
    let (_dir, path) = file(text);
    load(Some(&path), &[])
}

/// All settings as `check` shows them.
fn described(loaded: &Loaded) -> String {
    loaded.describe_changes() + &loaded.describe_defaults()
}

/// The only problem there is.
#[track_caller]
fn only_problem(result: Result<Loaded, ConfigErrors>) -> String {
    let errors = result.unwrap_err();
    assert_eq!(errors.problems().len(), 1, "{errors}");
    errors.problems()[0].clone()
}

#[track_caller]
fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}
