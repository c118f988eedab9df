//! The state index in a real Redis: what events leave there, with both forms of keys, delivered any number of times, in
//! any order and by any number of indexers.

#![allow(clippy::expect_used)] // A test that can not go on panics.

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod cluster;
mod faults;
mod keys;
mod load;
mod model;
mod quota;
mod retention;
mod scene;
mod several;
