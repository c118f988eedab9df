//! The kit's quick tests in one binary, which is linked once for each mutant of `make mutants`. Each file is also a test of its
//! own, so a plain `cargo test` leaves this one out. Not here: tests that are alone in their process, whose memory, threads,
//! output or signals they look at, and the examples.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests that can't continue panic")]

#[path = "../ask.rs"]
mod ask;
#[path = "../attempts.rs"]
mod attempts;
#[path = "../chance.rs"]
mod chance;
#[path = "../changes.rs"]
mod changes;
#[path = "../conservation.rs"]
mod conservation;
#[path = "../crashes.rs"]
mod crashes;
#[path = "../edges.rs"]
mod edges;
#[path = "../escalation.rs"]
mod escalation;
#[path = "../hostile_messages.rs"]
mod hostile_messages;
#[path = "../incarnations.rs"]
mod incarnations;
#[path = "../isolation.rs"]
mod isolation;
#[path = "../mailbox.rs"]
mod mailbox;
#[path = "../message_code.rs"]
mod message_code;
#[path = "../names.rs"]
mod names;
#[path = "../one_for_all.rs"]
mod one_for_all;
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
#[path = "../shutdown_policies.rs"]
mod shutdown_policies;
#[path = "../simulation.rs"]
mod simulation;
#[path = "../started.rs"]
mod started;
#[path = "../sub_task_threads.rs"]
mod sub_task_threads;
#[path = "../sub_tasks.rs"]
mod sub_tasks;
#[path = "../subscription.rs"]
mod subscription;
#[path = "../supervision.rs"]
mod supervision;
#[path = "../threads.rs"]
mod threads;
#[path = "../timers.rs"]
mod timers;
