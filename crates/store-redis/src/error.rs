//! The errors of Redis and of the connections to it, sorted by kind.

use std::{error::Error, fmt, sync::Arc};

use errors::{Operation, sanitise};
use redis::RedisError;

errors::kinds! {
    /// The kinds of errors, as metrics and decisions distinguish them.
    pub enum ErrorKind;
    Unavailable: "unavailable", "Redis cannot be reached, or the connection broke";
    Timeout: "timeout", "An answer, or the end of a step, did not come in time";
    PoolExhausted: "pool_exhausted", "No connection of the pool became free in time";
    Loading: "loading", "Redis is loading its data, or a cluster is not complete";
    Denied: "denied", "Redis refused the user name, the password, or a command or key that the user may not use";
    SentinelDenied: "sentinel_denied", "A sentinel refused the user name or the password";
    UnknownMaster: "unknown_master", "The sentinels know no master by this name";
    Tls: "tls", "Server and client could not agree on TLS";
    Topology: "topology", "A node of a cluster was used as a single server, or a single server as a node";
    ReadOnly: "read_only", "The server is a replica, or takes no writes";
    WrongType: "wrong_type", "A key is of another type than it must be";
    Torn: "torn", "A part of a ledger is missing while the rest is there";
    Foreign: "foreign", "The data belongs to another version of this program, or to another chain or contract";
    Malformed: "malformed", "A value cannot be read as what it must be";
    Refused: "refused", "Redis refused for another reason, which its message gives";
}

impl ErrorKind {
    /// Whether the server as a whole is unavailable, so that the caller can only wait.
    #[must_use]
    pub fn is_outage(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::PoolExhausted | Self::Loading | Self::ReadOnly
        )
    }

    /// Whether the error concerns the server, its connection or the user's rights, so that other answers of the batch may be
    /// incomplete too.
    pub(crate) fn invalidates_batch(self) -> bool {
        self.is_outage() || matches!(self, Self::Denied | Self::Topology)
    }
}

/// A failed operation. Shown as `operation: object: kind: cause`, with at most 200 characters of text from outside; the cause
/// itself is the source.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// The operation that failed.
    pub operation: Operation,
    /// Its object: a market, a key, a server.
    pub object: String,
    /// The kind of failure.
    pub kind: ErrorKind,
    /// This program's own words; may be empty if there is a cause.
    context: String,
    // Shared, so that the error can be cloned: causes can't.
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a cause.
    pub fn new(
        operation: Operation,
        object: impl Into<String>,
        kind: ErrorKind,
        detail: impl fmt::Display,
    ) -> Self {
        Self { operation, object: object.into(), kind, context: sanitise(detail), cause: None }
    }

    /// An error of the client library or of the server.
    pub fn redis(operation: Operation, object: impl Into<String>, error: &RedisError) -> Self {
        Self::caused(operation, object, kind_of(error), error.clone())
    }

    /// An error with any other cause.
    pub fn caused(
        operation: Operation,
        object: impl Into<String>,
        kind: ErrorKind,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        let (context, cause) = (String::new(), Some(Arc::new(cause) as _));
        Self { operation, object: object.into(), kind, context, cause }
    }

    /// The same error with words of our own before its text.
    #[must_use]
    pub fn with_context(self, context: impl fmt::Display) -> Self {
        let context = match self.context.is_empty() {
            true => sanitise(context),
            false => format!("{}: {}", sanitise(context), self.context),
        };
        Self { context, ..self }
    }

    /// The text without operation, object and kind.
    #[must_use]
    pub fn detail(&self) -> String {
        match (&self.cause, self.context.is_empty()) {
            (Some(cause), true) => sanitise(cause),
            (Some(cause), false) => format!("{}: {}", self.context, sanitise(cause)),
            (None, _) => self.context.clone(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}: {}", self.operation, sanitise(&self.object), self.kind, self.detail())
    }
}

