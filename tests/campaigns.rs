//! Campaigns: the whole service with PostgreSQL, Redis, and clients of the official library.

#![allow(clippy::expect_used, clippy::panic)] // A test that can not go on panics.

mod common;

#[path = "campaigns/apart.rs"]
mod apart;
#[path = "campaigns/crashes.rs"]
mod crashes;
#[path = "campaigns/flow.rs"]
mod flow;
#[path = "campaigns/migrated.rs"]
mod migrated;
#[path = "campaigns/official.rs"]
mod official;
#[path = "campaigns/scene.rs"]
mod scene;
