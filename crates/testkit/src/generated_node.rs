//! A node of generated blocks over HTTP, for chains that a real node would mine too slowly. Its blocks are computed from
//! their numbers, so it has no start time and needs no memory. It may listen on one local port, in a thread of its own: a
//! measurement must not share its thread with the node. The thread ends when the node is dropped.
//!
//! It has one market. One block in [`GeneratedChain::every`] releases an epoch, the block after it completes the
//! submissions of the epoch before. Hashes depend on the number alone, so each header names its parent's.

mod blocks;
mod connection;
mod serving;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use blocks::GeneratedChain;
pub use connection::KeptConnection;

use crate::Contracts;
use crate::proxy::ProxyError;

/// What a node refuses, and how long it takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeLimits {
    /// The most blocks in one query for logs.
    pub blocks: Option<u64>,
    /// Whether it refuses batches.
    pub no_batches: bool,
    /// The most calls in a second; more are answered with 429.
    pub calls_per_second: Option<u64>,
    /// The time between a request and its answer, as over a network.
    pub latency: Duration,
}

/// The running node.
#[derive(Debug)]
pub struct GeneratedNode {
    addr: SocketAddr,
    shared: Arc<Shared>,
    all: CancellationToken,
}

/// What has arrived so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Requests; a batch is one.
    pub requests: u64,
    /// Headers that were asked for.
    pub headers: u64,
    /// Queries for logs.
    pub queries: u64,
    /// Requests that exceeded a limit of blocks or of calls in a batch.
    pub too_large: u64,
    /// Requests that exceeded the rate.
    pub too_fast: u64,
}

#[derive(Debug)]
struct Shared {
    chain: GeneratedChain,
    limits: NodeLimits,
    height: AtomicU64,
    started: Instant,
    /// The second of the last call, and the calls in it.
    second: std::sync::Mutex<(u64, u64)>,
    counts: [AtomicU64; 5],
}

/// The places of [`NodeCounts`].
#[derive(Clone, Copy)]
enum Count {
    Requests,
    Headers,
    Queries,
    TooLarge,
    TooFast,
}

impl GeneratedNode {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When no port is free, or no thread can be started.
    pub fn start(chain: GeneratedChain, limits: NodeLimits) -> Result<Self, ProxyError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |source| ProxyError::Listen { addr: any, source };
        let listener = std::net::TcpListener::bind(any).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let shared = Arc::new(Shared {
            height: AtomicU64::new(chain.height),
            chain,
            limits,
            started: Instant::now(),
            second: std::sync::Mutex::default(),
            counts: Default::default(),
        });
        let all = CancellationToken::new();
        let (serving, ended) = (Arc::clone(&shared), all.clone());
        let serve = move || runtime.block_on(ended.run_until_cancelled(serving::accept(listener, serving)));
        std::thread::Builder::new().name("node".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { addr, shared, all })
    }

    /// The address to connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The chain's contracts.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        self.shared.chain.contracts()
    }

    /// Adds blocks at the head.
    pub fn grow(&self, blocks: u64) {
        self.shared.height.fetch_add(blocks, Ordering::Release);
    }

    /// What has arrived so far.
    #[must_use]
    pub fn counts(&self) -> NodeCounts {
        let count = |count: Count| self.shared.counts[count as usize].load(Ordering::Relaxed);
        NodeCounts {
            requests: count(Count::Requests),
            headers: count(Count::Headers),
            queries: count(Count::Queries),
            too_large: count(Count::TooLarge),
            too_fast: count(Count::TooFast),
        }
    }
}

impl Drop for GeneratedNode {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

impl Shared {
    fn add(&self, count: Count, many: u64) {
        self.counts[count as usize].fetch_add(many, Ordering::Relaxed);
    }

    /// Whether these calls exceed the rate. Seconds are counted from the start of the node.
    fn is_too_fast(&self, calls: u64) -> bool {
        let Some(most) = self.limits.calls_per_second else { return false };
        let now = self.started.elapsed().as_secs();
        let mut second = self.second.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if second.0 != now {
            *second = (now, 0);
        }
        if second.1 + calls > most {
            return true;
        }
        second.1 += calls;
        false
    }
}
