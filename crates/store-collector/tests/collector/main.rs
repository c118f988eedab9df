//! The collector's store in a real Redis: what accepted blocks, reorganisations and hand-overs leave there, that each
//! is written once and as a whole, and how faults are handled.

#![allow(clippy::expect_used, clippy::panic, unreachable_pub)] // A test that can not go on panics.

mod common;

mod answers;
mod clean;
mod compared;
mod histories;
mod inputs;
mod keys;
mod load;
mod migration;
mod refused;
mod rewards;
mod scene;
mod spoilt;
mod union;
