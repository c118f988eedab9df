//! Connected peers: pools, proxies and job declarators that push pictures of who is connected, and applications that are polled.
//!
//! ```text
//! a port → listener → accepted connections → a connection's actor → state → pictures, for readers
//! an application ← one worker a polled source ────────────────→          └→ history → the file
//! ```
//!
//! Each connection is served by one actor, which takes the next one when it ends; there are as many as connections are allowed. What a
//! sender does costs its own connection at most. The state alone changes pictures: it makes new ones and swaps them in, so readers
//! never wait. What is measured waits in memory for the history, which writes it every second.
//!
//! The actors touch the sockets of senders, the ports of applications and the file of the history. They know no Redis.

mod accepted;
mod connection;
mod content;
mod counts;
mod history;
mod listener;
mod measuring;
pub(crate) mod metrics;
mod naming;
mod open;
mod pending;
pub(crate) mod points;
mod poll;
mod shared;
mod state;
mod sums;

pub use connection::Connection;
pub use content::{Content, Told};
pub use counts::{Closed, LineFault};
pub use history::HistoryWriter;
pub use listener::PeerListener;
pub use metrics::PeerMetrics;
pub use naming::{Naming, Network, is_source_name};
pub use poll::{PeerPoll, PolledSource};
pub use shared::{Peers, PeersSettings};
pub use state::{Arrived, PeerState};
