//! The indexes that the service's statements need, where the users' tables lack them.
//!
//! They are built CONCURRENTLY, one at a time: outside of a transaction, with the time limits of the role. A build that fails
//! leaves an invalid index, which the next migration removes first.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::steps::PREFIX;
use crate::database::Database;
use crate::error::DatabaseError;
use crate::inspect::INDEXES;
use crate::operations::{MIGRATE_DATABASE, UNDO_MIGRATION};

/// How long building or removing one index may take: it waits for the transactions of all users.
const LIMIT: Duration = Duration::from_secs(3600);

/// The leading columns of each valid index without a condition.
const EXISTING: &str = "SELECT t.relname::text, ARRAY(SELECT coalesce(a.attname::text, '') \
       FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, place) \
       LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) \
     FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid \
     WHERE i.indisvalid AND i.indpred IS NULL AND i.indrelid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name) \
     LIMIT 1000";

impl Database {
    /// Builds what is missing, after removing what a failed build has left.
    pub(super) async fn build_indexes(&self, invalid: &[String]) -> Result<Vec<String>, DatabaseError> {
        self.drop_indexes(invalid.iter()).await?;
        let tables: Vec<&str> = INDEXES.iter().map(|wanted| wanted.table).collect();
        let rows = self.read(MIGRATE_DATABASE, EXISTING, &[(&tables, Type::TEXT_ARRAY)]).await?;
        let existing: Vec<(String, Vec<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut built = Vec::new();
        for wanted in INDEXES {
            let serves = |(table, columns): &(String, Vec<String>)| {
                let leading = columns.iter().map(String::as_str).take(wanted.columns.len());
                table == wanted.table && leading.eq(wanted.columns.iter().copied())
            };
            if existing.iter().any(serves) {
                continue;
            }
            let name = format!("{PREFIX}{}_{}", wanted.table, wanted.columns.join("_"));
            let columns = wanted.columns.join(", ");
            let statement = format!("CREATE INDEX CONCURRENTLY {name} ON {} ({columns})", wanted.table);
            self.outside_transactions(MIGRATE_DATABASE, &statement).await?;
            built.push(name);
        }
        Ok(built)
    }

    /// Removes indexes of ours, whose names are quoted as wanted.
    pub(super) async fn drop_indexes(
        &self,
        names: impl Iterator<Item = &String>,
    ) -> Result<Vec<String>, DatabaseError> {
        let mut dropped = Vec::new();
        for name in names {
            let statement = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
            self.outside_transactions(UNDO_MIGRATION, &statement).await?;
            dropped.push(name.clone());
        }
        Ok(dropped)
    }

    async fn outside_transactions(
        &self,
        operation: errors::Operation,
        statement: &str,
    ) -> Result<(), DatabaseError> {
        let connection = self.connection(operation).await?;
        match timeout(LIMIT, connection.batch_execute(statement)).await {
            Ok(result) => result.map_err(|error| DatabaseError::postgres(operation, self.object(), error)),
            Err(_) => {
                drop(deadpool_postgres::Object::take(connection));
                Err(DatabaseError::no_answer(operation, self.object(), LIMIT))
            }
        }
    }
}
