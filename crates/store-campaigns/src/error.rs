//! A failed operation on the database, with its kind and its cause. What to do about it is known where the settings are.

use std::{error::Error, fmt, time::Duration};

use deadpool_postgres::{PoolError, TimeoutType};
use errors::{Operation, rounded, sanitise};
use tokio_postgres::error::SqlState;

errors::kinds! {
    /// How an operation on the database fails.
    pub enum DatabaseErrorKind;
    Away: "database_away", "The database can't be reached, or it ended the connection";
    Slow: "statement_timeout", "The statement, or the wait for a lock, took longer than its limit";
    Crowded: "crowded", "No connection was free: the pool, PgBouncer or the server has no more";
    ReadOnly: "database_read_only", "The database takes no writes, such as a standby";
    Full: "database_full", "The database's disk or memory is exhausted";
    Conflict: "transaction_conflict", "Another transaction was in the way, such as in a deadlock";
    Refused: "login_refused", "The role, its password or the name of the database is wrong";
    Denied: "right_missing", "The role has no right to do this";
    Hidden: "hidden", "Row-level security hides the rows from the role, or forbids to change them";
    Missing: "table_missing", "A table or a column does not exist";
    BadData: "bad_data", "A value in the database can't be used";
    Tls: "database_tls", "TLS failed: the certificate, its authority or the server's name";
    Failed: "database_failed", "The database refused for another reason, which its message gives";
}

impl DatabaseErrorKind {
    /// Whether the operation may succeed later without a change of the settings, the rights or the tables: it is retried, and is
    /// charged to no job.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        matches!(self, Self::Away | Self::Slow | Self::Crowded | Self::ReadOnly | Self::Full | Self::Conflict)
    }
}

/// A failed operation. Shown as `operation: host:port/database: kind: cause`; the cause is the source.
#[derive(Debug)]
pub struct DatabaseError {
    /// The operation that failed.
    pub operation: Operation,
    /// The server and the database, without user and password.
    pub object: String,
    /// The kind of failure.
    pub kind: DatabaseErrorKind,
    detail: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl DatabaseError {
    /// An error without a cause.
    pub(crate) fn new(
        operation: Operation,
        object: &str,
        kind: DatabaseErrorKind,
        detail: impl fmt::Display,
    ) -> Self {
        Self { operation, object: object.to_owned(), kind, detail: sanitise(detail), cause: None }
    }

    /// What the server or the client of the protocol said.
    pub(crate) fn postgres(operation: Operation, object: &str, error: tokio_postgres::Error) -> Self {
        let detail =
            error.as_db_error().map_or_else(|| chain_of(&error), |answer| answer.message().to_owned());
        let mut all = Self::new(operation, object, kind_of(&error), detail);
        all.cause = Some(Box::new(error));
        all
    }

    /// A connection that the pool could not give.
    pub(crate) fn pool(operation: Operation, object: &str, error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::postgres(operation, object, error),
            PoolError::Timeout(TimeoutType::Wait) => Self::new(
                operation,
                object,
                DatabaseErrorKind::Crowded,
                "no connection of the pool was \
                free in time",
            ),
            PoolError::Timeout(_) => {
                Self::new(operation, object, DatabaseErrorKind::Away, "no connection was made in time")
            }
            error => Self::new(operation, object, DatabaseErrorKind::Failed, error),
        }
    }

    /// An answer that did not come.
    pub(crate) fn no_answer(operation: Operation, object: &str, waited: Duration) -> Self {
        let detail = format!("no answer within {}", rounded(waited));
        Self::new(operation, object, DatabaseErrorKind::Slow, detail)
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, object, kind, detail, .. } = self;
        write!(f, "{operation}: {object}: {kind}: {detail}")
    }
}

impl Error for DatabaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// The client's own errors name their cause only as a source.
fn chain_of(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn kind_of(error: &tokio_postgres::Error) -> DatabaseErrorKind {
    let Some(answer) = error.as_db_error() else { return kind_of_client(error) };
    let code = answer.code();
    // Those whose class says something else come first.
    match code {
        &SqlState::QUERY_CANCELED
        | &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => DatabaseErrorKind::Slow,
        &SqlState::READ_ONLY_SQL_TRANSACTION => DatabaseErrorKind::ReadOnly,
        &SqlState::TOO_MANY_CONNECTIONS => DatabaseErrorKind::Crowded,
        &SqlState::INSUFFICIENT_PRIVILEGE => denied(answer.message()),
        &SqlState::UNDEFINED_TABLE
        | &SqlState::UNDEFINED_COLUMN
        | &SqlState::UNDEFINED_FUNCTION
        | &SqlState::INVALID_SCHEMA_NAME => DatabaseErrorKind::Missing,
        &SqlState::PROTOCOL_VIOLATION if is_of_pgbouncer(answer.message()) => DatabaseErrorKind::Crowded,
        _ => kind_of_class(code.code().get(..2).unwrap_or_default()),
    }
}

fn denied(message: &str) -> DatabaseErrorKind {
    if message.contains("row-level security") { DatabaseErrorKind::Hidden } else { DatabaseErrorKind::Denied }
}

/// PgBouncer reports its own limits as violations of the protocol.
fn is_of_pgbouncer(message: &str) -> bool {
    message.contains("no more connections") || message.contains("query_wait_timeout")
}

fn kind_of_class(class: &str) -> DatabaseErrorKind {
    match class {
        // Broken connections; a server that starts, stops or crashed.
        "08" | "57" => DatabaseErrorKind::Away,
        "53" => DatabaseErrorKind::Full,
        "40" => DatabaseErrorKind::Conflict,
        "28" | "3D" => DatabaseErrorKind::Refused,
        "22" | "23" => DatabaseErrorKind::BadData,
        _ => DatabaseErrorKind::Failed,
    }
}

fn kind_of_client(error: &tokio_postgres::Error) -> DatabaseErrorKind {
    let text = chain_of(error);
    if text.contains("TLS") || text.contains("certificate") {
        return DatabaseErrorKind::Tls;
    }
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return DatabaseErrorKind::Away;
        }
        source = cause.source();
    }
    if error.is_closed() || text.contains("connect") {
        DatabaseErrorKind::Away
    } else {
        DatabaseErrorKind::Failed
    }
}
