//! Connects to a server: address, user, password, database, TLS, timeouts; and the errors on the way.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use errors::{Operation, rounded};
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisError, RedisResult};

use super::{
    connection::{Connection, in_time},
    limit::{ANSWER_BYTES, AnswerLimit},
    receiver::Receiver,
    settings::RedisSettings,
    stream::{Identity, Stream, open},
};
use crate::{answers::kind_of, error::StoreError, events::EventQueue, kind::ErrorKind};

/// What is said of a server that accepts connections and answers no TLS.
const UNANSWERED_HANDSHAKE: &str =
    "the server accepted the connection and did not answer the start of TLS: it may have none";

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
    server: ConnectionInfo,
    identity: Identity,
    config: AsyncConnectionConfig,
    connect_timeout: Duration,
}

impl Connector {
    pub(super) fn new(server: &ConnectionInfo, settings: &RedisSettings) -> RedisResult<Self> {
        // CLIENT LIST shows the name, so that operators can tell whose connections they see.
        let login = server.redis_settings().clone().set_lib_name("state-tracker", env!("CARGO_PKG_VERSION"));
        let server = server.clone().set_redis_settings(login);
        let mut identity = Identity::default();
        if matches!(server.addr(), ConnectionAddr::TcpTls { .. }) {
            // The TLS library takes the process's default provider, and panics without one. An error means that one is
            // installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            if let Some(certificates) = &settings.certificates {
                identity = Identity::new(certificates)?;
            }
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(settings.command_timeout));
        Ok(Self { server, identity, config, connect_timeout: settings.connect_timeout })
    }

    /// The same connector at another address.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let address = match self.server.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        Self { server: self.server.clone().set_addr(address), ..self.clone() }
    }

    /// Host and port; `None` for a Unix socket.
    pub(super) fn host_and_port(&self) -> Option<(&str, u16)> {
        match self.server.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some((host, *port))
            }
            _ => None,
        }
    }

    /// The address without credentials.
    pub(super) fn address(&self) -> String {
        self.server.addr().to_string()
    }

    /// A connection that puts every event into the queue.
    pub(super) async fn listen(&self, queue: EventQueue) -> RedisResult<Receiver> {
        self.over(|stream| Receiver::over(stream, self.server.redis_settings(), queue)).await
    }

    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        let limit = AnswerLimit::new(ANSWER_BYTES);
        let (login, config) = (self.server.redis_settings(), self.config.clone());
        self.over(|stream| Connection::over(stream, login, config, limit)).await
    }

    /// Opens a stream and logs in over it, in time.
    async fn over<T, F>(&self, log_in: impl FnOnce(Box<dyn Stream>) -> F) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let in_handshake = AtomicBool::new(false);
        let connecting = async {
            let stream = open(self.server.addr(), &self.identity, &in_handshake).await?;
            log_in(stream).await
        };
        in_time(self.connect_timeout, connecting, || match in_handshake.load(Relaxed) {
            // Not a slow server: one without TLS waits for the rest of what it takes for a command.
            true => UNANSWERED_HANDSHAKE.to_owned(),
            false => format!("no connection was made within {}", rounded(self.connect_timeout)),
        })
        .await
    }
}

/// Pings a server over this connection.
pub(super) async fn ping(connection: &mut Connection) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}
