//! The opt-in migration of the users' database, and its way back.
//!
//! It adds a schema of our own (history of summaries, incremental counts), triggers on three of the users' tables, and the indexes
//! that are missing. Nothing of the users is altered. [`Database::migration`] says what is there, [`Database::migrate`] makes the
//! rest, [`Database::undo_migration`] removes all of it; both may be interrupted and repeated.
//!
//! A trigger is made under a lock that writers of its table wait for. The lock is asked for during [`LOCK_TIMEOUT`] only, since
//! writers queue up behind the request; when a long transaction of a user is in the way, the step is tried again later. Indexes
//! are built CONCURRENTLY, which no writer waits for.
//!
//! **Invariant:** these are the only calls of this crate that alter the database's objects. They repeat a step by themselves, a
//! limited number of times, because an operator waits for them.

mod indexes;
mod state;
mod steps;

use std::time::Duration;

use errors::Operation;
use retry::{Attempts, table};

pub use state::{MigrationKind, MigrationState};

use crate::database::Database;
use crate::error::{DatabaseError, DatabaseErrorKind};
use crate::operations::{MIGRATE_DATABASE, UNDO_MIGRATION};
use steps::{FUNCTIONS, SCHEMA, STEPS, TABLES, quoted};

/// For how long a step asks for the lock of a users' table. Writers wait behind it meanwhile.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// The advisory lock of migrations: `migrate` in ASCII.
const LOCK: i64 = 0x006d_6967_7261_7465;

/// What a call of [`Database::migrate`] or [`Database::undo_migration`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The steps, by name.
    pub steps: Vec<&'static str>,
    /// The indexes that were built, or removed.
    pub indexes: Vec<String>,
    /// How often a lock was not to be had in time.
    pub refused_locks: u32,
}

impl Database {
    /// Makes what is missing of the migration. `service` is the role of the service, where that is another one: it gets the rights
    /// on our schema.
    ///
    /// # Errors
    /// When the role does not own the tables, when a newer version of the program has migrated, when another program uses a schema
    /// of our name, when a lock can't be had, or when the database is away. What was made so far stays.
    pub async fn migrate(&self, service: Option<&str>) -> Result<Migrated, DatabaseError> {
        let state = self.migration().await?;
        self.refuse_foreign(MIGRATE_DATABASE, &state)?;
        let mut done = Migrated::default();
        for step in STEPS.iter().filter(|step| state.missing_versions.contains(&step.version)) {
            let record = format!(
                "INSERT INTO {SCHEMA}.migration (version) VALUES ({}) ON CONFLICT DO NOTHING",
                step.version
            );
            self.repeated(MIGRATE_DATABASE, &mut done, &format!("{}; {record}", step.statements)).await?;
            done.steps.push(step.name);
        }
        if let Some(role) = service {
            let role = quoted(role);
            let grants = format!(
                "GRANT USAGE ON SCHEMA {SCHEMA} TO {role}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}"
            );
            self.repeated(MIGRATE_DATABASE, &mut done, &grants).await?;
        }
        done.indexes = self.build_indexes(&state.invalid_indexes).await?;
        Ok(done)
    }

    /// Removes everything that the migration has made. Statements of the users that run meanwhile are not disturbed.
    ///
    /// # Errors
    /// As for [`Database::migrate`], and when an object of others needs one of ours; what was removed so far stays removed.
    pub async fn undo_migration(&self) -> Result<Migrated, DatabaseError> {
        let state = self.migration().await?;
        self.refuse_foreign(UNDO_MIGRATION, &state)?;
        let mut done = Migrated::default();
        if state.kind == MigrationKind::Absent {
            return Ok(done);
        }
        for step in STEPS.iter().rev() {
            let Some(table) = step.table else { continue };
            let drops = step.triggers.iter().map(|name| format!("DROP TRIGGER IF EXISTS {name} ON {table}"));
            self.repeated(UNDO_MIGRATION, &mut done, &drops.collect::<Vec<_>>().join("; ")).await?;
            done.steps.push(step.name);
        }
        let all = state.indexes.iter().chain(&state.invalid_indexes);
        done.indexes = self.drop_indexes(all).await?;
        // Without CASCADE: an object of others that needs one of ours makes it fail, and is not dropped.
        let functions = FUNCTIONS.map(|name| format!("DROP FUNCTION IF EXISTS {SCHEMA}.{name}()")).join("; ");
        let tables = TABLES.map(|name| format!("{SCHEMA}.{name}")).join(", ");
        let drops =
            format!("{functions}; DROP TABLE IF EXISTS {tables}; DROP SCHEMA IF EXISTS {SCHEMA} RESTRICT");
        self.repeated(UNDO_MIGRATION, &mut done, &drops).await?;
        done.steps.push("schema");
        Ok(done)
    }

    fn refuse_foreign(&self, operation: Operation, state: &MigrationState) -> Result<(), DatabaseError> {
        let detail = match state.kind {
            MigrationKind::Foreign => "the schema state_tracker belongs to another program",
            MigrationKind::Newer => "a newer version of this program has migrated the database",
            MigrationKind::Absent | MigrationKind::Partial | MigrationKind::Applied => return Ok(()),
        };
        Err(self.error(operation, DatabaseErrorKind::Failed, detail))
    }

    /// One transaction, repeated while a lock is not to be had.
    async fn repeated(
        &self,
        operation: Operation,
        done: &mut Migrated,
        statements: &str,
    ) -> Result<(), DatabaseError> {
        let begin = format!(
            "SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({LOCK})",
            LOCK_TIMEOUT.as_millis()
        );
        let policy = table::DATABASE_LOCK;
        let mut attempts = Attempts::new(policy);
        for attempt in 1.. {
            let work = async |transaction: &deadpool_postgres::Transaction<'_>| {
                transaction.batch_execute(&begin).await?;
                transaction.batch_execute(statements).await
            };
            match self.transaction(operation, work).await {
                Err(error)
                    if attempt < policy.attempts
                        && matches!(error.kind, DatabaseErrorKind::Slow | DatabaseErrorKind::Conflict) =>
                {
                    done.refused_locks += 1;
                    tokio::time::sleep(attempts.failed()).await;
                }
                result => return result,
            }
        }
        Ok(())
    }
}
