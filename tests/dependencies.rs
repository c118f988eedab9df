//! The dependencies keep to `deny.toml`: their licences, the crates that are banned, where they come from. cargo-deny checks the
//! same and more, where it is installed (`make deny`).

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::{collections::BTreeSet, path::Path, process::Command};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use serde_json::Value;

/// A crate that is built for the service, its tests or its benchmarks.
#[derive(Debug)]
struct Package {
    name: String,
    /// The version, and the folder of a crate of this workspace.
    rest: String,
    licence: String,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--workspace", "--edges", "normal,build,dev", "--no-dedupe"])
        .args(["--features", "state-tracker/demo,state-tracker/failure-points"])
        .args(["--prefix", "none", "--format", "{p}|{l}"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("a text");
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let packages = lines.into_iter().map(|line| {
        let (package, licence) = line.split_once('|').expect("a licence");
        let (name, rest) = package.split_once(' ').expect("a version");
        let licence = licence.trim_end_matches(" (*)");
        Package { name: name.to_owned(), rest: rest.to_owned(), licence: licence.to_owned() }
    });
    packages.collect()
}

fn rules() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    Figment::from(Toml::file_exact(file)).extract().expect("TOML")
}

fn list<'a>(rules: &'a Value, section: &str, key: &str) -> BTreeSet<&'a str> {
    let list = rules[section][key].as_array().expect("a list");
    list.iter().map(|value| value.as_str().expect("a text")).collect()
}

/// Whether these licences suffice for an SPDX expression: `AND` binds stronger than `OR`, and `/` is an old `OR`.
fn suffice(allowed: &BTreeSet<&str>, expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    if let Some((before, rest)) = expression.split_once('(') {
        let (inner, after) = rest.split_once(')').expect("a bracket");
        // What the bracket comes to takes its place.
        let known = if suffice(allowed, inner) { allowed.first().expect("a licence") } else { "none" };
        return suffice(allowed, &format!("{before}{known}{after}"));
    }
    expression.split(" OR ").any(|all| all.split(" AND ").all(|one| allowed.contains(one.trim())))
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC"]);
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC"] {
        assert!(suffice(&allowed, good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR BSD) AND ISC", "MIT WITH something"] {
        assert!(!suffice(&allowed, bad), "{bad}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence_and_source_and_none_is_banned() {
    let (packages, rules) = (packages(), rules());
    assert!(packages.len() > 100, "{packages:#?}");
    let allowed = list(&rules, "licenses", "allow");
    let banned = list(&rules, "bans", "deny");
    for package in &packages {
        assert!(suffice(&allowed, &package.licence), "its licence is not allowed: {package:?}");
        assert!(!banned.contains(package.name.as_str()), "it is banned: {package:?}");
    }
}

#[test]
fn crates_come_from_the_registry_or_from_this_workspace() {
    let lock = include_str!("../Cargo.lock");
    for source in lock.lines().filter_map(|line| line.strip_prefix("source = ")) {
        assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"");
    }
    let workspace = env!("CARGO_MANIFEST_DIR");
    for package in packages().iter().filter(|package| package.rest.contains('/')) {
        assert!(package.rest.contains(workspace), "it is not of this workspace: {package:?}");
    }
    // The unmaintained `paste` is replaced by a crate of this workspace.
    let paste: Vec<Package> = packages().into_iter().filter(|package| package.name == "paste").collect();
    assert!(paste.iter().all(|package| package.rest.contains(workspace)), "{paste:?}");
}
