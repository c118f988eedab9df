//! The server's side of Socket.IO: version 5 of its protocol over version 4 of Engine.IO, as the official clients of version 4 speak it.
//!
//! It is small on purpose: one namespace, texts only, and no state that is not in the application's hands. What it has beyond that is what
//! a feed to many clients needs:
//! - a message is encoded once, and all clients that get it share its bytes, over WebSocket and polling alike;
//! - a client that is silent costs a few kilobytes: one small task, no buffer, no timer of its own;
//! - what waits for a client is bounded: where it is slow, states that newer ones replace are dropped, else its connection ends;
//! - the connection-state recovery of the protocol: the application gives each client a secret and each event its offset, and official
//!   clients present both when they come back.
//!
//! `docs/socket-io-recovery.md` says why no library was taken.
//!
//! **Invariant:** it knows no campaign and no token, believes nothing that a client sends, and holds no memory without a limit for any
//! client or address.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

mod application;
mod connection;
mod counts;
mod ending;
pub mod frame;
mod http;
mod id;
mod message;
mod outbox;
pub mod packet;
mod polling;
mod probe;
mod serve;
mod server;
mod settings;
mod stream;
mod websocket;

pub use application::{Application, ConnectRequest, Event, Pages, Peer, Refusal};
pub use connection::Connection;
pub use counts::{Counts, Full};
pub use ending::Ending;
pub use hyper::{HeaderMap, Method, Response, StatusCode, body::Bytes, header, http::request::Parts};
pub use id::secret;
pub use message::{Message, Replaces};
pub use outbox::{Bounds, Pushed};
pub use serve::serve;
pub use server::Server;
pub use settings::{Origins, Settings};
