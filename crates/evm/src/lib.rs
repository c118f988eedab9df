//! Blocks and events of an EVM chain, in order and complete, from nodes that fail, lag or answer wrongly.
//!
//! The crate opens connections to the configured nodes, and spawns tasks that end with its values. It returns the types of
//! [`domain::chain`].
//!
//! **Invariant:** this crate knows neither Redis nor actors, keeps no checkpoint, and sends no transaction. An answer of one node
//! is verified wherever a second request can disprove it.
//!
//! | module | purpose |
//! |---|---|
//! | [`config`] | nodes, contracts, limits |
//! | [`source`] | the head, the next block with its events, the fork after a reorganisation |
//! | [`range`] | old blocks, in chunks that fit the node |
//! | [`ahead`] | the same, read before they are asked for |
//! | [`views`] | the contracts' view functions, with their units |
//! | [`events`] | decodes logs to events |
//! | [`pool`] | the choice of a node: failover, retries, setting aside |
//! | [`counters`] | requests and faults by kind, for metrics |
//!
//! Promises:
//! - [`Source::next`] returns a block only as the child of the given one, with the events of that block hash.
//! - Only a node that does not lag decides whether a block is on the chain. A lagging node is no reorganisation.
//! - An empty answer for a block that may have events by its bloom filter is verified.
//! - Every call ends at its deadline (a `tokio` instant), with an error that names method, node (never
//!   the credentials in its URL) and block. Dropping a future cancels the call; nothing is left half done.
//!
//! ```text
//! let source = Source::new(&config)?;                         // one a process; cheap to clone
//! loop {
//!     match source.next(&checkpoint, deadline).await? {
//!         Next::Block { block, .. } => commit(block.at, block.events, block.bad_logs),
//!         Next::NotYet { head } => source.wait().await,       // poll interval, or a WebSocket's notification
//!         Next::Reorganised { tip } => {
//!             let fork = source.fork(&tip, &stored_hashes, max_depth, deadline).await?;
//!             undo_down_to(fork.ancestor);                    // TooDeep is an error, nothing was changed
//!         }
//!     }
//! }
//! let range = source.range(to);                               // for blocks far behind the head
//! match range.events(&checkpoint, deadline).await? {          // or `blocks`, with every header
//!     Step::Part(part) => commit(part.last, part.blocks),
//!     Step::Mismatch | Step::Done => continue_with_next(),
//! }
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

pub mod ahead;
pub mod config;
pub mod counters;
pub mod error;
pub mod events;
mod fault;
mod http;
mod json_rpc;
mod logs;
mod node;
pub mod pool;
pub mod range;
mod rate;
mod refusal;
mod request_size;
pub mod source;
mod start_block;
mod throttle;
pub mod views;
mod websocket;
mod wire;

pub use ahead::Ahead;
pub use config::{ChainConfig, Contracts, NodeUrl};
pub use counters::{Counters, FaultKind, LogFaultKind};
pub use error::{ChainError, NodeFault};
pub use events::{BadLog, Decoder};
pub use pool::{NodeStatus, Pool};
pub use range::{EventsPart, LoggedBlock, Range, Step};
pub use source::{Block, Fork, Next, Source};
pub use start_block::{BadStartBlock, StartBlock};
pub use views::{Moment, Views};
pub use wire::RawLog;
