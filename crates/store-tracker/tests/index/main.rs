//! The state index in a real Redis: what events leave there, in both forms of its keys, however often, in whatever
//! order and by however many they are delivered.

#![allow(clippy::expect_used)] // A test that can not go on panics.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod keys;
mod load;
mod model;
mod retention;
mod scene;
mod several;
