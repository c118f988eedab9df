//! The kit's quick tests in one binary, which is linked once for each mutant of `make mutants`. Each file is also a test of its
//! own, so a plain `cargo test` leaves this one out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests that can't continue panic")]

#[path = "../ask.rs"]
mod ask;
#[path = "../attempts.rs"]
mod attempts;
#[path = "../changes.rs"]
mod changes;
#[path = "../conservation.rs"]
mod conservation;
#[path = "../crashes.rs"]
mod crashes;
#[path = "../edges.rs"]
mod edges;
#[path = "../incarnations.rs"]
mod incarnations;
#[path = "../isolation.rs"]
mod isolation;
#[path = "../mailbox.rs"]
mod mailbox;
#[path = "../names.rs"]
mod names;
#[path = "../outages.rs"]
mod outages;
#[path = "../permits.rs"]
mod permits;
#[path = "../progress.rs"]
mod progress;
#[path = "../rest_for_one.rs"]
mod rest_for_one;
#[path = "../shutdown.rs"]
mod shutdown;
#[path = "../started.rs"]
mod started;
#[path = "../supervision.rs"]
mod supervision;
#[path = "../threads.rs"]
mod threads;