// Not derived: the derived source would be the `Arc`, which callers can't downcast to the cause.
impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// The kind of an error of the client library.
#[must_use]
pub fn kind_of(error: &RedisError) -> ErrorKind {
    use redis::{ErrorKind as Client, ServerErrorKind as Server};
    // Both before the kinds: the library files timeouts and failures of TLS under errors of input and output.
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    if is_tls_error(error) {
        return ErrorKind::Tls;
    }
    match error.kind() {
        Client::Io => ErrorKind::Unavailable,
        Client::AuthenticationFailed | Client::Server(Server::NoPerm) => ErrorKind::Denied,
        // All of these pass by themselves: a restart, a failover, a slot that moves.
        Client::Server(Server::BusyLoading | Server::MasterDown | Server::TryAgain | Server::ClusterDown) => {
            ErrorKind::Loading
        }
        Client::Server(Server::ReadOnly) => ErrorKind::ReadOnly,
        // A cluster's redirections are followed before they get here: these come from a node that is used as a single server.
        Client::Server(Server::Moved | Server::Ask | Server::CrossSlot) => ErrorKind::Topology,
        Client::Parse | Client::UnexpectedReturnType => ErrorKind::Malformed,
        _ => match error.code() {
            // The server runs some client's long script, and answers no other command until it ends.
            Some("BUSY") => ErrorKind::Timeout,
            Some("WRONGTYPE") => ErrorKind::WrongType,
            // The stores' own scripts return this code for keys of another schema version.
            Some("SCHEMA") => ErrorKind::Foreign,
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => ErrorKind::Denied,
            _ if error.is_connection_dropped() || error.is_io_error() => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        },
    }
}

/// Whether the TLS handshake failed, or the system's authorities could not be read: the TLS library's error lies within that of the
/// socket.
fn is_tls_error(error: &RedisError) -> bool {
    let mut cause = Error::source(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() || error.is::<rustls_native_certs::Error>() {
            return true;
        }
        // `source()` skips both wrappers: the client's `Arc`, and the inner error of an `io::Error`.
        let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        if let Some(shared) = shared {
            cause = Some(&**shared);
            continue;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn Error + 'static)).or(error.source());
    }
    false
}

#[cfg(test)]
mod tests {
    use errors::one_line;

    use super::*;
    use crate::operations::PING_REDIS;

    fn said(answer: &str) -> RedisError {
        match redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(error)) => error.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_clients_error_is_the_source() {
        let error = StoreError::redis(PING_REDIS, "redis:6379", &said("NOPERM no"));
        let source = error.source().and_then(|cause| cause.downcast_ref::<RedisError>());
        assert_eq!(source.and_then(RedisError::code), Some("NOPERM"));
        let other = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = StoreError::redis(PING_REDIS, "redis:6379", &other.into());
        let client = error.source().expect("the client's");
        assert!(client.is::<RedisError>() && client.source().is_some(), "and that has its own: {client}");
    }

    #[test]
    fn an_error_names_operation_object_kind_and_cause_once_and_no_remedy() {
        let error = StoreError::redis(PING_REDIS, "redis:6379", &said("NOPERM not you"));
        let shown = "ping Redis: redis:6379: denied: NoPerm: not you";
        assert_eq!((error.to_string().as_str(), one_line(&error).as_str()), (shown, shown));
        let error = error.with_context("the node at a:1");
        assert_eq!(error.to_string(), "ping Redis: redis:6379: denied: the node at a:1: NoPerm: not you");
        let error = StoreError::new(PING_REDIS, "key", ErrorKind::Malformed, "it is\nodd");
        assert_eq!(one_line(&error), "ping Redis: key: malformed: it is\\nodd");
    }

    #[test]
    fn an_answer_of_any_length_stays_short_and_on_one_line() {
        let answer = said(&format!("ERR {}", "x".repeat(100_000)));
        let error = StoreError::redis(PING_REDIS, "\u{1b}[2J".repeat(1_000), &answer);
        for shown in [error.to_string(), one_line(&error)] {
            assert!(shown.chars().count() < 500 && !shown.contains('\u{1b}'), "{shown}");
        }
    }

    #[test]
    fn each_kind_has_a_different_label() {
        let labels: std::collections::BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
    }
}
