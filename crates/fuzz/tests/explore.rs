//! Every target with its kept corpus, and with what a seed makes of it. `make test` takes seconds; `make test-all` takes
//! minutes, and `FUZZ_INPUTS=10000000` as long as one likes.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

use fuzz::{TARGETS, Target};
use testkit::fuzz::Corpus;

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

fn explore(name: &str, count: u64) {
    let target = target(name);
    Corpus::read(target.folder()).unwrap().explore(count, target.run);
}

macro_rules! explored {
    ($($name:ident $long:ident $quick:literal $slow:literal,)+) => {
        $(
            #[test]
            fn $name() {
                explore(stringify!($name), $quick);
            }

            #[test]
            #[ignore = "minutes"]
            fn $long() {
                explore(stringify!($name), $slow);
            }
        )+

        #[test]
        fn every_target_is_explored_and_has_a_corpus() {
            let explored = [$(stringify!($name)),+];
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(explored[..], all[..]);
        }
    };
}

explored! {
    archive archive_for_long 1_000 20_000,
    configuration configuration_for_long 400 20_000,
    environment environment_for_long 400 20_000,
    events events_for_long 10_000 300_000,
    failure_points failure_points_for_long 2_000 100_000,
    ledger ledger_for_long 3_000 100_000,
    logs logs_for_long 3_000 100_000,
    names names_for_long 3_000 100_000,
    packets packets_for_long 5_000 300_000,
    peers peers_for_long 5_000 300_000,
    retry_after retry_after_for_long 10_000 300_000,
    urls urls_for_long 5_000 300_000,
    websocket websocket_for_long 5_000 300_000,
}
