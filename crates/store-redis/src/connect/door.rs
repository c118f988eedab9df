//! How a server is entered, whatever its address: user, password, database, TLS, timeouts.

use std::time::Duration;

use errors::Operation;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ProtocolVersion, RedisError, RedisResult,
    TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use crate::{
    error::{ErrorKind, StoreError, kind_of},
    events::EventQueue,
};

/// What went wrong on the way to a server.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub(crate) struct Trouble {
    kind: ErrorKind,
    /// What this program says of it.
    context: String,
    #[source]
    cause: Option<RedisError>,
}

impl From<RedisError> for Trouble {
    fn from(cause: RedisError) -> Self {
        Self { kind: kind_of(&cause), context: String::new(), cause: Some(cause) }
    }
}

impl Trouble {
    /// What this program concluded.
    pub(super) fn known(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), cause: None }
    }

    /// The same of another kind.
    pub(super) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// What the client or a server said, with the server's name.
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

/// How connections are made.
#[derive(Clone)]
pub(super) struct Door {
    client: Client,
    config: AsyncConnectionConfig,
}

impl Door {
    pub(super) fn new(
        server: &ConnectionInfo,
        certificates: Option<&TlsCertificates>,
        connect_timeout: Duration,
        command_timeout: Duration,
    ) -> RedisResult<Self> {
        let login = server.redis_settings().clone().set_lib_name("state-tracker", env!("CARGO_PKG_VERSION"));
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = server.clone().set_tcp_settings(tcp).set_redis_settings(login);
        let client = match (info.addr(), certificates) {
            (ConnectionAddr::TcpTls { .. }, Some(certificates)) => {
                Client::build_with_tls(info, certificates.clone())?
            }
            _ => Client::open(info)?,
        };
        if matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { .. }) {
            // Fails when there is one already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(Some(command_timeout));
        Ok(Self { client, config })
    }

    /// What makes and checks connections through this door, for a pool.
    pub(super) fn manager(&self) -> RedisResult<deadpool_redis::Manager> {
        deadpool_redis::Manager::new_with_config(
            self.client.get_connection_info().clone(),
            self.config.clone(),
        )
    }

    /// The same door at another address.
    pub(super) fn at(&self, host: &str, port: u16) -> RedisResult<Self> {
        let info = self.client.get_connection_info();
        let address = match info.addr() {
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

    /// Host and port, where there are such.
    pub(super) fn address(&self) -> Option<(&str, u16)> {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some((host, *port))
            }
            _ => None,
        }
    }

    pub(super) fn shown(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// A connection that puts every event into the queue. It speaks RESP3, as every server from version 6 on does, since
    /// of the client library's ways to hear events only that one lets us bound what waits.
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

/// Asks for a sign of life.
pub(super) async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}
