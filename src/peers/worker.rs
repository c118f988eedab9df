//! A bound port for readers, and the worker of the tree that serves it.

use std::{net::SocketAddr, sync::Arc};

use actors::peers::Peers;
use http_server::{Access, Audit, Guard, Limits, guarded, serve_http};
use supervision::{Context, Failure, Worker};
use tokio::net::TcpListener;

use super::{PeerPort, Side, answers, reader::Readers, routes};
use crate::http::{BindError, Server};

/// The bound port. Clones share it.
#[derive(Clone)]
pub struct PeerApi {
    /// Kept here, so that a worker that is started again serves the same port.
    listener: Arc<std::net::TcpListener>,
    address: SocketAddr,
    port: PeerPort,
    guard: Arc<Guard>,
    limits: Limits,
}

impl PeerApi {
    /// Listens on this address. Port 0 means any free port.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(
        address: SocketAddr,
        peers: Peers,
        side: Side,
        per_second: u32,
        audit: Audit,
    ) -> Result<Self, BindError> {
        let (listener, address) = Server::Peers.listen(address)?;
        let limits = Limits { per_second, ..Limits::of_process(5) };
        // Public, and without secrets: pages of every site may show it, as they do with the former service.
        let guard = Guard::new(limits, routes::access())
            .otherwise(Access::Public)
            .serve_pages()
            .shape(answers::shape)
            .audit(audit);
        let readers = Readers::new(peers.settings().history.clone());
        let port = PeerPort { peers, readers, side, made: Arc::default() };
        Ok(Self { listener: Arc::new(listener), address, port, guard: Arc::new(guard), limits })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The worker that serves the port.
pub struct PeerApiWorker(PeerApi);

impl PeerApiWorker {
    /// A worker of this port.
    #[must_use]
    pub fn new(api: PeerApi) -> Self {
        Self(api)
    }
}

impl Worker for PeerApiWorker {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let Self(PeerApi { listener, port, guard, limits, .. }) = self;
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        let router = guarded(routes::router(port.clone()), guard.clone());
        // It waits for clients: to have none is no stall.
        cx.idle(serve_http(listener, router, *limits, None, cx.stop_token())).await;
        Ok(())
    }
}
