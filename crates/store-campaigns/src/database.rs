//! A small pool of connections, and transactions of one statement or of several.
//!
//! Each transaction sets its own time limits, since behind a PgBouncer the next one may have another connection. A transaction of
//! one statement is sent at once, with its begin and its end: one round trip, and a caller that goes away leaves none open.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts, Transaction,
};
use errors::Operation;
use futures_util::future::join3;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};

use crate::connect::{Connector, Dedicated};
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::CONNECT_DATABASE;
use crate::settings::{BadUrl, DatabaseSettings, object_of, read_url};

/// How much longer than its limit in the database a call waits for an answer: the server ends the statement, we only notice when
/// it can't.
const GRACE: Duration = Duration::from_secs(2);
/// The longest time between two statements of a transaction.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// A parameter with its type: named, so that no statement is prepared and no type looked up.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The database of campaigns. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Database {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Pool,
    connector: Connector,
    config: Config,
    object: String,
    settings: DatabaseSettings,
    /// Held by one claim at a time: see `Database::claim`.
    claims: Mutex<()>,
}

/// The use of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that exist.
    pub connections: usize,
    /// The most that may exist.
    pub most: usize,
    /// Those that are free.
    pub free: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// Whether a transaction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Database {
    /// Sets up the pool without connecting.
    ///
    /// # Errors
    /// When the URL names no database.
    pub fn new(settings: DatabaseSettings) -> Result<Self, BadUrl> {
        let config = read_url(&settings.url, settings.connect_timeout)?;
        let connector = Connector::new(settings.trust.clone());
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config.clone(), connector.clone(), manager_config);
        let limit = Some(settings.connect_timeout);
        let pool = Pool::builder(manager)
            .max_size(settings.connections.max(1))
            .timeouts(Timeouts { wait: limit, create: limit, recycle: limit })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| BadUrl(error.to_string()))?;
        let object = object_of(&config);
        Ok(Self {
            shared: Arc::new(Shared { pool, connector, config, object, settings, claims: Mutex::new(()) }),
        })
    }

    /// The server and the database, without role and password.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.shared.object
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &DatabaseSettings {
        &self.shared.settings
    }

    /// Waits until no other call claims.
    pub(crate) async fn claiming(&self) -> MutexGuard<'_, ()> {
        self.shared.claims.lock().await
    }

    /// The use of the pool.
    #[must_use]
    pub fn pool(&self) -> PoolStatus {
        let status = self.shared.pool.status();
        PoolStatus {
            connections: status.size,
            most: status.max_size,
            free: status.available,
            waiting: status.waiting,
        }
    }

    /// A connection that is not of the pool, such as for LISTEN. Statements over it have no limits but their own.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn dedicated(&self) -> Result<Dedicated, DatabaseError> {
        self.prepare(CONNECT_DATABASE).await?;
        let connecting = self.shared.connector.dedicated(&self.shared.config);
        // One host after another, and TLS after TCP, may each take the time limit of a connection.
        self.within(CONNECT_DATABASE, self.shared.settings.connect_timeout * 3, connecting).await
    }

    async fn prepare(&self, operation: Operation) -> Result<(), DatabaseError> {
        let prepared = self.shared.connector.prepare(&self.shared.config).await;
        prepared.map_err(|error| self.error(operation, DatabaseErrorKind::Tls, error))
    }

    /// A connection of the pool.
    pub(crate) async fn connection(&self, operation: Operation) -> Result<Object, DatabaseError> {
        self.prepare(operation).await?;
        self.shared.pool.get().await.map_err(|error| DatabaseError::pool(operation, self.object(), error))
    }

    /// One statement that reads, and its rows. The statement must limit their number.
    pub(crate) async fn read(
        &self,
        operation: Operation,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        let begin = self.begin(Access::Read, self.shared.settings.statement_timeout);
        self.single(operation, &begin, self.shared.settings.statement_timeout, statement, parameters).await
    }

    /// One statement that writes, and its rows.
    pub(crate) async fn write(
        &self,
        operation: Operation,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        let begin = self.begin(Access::Write, self.shared.settings.statement_timeout);
        self.single(operation, &begin, self.shared.settings.statement_timeout, statement, parameters).await
    }

    /// One statement between this begin and a commit, all sent at once.
    pub(crate) async fn single(
        &self,
        operation: Operation,
        begin: &str,
        limit: Duration,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = self.connection(operation).await?;
        // Polled in this order, so sent in this order. After a failed statement the commit is a rollback.
        let all = join3(
            connection.batch_execute(begin),
            connection.query_typed(statement, parameters),
            connection.batch_execute("COMMIT"),
        );
        let answer = timeout(limit + GRACE, all).await;
        let Ok((begun, rows, committed)) = answer else {
            // The connection has an answer to come, if ever: it is of no use to others.
            drop(Object::take(connection));
            return Err(DatabaseError::no_answer(operation, self.object(), limit + GRACE));
        };
        let failed = |error| DatabaseError::postgres(operation, self.object(), error);
        begun.map_err(failed)?;
        let rows = rows.map_err(failed)?;
        committed.map_err(failed)?;
        Ok(rows)
    }

    /// Several statements in one transaction: `work` runs between begin and commit, and an error of it rolls back. A caller that
    /// goes away rolls back too.
    pub(crate) async fn transaction<T>(
        &self,
        operation: Operation,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.connection(operation).await?;
        let limit = self.shared.settings.statement_timeout;
        let limits = self.limits(limit);
        let all = async {
            let transaction = connection.transaction().await?;
            transaction.batch_execute(&limits).await?;
            let result = work(&transaction).await?;
            transaction.commit().await?;
            Ok(result)
        };
        // Each of a few statements has its own limit.
        let answer = timeout(limit * 2 + GRACE, all).await;
        match answer {
            Ok(result) => result.map_err(|error| DatabaseError::postgres(operation, self.object(), error)),
            Err(_) => {
                drop(Object::take(connection));
                Err(DatabaseError::no_answer(operation, self.object(), limit * 2 + GRACE))
            }
        }
    }

    pub(crate) fn error(
        &self,
        operation: Operation,
        kind: DatabaseErrorKind,
        detail: impl std::fmt::Display,
    ) -> DatabaseError {
        DatabaseError::new(operation, self.object(), kind, detail)
    }

    /// The begin of a transaction with its time limits.
    pub(crate) fn begin(&self, access: Access, statement: Duration) -> String {
        // READ WRITE is not asked for: a standby refuses it with an error of no use, and what an operator has set to be read only
        // stays so.
        let mode = if access == Access::Read { " READ ONLY" } else { "" };
        format!("BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED{mode}; {}", self.limits(statement))
    }

    pub(crate) fn limits(&self, statement: Duration) -> String {
        // A limit of 0 would be none.
        let millis = |limit: Duration| limit.as_millis().clamp(1, i32::MAX as u128);
        format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            millis(statement),
            millis(self.shared.settings.lock_timeout),
            millis(IDLE_IN_TRANSACTION),
        )
    }

    async fn within<T>(
        &self,
        operation: Operation,
        limit: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        match timeout(limit, work).await {
            Ok(result) => result.map_err(|error| DatabaseError::postgres(operation, self.object(), error)),
            Err(_) => Err(DatabaseError::no_answer(operation, self.object(), limit)),
        }
    }
}
