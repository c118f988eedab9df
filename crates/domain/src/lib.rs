//! What the numbers mean: pure types and rules, a module for each subsystem.
//!
//! [`tracker`] holds the rules of epochs, their ledger and the datasets; [`collector`] holds the rules of following a
//! chain and of preparing batches; [`peers`] holds the rules of connected peers and their history; [`campaigns`]
//! holds the rules of campaigns and their status; [`chain`], [`Address`], [`EpochId`] and [`Number`] are the words that they share.
//!
//! **Invariant:** no I/O, and no clock: the time always comes in as an argument, in Unix seconds. No setting, no key of
//! Redis and no metric is named here, and nothing of the workspace is imported. To change a number, change it here.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod address;
pub mod campaigns;
pub mod chain;
pub mod collector;
mod epoch;
mod number;
pub mod peers;
mod table;
pub mod tracker;

pub use address::Address;
pub use epoch::{BadEpoch, EpochId};
pub use number::{Number, parse_seconds};
