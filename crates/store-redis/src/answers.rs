//! The error answers of Redis, with the consequence of each: the one table from which kinds and decisions are derived.
//!
//! A server answers an error with a word and a text. The word decides what a caller may still believe: whether the other answers
//! of the same batch are usable, and whether the batch is repeated. An answer whose word is not in the table voids its batch.

use std::{error::Error, sync::Arc};

use redis::RedisError;

use crate::{connect::AnswerTooLarge, kind::ErrorKind};

errors::kinds! {
    /// What follows from an error answer.
    pub enum Consequence;
    Key: "key", "The value of this key is unknown and reported; the other answers of the batch are used";
    Retry: "retry", "The batch is void, nothing of it is acknowledged, and it is retried with growing backoff";
    Renew: "renew", "As retry, and the pool replaces its connections, which finds the present master or slot map";
    Load: "load", "The calls that were refused are repeated with the script's text; a second refusal voids the batch";
    Operator: "operator", "As retry, but it fails until an operator acts; the log says ERROR, and readiness fails once datasets are stale";
}

impl Consequence {
    /// Whether the other answers of the batch may be incomplete too.
    #[must_use]
    pub fn voids_batch(self) -> bool {
        !matches!(self, Self::Key)
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The first word of the error.
    pub word: &'static str,
    /// The beginning of the text after the word, where the word alone does not decide; else empty.
    pub text: &'static str,
    /// The kind that metrics and logs show.
    pub kind: ErrorKind,
    /// What follows from it.
    pub consequence: Consequence,
    /// When Redis answers so, as a sentence without its full stop.
    pub meaning: &'static str,
}

const fn row(word: &'static str, kind: ErrorKind, consequence: Consequence, meaning: &'static str) -> Answer {
    Answer { word, text: "", kind, consequence, meaning }
}

use Consequence::{Key, Load, Operator, Renew, Retry};
use ErrorKind::{
    Denied, Foreign, Loading, ReadOnly, Refused, Timeout, Topology, Unavailable, WritesRefused, WrongType,
};

/// Every answer with a consequence of its own. The first row that fits counts, so a row with a text stands before its word alone.
pub const ANSWERS: &[Answer] = &[
    row("WRONGTYPE", WrongType, Key, "The key is of another type than the command needs"),
    Answer {
        text: "max number of clients",
        ..row("ERR", Unavailable, Renew, "The server accepts no more clients, and closes this connection")
    },
    row("ERR", Refused, Key, "The command or script failed on this key, for the reason in the text"),
    row("OOM", WritesRefused, Operator, "The memory is full (maxmemory), and the command may need more"),
    row("MISCONF", WritesRefused, Operator, "The server can't save its data, and takes no writes"),
    row(
        "NOREPLICAS",
        WritesRefused,
        Operator,
        "Fewer replicas are connected than writes need (min-replicas-to-write)",
    ),
    row(
        "READONLY",
        ReadOnly,
        Renew,
        "The server is a replica: a failover has happened, or it was never the master",
    ),
    row("MASTERDOWN", Loading, Renew, "The server is a replica whose master is away"),
    row("LOADING", Loading, Retry, "The server is loading its data"),
    row("BUSY", Timeout, Retry, "The server runs a long script, and answers nothing else"),
    row("UNKILLABLE", Timeout, Retry, "The server runs a long script that has written and can't be stopped"),
    row("TRYAGAIN", Loading, Retry, "A hash slot is moving, and a part of the keys is on another node"),
    row("CLUSTERDOWN", Loading, Renew, "The cluster lacks slots, or this node is cut off from it"),
    row(
        "MOVED",
        Topology,
        Operator,
        "The slot belongs to another node: followed in a cluster, a fault of configuration elsewhere",
    ),
    row(
        "ASK",
        Topology,
        Operator,
        "The slot is moving to another node: followed in a cluster, a fault of configuration elsewhere",
    ),
    row(
        "CROSSSLOT",
        Topology,
        Operator,
        "A script or command spans hash slots, which this deployment does not allow",
    ),
    row("NOPERM", Denied, Operator, "The user may not use this command, key or channel"),
    row("WRONGPASS", Denied, Operator, "The user name or the password is wrong"),
    row(
        "NOAUTH",
        Denied,
        Renew,
        "The connection is not authenticated, as after a password was set; a new one is",
    ),
    row("DENIED", Denied, Operator, "The server is in protected mode, and accepts local clients alone"),
    row(
        "NOSCRIPT",
        Refused,
        Load,
        "The server does not know the script: it was restarted, replaced or flushed",
    ),
    row(
        "EXECABORT",
        Refused,
        Retry,
        "A command of the transaction was refused, so nothing of the transaction was run",
    ),
    row("SCHEMA", Foreign, Operator, "A script of this program found a ledger of another version"),
];

/// The consequence of words that are not in the table.
pub const UNKNOWN: Answer = row(
    "any other",
    Refused,
    Retry,
    "A word that this version does not know; other answers may be incomplete too",
);

/// The row of an error that a server answered; `None` for an error of the client or the connection.
#[must_use]
pub fn answer_of(error: &RedisError) -> Option<&'static Answer> {
    let word = error.code()?;
    let text = error.detail().unwrap_or_default();
    let fits = |row: &&Answer| row.word == word && text.starts_with(row.text);
    Some(ANSWERS.iter().find(fits).unwrap_or(&UNKNOWN))
}

