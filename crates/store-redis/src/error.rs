//! A failed operation on Redis, with its kind and cause.

use std::{error::Error, fmt, sync::Arc};

use errors::{Operation, sanitise};
use redis::RedisError;

use crate::{answers::kind_of, kind::ErrorKind};

/// A failed operation. Shown as `operation: object: kind: cause`, with at most 200 characters of text from outside; the cause
/// itself is the source.
#[derive(Clone)]
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

// Not derived: the cause's own form has the server's text, of any length and with any characters.
impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StoreError");
        shown.field("operation", &self.operation.label).field("object", &sanitise(&self.object));
        shown.field("kind", &self.kind).field("detail", &self.detail()).finish()
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

#[cfg(test)]
mod tests {
    use errors::one_line;

    use super::*;
    use crate::answers::tests::said;
    use crate::operations::PING_REDIS;

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
