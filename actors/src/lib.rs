//! The supervised actors of the state tracker, one file each, one folder a branch of the tree.
//!
//! An actor holds the when and the what-if: when it reads, what it does while Redis is away. What the numbers mean is
//! defined in `domain`; how they are read and written, in the stores.
//!
//! **Invariant:** an actor keeps no state that can't be derived again from Redis or the chain, and names no key of Redis.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

pub mod collector;
pub mod env;
pub mod operations;
pub mod tables;
pub mod tracker;
