//! The log of campaign events on real servers.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod appended;
mod common;
mod kept;
