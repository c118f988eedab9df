//! What can go wrong between the tracker and Redis.

use std::sync::Arc;

use redis::RedisError;

/// The kinds of errors, as metrics and decisions need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Redis can't be reached, or the connection broke.
    Unavailable,
    /// Redis is reachable and does not answer in time.
    Timeout,
    /// No connection of the pool became free in time.
    PoolExhausted,
    /// Redis is loading its data.
    Loading,
    /// User name, password or permissions.
    Denied,
    /// A sentinel refused user name or password.
    SentinelDenied,
    /// The sentinels know no master by this name.
    UnknownMaster,
    /// Server and client could not agree on TLS.
    Tls,
    /// A node of a cluster was taken for a single server, or a single server for a node.
    Topology,
    /// A replica, or a server that may not write.
    ReadOnly,
    /// A key holds another type than it should.
    WrongType,
    /// A part of the ledger was lost.
    Torn,
    /// A value can't be read as what it should be.
    Malformed,
    /// Anything else that the server refused.
    Refused,
}

impl ErrorKind {
    /// The name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::PoolExhausted => "pool_exhausted",
            Self::Loading => "loading",
            Self::Denied => "denied",
            Self::SentinelDenied => "sentinel_denied",
            Self::UnknownMaster => "unknown_master",
            Self::Tls => "tls",
            Self::Topology => "topology",
            Self::ReadOnly => "read_only",
            Self::WrongType => "wrong_type",
            Self::Torn => "torn",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
        }
    }

    /// Whether the server as a whole is of no use now, so that waiting is all that can be done.
    #[must_use]
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::PoolExhausted | Self::Loading | Self::ReadOnly
        )
    }

    /// Whether it is the fault of the server or of the way to it, so that no answer of a batch can be trusted to be
    /// complete.
    pub(crate) fn spoils_a_batch(self) -> bool {
        self.is_outage() || matches!(self, Self::Denied | Self::Topology)
    }

    /// What helps.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unavailable => {
                "check that Redis runs at this address (redis.host and redis.port, or redis.url), and whether it wants TLS"
            }
            Self::Timeout => "find out what keeps Redis busy, or raise redis.command_timeout",
            Self::PoolExhausted => "raise redis.pool_size",
            Self::Loading => "wait until Redis has loaded its data",
            Self::Denied => {
                "check redis.username and redis.password, or those in redis.url, and the user's ACL"
            }
            Self::SentinelDenied => "check redis.sentinel_username and redis.sentinel_password",
            Self::UnknownMaster => {
                "set redis.sentinel_master to the name in the line `sentinel monitor NAME …` of their configuration"
            }
            Self::Tls => {
                "set redis.ca_file to the certificate of the authority that signed the server's (without it the system's \
                 authorities count, of the package ca-certificates); the server's must name the host, and where it asks \
                 for ours, redis.cert_file and redis.key_file must be set"
            }
            Self::Topology => "name the nodes of a cluster in redis.cluster, a single server in redis.host",
            Self::ReadOnly => "point redis.host at the master",
            Self::WrongType => "delete or rename the key: another program uses its name",
            Self::Torn => "restore Redis, or delete the market's tracker keys: the ledger is then made anew",
            Self::Malformed => "find out which program wrote it",
            Self::Refused => "see the server's own message",
        }
    }
}

/// A step that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} on {object} failed ({}): {detail}; {}", kind.as_str(), kind.remedy())]
pub struct StoreError {
    /// What was being done.
    pub operation: &'static str,
    /// To what: a market, a key, a server.
    pub object: String,
    /// The kind of failure.
    pub kind: ErrorKind,
    /// What the server or the client said.
    pub detail: String,
}

impl StoreError {
    /// An error of this kind.
    pub fn new(
        operation: &'static str,
        object: impl Into<String>,
        kind: ErrorKind,
        detail: impl ToString,
    ) -> Self {
        Self { operation, object: object.into(), kind, detail: detail.to_string() }
    }

    /// What the server or the client said.
    pub fn redis(operation: &'static str, object: impl Into<String>, error: &RedisError) -> Self {
        Self::new(operation, object, kind_of(error), error)
    }
}

/// The kind of an error of the client library.
#[must_use]
pub fn kind_of(error: &RedisError) -> ErrorKind {
    use redis::{ErrorKind as Client, ServerErrorKind as Server};
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    if is_of_tls(error) {
        return ErrorKind::Tls;
    }
    match error.kind() {
        Client::Io => ErrorKind::Unavailable,
        Client::AuthenticationFailed | Client::Server(Server::NoPerm) => ErrorKind::Denied,
        Client::Server(Server::BusyLoading | Server::MasterDown | Server::TryAgain | Server::ClusterDown) => {
            ErrorKind::Loading
        }
        Client::Server(Server::ReadOnly) => ErrorKind::ReadOnly,
        Client::Server(Server::Moved | Server::Ask | Server::CrossSlot) => ErrorKind::Topology,
        Client::Parse | Client::UnexpectedReturnType => ErrorKind::Malformed,
        _ => match error.code() {
            // It runs somebody's script and answers nothing else.
            Some("BUSY") => ErrorKind::Timeout,
            Some("WRONGTYPE") => ErrorKind::WrongType,
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => ErrorKind::Denied,
            _ if error.is_connection_dropped() || error.is_io_error() => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        },
    }
}

/// Whether the two sides could not agree on TLS, or the system's authorities could not be read for it: the error of the library stands inside that of the socket.
fn is_of_tls(error: &RedisError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() || error.is::<rustls_native_certs::Error>() {
            return true;
        }
        // The client shares its causes, and an error of input and output wraps its own.
        let shared = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
        if let Some(shared) = shared {
            cause = Some(&**shared);
            continue;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or(error.source());
    }
    false
}
