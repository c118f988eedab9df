//! Connects to a server: address, user, password, database, TLS, timeouts; and the errors on the way.

use std::time::Duration;

use errors::Operation;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ProtocolVersion, RedisError, RedisResult,
    TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use crate::{answers::kind_of, error::StoreError, events::EventQueue, kind::ErrorKind};

/// Why a server can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub(crate) struct ConnectError {
    kind: ErrorKind,
    /// This program's own words; may be empty.
    context: String,
    #[source]
    cause: Option<RedisError>,
}

impl From<RedisError> for ConnectError {
    fn from(cause: RedisError) -> Self {
        Self { kind: kind_of(&cause), context: String::new(), cause: Some(cause) }
    }
}

impl ConnectError {
    /// An error without a cause.
    pub(super) fn known(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), cause: None }
    }

    /// The same error with another kind.
    pub(super) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// An error of the client or of a server, with the server's name.
    pub(super) fn at(server: impl Into<String>, cause: RedisError) -> Self {
        Self { context: server.into(), ..Self::from(cause) }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(super) fn into_error(self, operation: Operation, object: impl Into<String>) -> StoreError {
        let Self { kind, context, cause } = self;
        match cause {
            None => StoreError::new(operation, object, kind, context),
            Some(cause) if context.is_empty() => StoreError::caused(operation, object, kind, cause),
            Some(cause) => StoreError::caused(operation, object, kind, cause).with_context(context),
        }
    }
}

/// Makes connections to one address.
#[derive(Clone)]
pub(super) struct Connector {
    client: Client,
    config: AsyncConnectionConfig,
}

impl Connector {
    pub(super) fn new(
        server: &ConnectionInfo,
        certificates: Option<&TlsCertificates>,
        connect_timeout: Duration,
        command_timeout: Duration,
    ) -> RedisResult<Self> {
        // CLIENT LIST shows the name, so that operators can tell whose connections they see.
        let login = server.redis_settings().clone().set_lib_name("state-tracker", env!("CARGO_PKG_VERSION"));
        // Nagle's algorithm would hold back a batch until the previous one is acknowledged.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = server.clone().set_tcp_settings(tcp).set_redis_settings(login);
        let client = match (info.addr(), certificates) {
            (ConnectionAddr::TcpTls { .. }, Some(certificates)) => {
                Client::build_with_tls(info, certificates.clone())?
            }
            _ => Client::open(info)?,
        };
        if matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { .. }) {
            // The client library takes the process's default provider, and panics without one. An error means that one is
            // installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(Some(command_timeout));
        Ok(Self { client, config })
    }

    /// A manager for the pool, which makes and checks connections with these settings.
    pub(super) fn manager(&self) -> RedisResult<deadpool_redis::Manager> {
        deadpool_redis::Manager::new_with_config(
            self.client.get_connection_info().clone(),
            self.config.clone(),
        )
    }

    /// The same connector at another address.
    pub(super) fn at(&self, host: &str, port: u16) -> RedisResult<Self> {
        let info = self.client.get_connection_info();
        let address = match info.addr() {
            // The TLS parameters hold the configured certificates.
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        Ok(Self { client: Client::open(info.clone().set_addr(address))?, config: self.config.clone() })
    }

    /// Host and port; `None` for a Unix socket.
    pub(super) fn host_and_port(&self) -> Option<(&str, u16)> {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some((host, *port))
            }
            _ => None,
        }
    }

    /// The address without credentials.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// A connection that puts every event into the queue. It speaks RESP3, as every server from version 6 on does: of the client
    /// library's ways to receive events, only that of RESP3 lets us bound the events that wait.
    pub(super) async fn listen(&self, queue: EventQueue) -> RedisResult<MultiplexedConnection> {
        let info = self.client.get_connection_info().clone();
        let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(login))?;
        let config = self.config.clone().set_push_sender(queue);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.client.get_multiplexed_async_connection_with_config(&self.config).await
    }
}

/// Pings a server over this connection.
pub(super) async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}
