//! Blocks and events of an EVM chain, in order and complete, from nodes that fail, lag and lie.
//!
//! May open connections to the configured nodes, and spawn tasks that end with its values. Touches neither Redis
//! nor actors: what it reads it hands over as [`domain::chain`]'s types. It keeps no checkpoint.
//!
//! **Invariant:** it knows neither Redis nor actors, keeps no checkpoint, and sends no transaction. Nothing that one node
//! says is believed where a second look can disprove it.
//!
//! | module | what for |
//! |---|---|
//! | [`config`] | nodes, contracts, limits |
//! | [`source`] | the head, the next block with its events, the fork after a reorganisation |
//! | [`range`] | old blocks, in chunks that fit the node |
//! | [`views`] | the contracts' views, with their units |
//! | [`events`] | logs to events |
//! | [`pool`] | which node is asked: failover, retries, setting aside |
//! | [`counters`] | what went wrong, by kind, for metrics |
//!
//! What it promises:
//! - A block is handed over only as the child of the one that was given, with the events of that very block hash.
//! - Whether a block lies on the chain is said by a node that does not lag. A lagging node is no reorganisation.
//! - An empty answer for a block that may have events (its bloom filter says so) is verified.
//! - Every call ends at the deadline it was given (a `tokio` instant), with an error that names method, node (never
//!   the credentials in its URL) and block. Dropping a future cancels it, nothing stays half done.
//!
//! ```text
//! let source = Source::new(&config)?;                         // one a process; cheap to clone
//! loop {
//!     match source.next(&checkpoint, deadline).await? {
//!         Next::Block { block, .. } => commit(block.at, block.events, block.bad_logs),
//!         Next::NotYet { head } => source.wait().await,       // poll interval, or a WebSocket's word
//!         Next::Reorganised { tip } => {
//!             let fork = source.fork(&tip, &stored_hashes, max_depth, deadline).await?;
//!             undo_down_to(fork.ancestor);                    // TooDeep is an error, nothing was changed
//!         }
//!     }
//! }
//! let mut range = source.range(to);                           // for what lies far behind the head
//! match range.events(&checkpoint, deadline).await? {          // or `blocks`, with every header
//!     Step::Part(part) => commit(part.last, part.blocks),
//!     Step::Mismatch | Step::Done => go_on_with_next(),
//! }
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod chunk;
pub mod config;
pub mod counters;
pub mod error;
pub mod events;
mod http;
mod json_rpc;
mod logs;
mod node;
pub mod pool;
pub mod range;
pub mod source;
mod start_block;
pub mod views;
mod websocket;
mod wire;

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
