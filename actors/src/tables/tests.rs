//! The joined tables hold what the code registers, passes and tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// The sources below a directory of the workspace.
fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(path: &Path, all: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                walk(&entry, all);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&entry).expect("a source");
                all.push((entry, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory), &mut all);
    all
}

#[test]
fn actors_pass_failure_points_of_the_table_alone() {
    for (path, text) in sources("actors/src") {
        let is_row = path.ends_with("env/failure_point.rs") || path.ends_with("tables/tests.rs");
        assert!(is_row || !text.contains("fail::point("), "{}", path.display());
    }
    let names: BTreeSet<&str> = failure_points().map(|point| point.name).collect();
    assert_eq!(names.len(), failure_points().count(), "a name stands twice");
    // The kit passes its own by their names.
    let of_kit = sources("crates/supervision/src").into_iter().flat_map(|(_, text)| {
        let passed = text.split("fail::point(\"").skip(1).filter_map(|rest| rest.split('"').next());
        passed.map(str::to_owned).collect::<Vec<_>>()
    });
    let of_kit: BTreeSet<String> = of_kit.collect();
    let listed = OF_SUPERVISORS.iter().map(|point| point.name.to_owned()).collect();
    assert_eq!(of_kit, listed);
}

#[test]
fn a_test_arms_every_failure_point() {
    let directories = ["actors/tests", "tests", "crates/supervision/tests"];
    let tests: Vec<(PathBuf, String)> = directories.into_iter().flat_map(sources).collect();
    for point in failure_points() {
        // As a test names it, or as an operator writes it.
        let named = [format!("\"{}\"", point.name), format!("{}=", point.name), format!("{}@", point.name)];
        let is_named = |(_, text): &(PathBuf, String)| named.iter().any(|name| text.contains(name));
        assert!(tests.iter().any(is_named), "no test arms {}", point.name);
    }
}
