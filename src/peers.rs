//! The read-only HTTP of connected peers: who is connected now, and what was measured, on the two ports that existing dashboards know.
//!
//! It reads the newest pictures, which it never waits for, and the file of the history in threads that may wait. It changes nothing.
//! Both ports serve every path; only `/api/stats` tells of proxies on one and of pools on the other.

mod answers;
mod handlers;
mod lists;
mod made;
mod page;
mod reader;
mod routes;
mod worker;

pub use routes::{ENDPOINTS, PeerEndpoint};
pub use worker::{PeerApi, PeerApiWorker};

use std::sync::Arc;

use actors::peers::Peers;

/// Which senders a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Translator proxies.
    Proxy,
    /// Pools.
    Pool,
}

/// The state of the handlers.
#[derive(Clone)]
struct PeerPort {
    peers: Peers,
    readers: reader::Readers,
    side: Side,
    made: Arc<MadeLists>,
}

/// The lists that are written once for each state of the pictures.
#[derive(Default)]
struct MadeLists {
    miners: made::Made,
    services: made::Made,
    connections: made::Made,
}
