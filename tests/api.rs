//! The read API over real HTTP, with a real Redis and a real node: the bytes of every answer, every refusal, and what happens while
//! servers are away. What readers of the original expect is spelled out here a second time.

#![allow(clippy::expect_used)] // A test that can not go on panics.

#[path = "api/answers.rs"]
mod answers;
#[path = "api/client.rs"]
mod client;
mod common;
#[path = "api/description.rs"]
mod description;
#[path = "api/limits.rs"]
mod limits;
#[path = "api/nodes.rs"]
mod nodes;
#[path = "api/refusals.rs"]
mod refusals;
#[path = "api/rotation.rs"]
mod rotation;
#[path = "api/strict.rs"]
mod strict;
