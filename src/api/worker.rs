//! The running read API: its port, and the worker of the tree that serves it.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
};

use domain::chain::ContractAddress;
use http_server::{Access, Audit, Guard, Limits, Role, Tokens, guarded, serve_http};
use ports::Tls;
use supervision::{Context, Failure, Worker};
use tokio::{net::TcpListener, sync::Semaphore};

use super::{Api, ApiParts, json, outcome, routes};
use crate::http::{BindError, Server};

/// The bound port of the read API. Clones share it.
#[derive(Clone)]
pub struct ReadApi {
    /// Kept here, so that a worker that is started again serves the same port.
    listener: Arc<std::net::TcpListener>,
    address: SocketAddr,
    api: Api,
    guard: Arc<Guard>,
    tokens: Tokens,
    tls: Option<Tls>,
    limits: Limits,
}

/// What a port serves, and to whom.
pub struct ApiSecurity {
    /// The tokens of clients, one a line.
    pub tokens: String,
    /// The certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// The requests a second of one client address.
    pub per_second: u32,
}

impl ReadApi {
    /// Listens on this address. Port 0 means any free port.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(
        address: SocketAddr,
        parts: ApiParts,
        markets: Vec<ContractAddress>,
        security: ApiSecurity,
        audit: Audit,
    ) -> Result<Self, BindError> {
        let (listener, address) = Server::Api.listen(address)?;
        let tokens = Tokens::default();
        tokens.replace_foreign(Role::Read, &security.tokens);
        let limits = Limits { per_second: security.per_second, ..Limits::of_process(3) };
        let guard = Guard::new(limits, routes::access())
            .tokens(tokens.clone())
            .otherwise(Access::Public)
            .serve_pages()
            .shape(outcome::shape)
            .audit(audit);
        let unread = Arc::new(Semaphore::new(json::MOST_UNREAD));
        let large = Arc::new(Semaphore::new(json::MOST_LARGE));
        let api = Api { parts, markets: Arc::new(markets.into()), large, unread };
        let (listener, guard) = (Arc::new(listener), Arc::new(guard));
        Ok(Self { listener, address, api, guard, tokens, tls: security.tls, limits })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves these markets from now on.
    pub fn replace_markets(&self, markets: Vec<ContractAddress>) {
        *self.api.markets.write().unwrap_or_else(PoisonError::into_inner) = markets;
    }

    /// Serves those who bring one of these tokens, one a line, from now on; without any nobody.
    pub fn replace_tokens(&self, tokens: &str) {
        self.tokens.replace_foreign(Role::Read, tokens);
    }

    /// Its certificate, if it has one.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// The worker that serves the port.
pub struct ReadApiWorker(ReadApi);

impl ReadApiWorker {
    /// A worker of this port.
    #[must_use]
    pub fn new(api: ReadApi) -> Self {
        Self(api)
    }
}

impl Worker for ReadApiWorker {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let Self(ReadApi { listener, api, guard, tls, limits, .. }) = self;
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        let router = guarded(routes::router(api.clone()), guard.clone());
        let served = serve_http(listener, router, *limits, tls.clone(), cx.stop_token());
        // It waits for clients: to have none is no stall.
        cx.idle(served).await;
        Ok(())
    }
}
