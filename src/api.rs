//! The read API: what the collector and other programs have written about the submissions of the markets, as JSON over HTTP, in the
//! forms that the readers of the original know. [`ENDPOINTS`] lists the paths, docs/read-api.md describes them.
//!
//! It reads Redis over connections of its own, so that its clients hold up no actor, and asks the contract for what Redis lacks. It
//! writes nothing. Without a token it is off; without nodes it answers from Redis alone.
//!
//! Limits, the token, TLS and the audit log are those of the crate `http-server`.

mod answers;
mod chain;
mod description;
mod handlers;
mod hashes;
mod json;
mod outcome;
mod page;
mod requests;
mod routes;
mod submission;
mod worker;

pub use chain::NodePool;
pub use routes::{ApiEndpoint, ENDPOINTS};
pub use worker::{ApiSecurity, ReadApi, ReadApiWorker};

use std::sync::Arc;

use domain::chain::ContractAddress;
use store_collector::Reader;
use store_redis::{Session, Store};
use tokio::sync::Semaphore;

use actors::env::Services;
use outcome::Refusal;

/// What the read API works with.
#[derive(Clone)]
pub struct ApiParts {
    /// Connections to Redis of its own.
    pub store: Store,
    /// Where errors are counted and logged.
    pub services: Services,
    /// The keys.
    pub reader: Reader,
    /// The nodes of the collector, if it runs.
    pub nodes: NodePool,
    /// The host that the description names; empty for the one that serves it.
    pub public_host: String,
}

/// The state of the handlers.
#[derive(Clone)]
struct Api {
    parts: ApiParts,
    markets: Markets,
    /// Places for large answers: so many are made, or wait for room, at once. Small ones need none.
    large: Arc<Semaphore>,
    /// KiB of large answers that clients have not read yet.
    unread: Arc<Semaphore>,
}

/// The markets that may be asked for; a reload replaces them.
type Markets = Arc<std::sync::RwLock<Vec<ContractAddress>>>;

impl Api {
    /// A market by its address in any spelling.
    fn market(&self, address: &str) -> Result<ContractAddress, Refusal> {
        let known = self.markets.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let asked = address.parse().ok().filter(|market| known.contains(market));
        asked.ok_or_else(|| Refusal::bad("Invalid Data Market Address!"))
    }

    async fn session(&self) -> Result<Session, Refusal> {
        Ok(self.parts.store.session(store_collector::operations::READ_API).await?)
    }
}