/// What follows from an error, be it of the server, the client or the connection.
#[must_use]
pub fn consequence_of(error: &RedisError) -> Consequence {
    match (answer_of(error), error.kind()) {
        (Some(answer), _) => answer.consequence,
        // The answer came, and is of another form than it must be.
        (None, redis::ErrorKind::Parse | redis::ErrorKind::UnexpectedReturnType) => Key,
        (None, redis::ErrorKind::AuthenticationFailed) => Operator,
        (None, _) => Renew,
    }
}

/// The kind of an error of the client library. That of an answer of the server is the table's.
#[must_use]
pub fn kind_of(error: &RedisError) -> ErrorKind {
    use redis::ErrorKind as Client;
    // Before the kinds: the library files timeouts, failures of TLS and our own limit under errors of input and output.
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    if is_tls_error(error) {
        return ErrorKind::Tls;
    }
    if has_cause(error, |cause| cause.is::<AnswerTooLarge>()) {
        return ErrorKind::TooLarge;
    }
    if let Some(answer) = answer_of(error) {
        return answer.kind;
    }
    match error.kind() {
        Client::Io => ErrorKind::Unavailable,
        Client::AuthenticationFailed => ErrorKind::Denied,
        Client::Parse | Client::UnexpectedReturnType => ErrorKind::Malformed,
        _ if error.is_connection_dropped() || error.is_io_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}

/// Whether the TLS handshake failed, or the system's authorities could not be read.
fn is_tls_error(error: &RedisError) -> bool {
    has_cause(error, |cause| cause.is::<rustls::Error>() || cause.is::<rustls_native_certs::Error>())
}

/// Whether a cause of an error is wanted: the cause of an error of the connection lies within that of the socket.
fn has_cause(error: &RedisError, is_wanted: fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut cause = Error::source(error);
    while let Some(error) = cause {
        if is_wanted(error) {
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
pub(crate) mod tests {
    use super::*;

    /// The client's error for an answer of the server, as its parser builds it.
    pub(crate) fn said(answer: &str) -> RedisError {
        match redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()) {
            Ok(redis::Value::ServerError(error)) => error.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_answer_has_the_kind_and_the_consequence_of_its_row() {
        for row in ANSWERS {
            let error = said(&format!("{} {} and why", row.word, row.text));
            let found = (kind_of(&error), consequence_of(&error));
            assert_eq!(found, (row.kind, row.consequence), "{row:?}");
        }
        let error = said("STRANGE things happen");
        assert_eq!((kind_of(&error), consequence_of(&error)), (UNKNOWN.kind, UNKNOWN.consequence));
    }

    #[test]
    fn only_an_error_about_one_key_spares_the_batch() {
        let spared = ANSWERS.iter().chain([&UNKNOWN]).filter(|row| !row.consequence.voids_batch());
        let spared: Vec<_> = spared.map(|row| (row.word, row.text)).collect();
        assert_eq!(spared, [("WRONGTYPE", ""), ("ERR", "")]);
    }

    #[test]
    fn a_word_with_a_text_stands_before_the_word_alone() {
        let error = said("ERR max number of clients + cluster connections reached");
        assert_eq!(answer_of(&error).map(|row| row.kind), Some(Unavailable));
        assert_eq!(answer_of(&said("ERR value is not an integer")).map(|row| row.kind), Some(Refused));
    }

    #[test]
    fn an_error_of_the_connection_is_no_answer_and_voids_the_batch() {
        let error = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!((answer_of(&error), consequence_of(&error)), (None, Renew));
    }
}
