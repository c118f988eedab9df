//! The generated pages are in step with the tables that they are generated from.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.
// The pages describe a build with everything in it.
#![cfg(all(feature = "demo", feature = "failure-points"))]

use std::{fs, path::Path};

use state_tracker::reference::pages;

#[test]
fn the_generated_pages_are_in_step_with_their_tables() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale = |page: &state_tracker::reference::Page| {
        fs::read_to_string(repository.join(page.path)).ok().as_ref() != Some(&page.text)
    };
    let stale: Vec<_> = pages().into_iter().filter(stale).map(|page| page.path).collect();
    assert!(stale.is_empty(), "{stale:?} are not what the tables say: run `make docs`");
    // Nor is a page left over that no table makes.
    let known: Vec<_> = pages().iter().map(|page| repository.join(page.path)).collect();
    for entry in fs::read_dir(repository.join("docs/reference")).unwrap() {
        let path = entry.unwrap().path();
        assert!(known.contains(&path), "{} is generated from no table: remove it", path.display());
    }
}
