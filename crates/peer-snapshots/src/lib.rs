//! Pictures of connected peers, as lines of JSON over TCP: for mining pools and translator proxies that send them, and for
//! the service that receives them.
//!
//! A sender tells who is connected, as a whole, every few seconds. [`Message`] has every message, in both generations of
//! the format; [`read()`] tells them apart by their required fields, and its error names the field. [`Framer`] finds the
//! lines in the bytes of a connection, and [`ReadAhead`] reads what has come of a long one. [`polled`] has the answers of
//! applications that are asked by HTTP instead. [`readers`] has the answers that dashboards expect. With the feature `sender`, `Sender` keeps the newest pictures and sends them; with
//! `tls` it speaks TLS, and may show a certificate (`ClientTls`).
//!
//! **Invariant:** reading keeps no more than one line and what it says, believes no number that it has not checked, and no error
//! contains text of the sender. The sender never blocks its host, never queues a picture, and needs no runtime.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod ahead;
mod framer;
mod message;
pub mod polled;
mod read;
pub mod readers;
mod repeated;
#[cfg(feature = "sender")]
mod sender;
mod shape;
mod trail;
mod unreadable;
mod wire;

pub use ahead::{Entries, ReadAhead};
pub use framer::{ENDLESS, Endless, Frame, Framer, MAX_LINE};
pub use message::{
    BalanceUpdate, ConnectionInfo, ConnectionSnapshot, ConnectionType, DownstreamMetrics, Heartbeat, Message,
    MessageKind, MeteredService, Metrics, MinerInfo, MinerSnapshot, PoolProxy, PoolStatus, ProxyMiner,
    ProxyStatus, QuoteCreated, Retired, Service, ServiceType, Tagging, UpstreamPool,
};
pub use read::read;
#[cfg(feature = "tls")]
pub use sender::{BadTls, ClientTls};
#[cfg(feature = "sender")]
pub use sender::{Destination, Secret, Sender, SenderCounts};
pub use unreadable::{Reason, Unreadable};
pub use wire::{Known, LARGEST_RATE, LONGEST_TEXT};
