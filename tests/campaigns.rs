//! Campaigns: the whole service with PostgreSQL, Redis, and clients of the official library.

#![allow(clippy::expect_used, clippy::panic)] // A test that can not go on panics.

mod common;

#[path = "campaigns/apart.rs"]
mod apart;
#[path = "campaigns/crashes.rs"]
mod crashes;
#[path = "campaigns/examples.rs"]
mod examples;
#[path = "campaigns/flow.rs"]
mod flow;
#[path = "campaigns/harmed.rs"]
mod harmed;
#[path = "campaigns/history.rs"]
mod history;
#[path = "campaigns/migrated.rs"]
mod migrated;
#[path = "campaigns/official.rs"]
mod official;
#[path = "campaigns/operators.rs"]
mod operators;
#[path = "campaigns/scene.rs"]
mod scene;
