//! What every HTTP port of the product shares. TLS and rates are those of every port (`ports`).
//!
//! **Invariant:** it knows no path, setting or file, and no handler sees a request that the guard refuses.
//!
//! Promises:
//! - a client can hold no more than its share: connections, heads, bodies, times and rates have limits, and a connection beyond the
//!   limit closes the oldest one, so that a port always answers;
//! - with tokens, only who presents one of the needed role is served. Tokens and certificates can be replaced while it runs;
//! - a page of another site can't use a browser to reach a port that checks `Host` and `Origin`;
//! - every answer has a request id, every error of a port has one shape, and each action of an operator, or refusal, is in the audit log.

mod accept;
mod audit;
mod body;
mod client;
mod cors;
mod error;
mod guard;
mod http;
mod limits;
mod origin;
mod tokens;

pub use accept::accept;
pub use audit::{Audit, Entry};
pub use client::{ConnectError, connect};
pub use error::{ApiError, Shape};
pub use guard::{Access, Caller, Guard, RequestId, guarded};
pub use http::{Peer, serve_http};
pub use limits::Limits;
pub use tokens::{BadTokens, Role, SHORTEST, Tokens, tokens_of};
