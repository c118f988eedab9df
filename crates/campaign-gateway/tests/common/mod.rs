//! What the tests of the gateway share: a log in memory, tokens, a gateway that is started and killed, official clients.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod log;
pub mod official;
pub mod world;
