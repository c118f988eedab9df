//! The supervised actors of the state tracker: one file for each actor, one folder for each branch of the tree.
//!
//! An actor decides when to read and what to do while Redis or a node is away. `domain` defines what the numbers mean; the
//! stores define how they are read and written.
//!
//! **Invariant:** an actor keeps only state that it can derive again from Redis or the chain, and it names no Redis key.

#![warn(clippy::print_stdout, clippy::print_stderr)] // Both macros panic when the pipe is closed.

pub mod alerts;
pub mod campaigns;
pub mod collector;
pub mod env;
pub mod operations;
pub mod peers;
pub mod tables;
pub mod tracker;
