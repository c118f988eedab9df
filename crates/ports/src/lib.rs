//! What every TCP port of the product shares, whatever is spoken there.
//!
//! **Invariant:** it knows no path, setting or file, speaks no protocol above TLS, and starts no task.
//!
//! Promises:
//! - certificate, key and trusted authorities of a port are replaced as a whole or not at all, for connections from now on;
//! - a handshake that fails has a reason that can be counted, and nothing of the client is in it;
//! - an address that comes too often is refused and disturbs no other; the number of known addresses has a limit;
//! - a connection that is silent holds no buffer, and where its caller wants that ([`limit_received`]), the system holds little of one.

mod handshake;
mod rate;
mod read;
mod received;
mod tls;

pub use handshake::{HandshakeError, client_name};
pub use rate::{Bucket, Rates};
pub use read::read_some;
pub use received::limit_received;
pub use tls::{BadCertificate, Pem, Tls, chain, expires};
