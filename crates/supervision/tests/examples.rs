//! The examples run and find what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::process::Command;

#[test]
fn each_example_runs_to_its_end() {
    let own = std::env::current_exe().expect("a path");
    // target/PROFILE/deps/THIS: the examples are beside `deps`.
    let folder = own.ancestors().nth(2).expect("the folder of the profile").join("examples");
    for name in ["pipeline", "crash", "group"] {
        let example = folder.join(name);
        let output = Command::new(&example).output().unwrap_or_else(|error| {
            panic!("{}: {error}: `cargo test --package supervision` builds it", example.display())
        });
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{name} says what it found");
    }
}
