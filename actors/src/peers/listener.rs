//! The listener of one port: accepts the connections of senders and leaves them to the connections' actors.
//!
//! It touches its port. Promises: a sender that may not connect is closed at once and counted; so is one that comes too often, or when all
//! actors are busy; it reads nothing and makes no handshake, so no sender holds it up.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use retry::{Attempts, table::HTTP_ACCEPT};
use supervision::{Context, Failure, Worker};
use tokio::net::TcpListener;

use super::{accepted::Accepted, counts::Closed, shared::Peers};

/// The actor.
pub struct PeerListener {
    peers: Peers,
    /// Bound once: the port stays open over restarts of this actor.
    listener: Arc<std::net::TcpListener>,
}

impl PeerListener {
    /// A listener of this port.
    #[must_use]
    pub fn new(peers: Peers, listener: Arc<std::net::TcpListener>) -> Self {
        Self { peers, listener }
    }

    fn take(&self, stream: tokio::net::TcpStream, from: SocketAddr, now: Instant) {
        let shared = &self.peers.0;
        let from = from.ip().to_canonical();
        let networks = &shared.settings.networks;
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(from)) {
            return shared.counts.closed(Closed::Network);
        }
        if shared.rates.take(from, now).is_err() {
            return shared.counts.closed(Closed::TooOften);
        }
        // Those that wait will be served by the actors that are free.
        let free = shared.settings.most_connections.saturating_sub(shared.open.len());
        if shared.waiting.push(Accepted::new(stream, from), free).is_err() {
            shared.counts.closed(Closed::TooMany);
        }
    }
}

impl Worker for PeerListener {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let listener = TcpListener::from_std(self.listener.try_clone()?)?;
        let mut attempts = Attempts::new(HTTP_ACCEPT);
        while let Some(accepted) = cx.idle(cx.stop_token().run_until_cancelled(listener.accept())).await {
            match accepted {
                Ok((stream, from)) => {
                    attempts.succeeded();
                    self.take(stream, from, cx.clock().now());
                }
                // Such as no free file descriptor: an immediate retry would spin.
                Err(_) => cx.pause(cx.clock().sleep(attempts.failed())).await,
            }
        }
        Ok(())
    }
}
