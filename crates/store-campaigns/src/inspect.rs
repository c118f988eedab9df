//! What the database offers, for `check --connect` and `doctor`: tables, columns, rights, indexes, row-level security, poolers,
//! old transactions. Reads the catalogue only, never a row of the users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connect::Dedicated;
use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::INSPECT_DATABASE;

/// The tables that are used, their columns with the types that each may have, and what is done with the table.
const TABLES: [(&str, &[WantedColumn]); 4] = [
    ("campaigns", &[("id", UUID), ("user_id", ANY), ("params", JSONB), ("status", ANY)]),
    (
        "campaign_runs",
        &[
            ("id", UUID),
            ("campaign_id", UUID),
            ("status", ANY),
            ("started_at", TIME),
            ("ended_at", TIME),
            ("summary", JSONB),
        ],
    ),
    (
        "jobs",
        &[
            ("id", UUID),
            ("run_id", UUID),
            ("queue", ANY),
            ("type", ANY),
            ("payload", JSONB),
            ("status", ANY),
            ("attempts", WHOLE),
            ("error", JSONB),
            ("created_at", TIME),
            ("updated_at", TIME),
        ],
    ),
    ("executions", &[("job_id", UUID), ("latency_ms", WHOLE), ("result", JSONB)]),
];

/// A column and its types; none where any type will do.
type WantedColumn = (&'static str, &'static [&'static str]);

const ANY: &[&str] = &[];
const UUID: &[&str] = &["uuid"];
const JSONB: &[&str] = &["jsonb"];
const TIME: &[&str] = &["timestamp with time zone", "timestamp without time zone"];
const WHOLE: &[&str] = &["integer", "bigint", "smallint"];

/// Rights beyond reading: the table, the right, the column it is enough to have it for.
const WRITES: [(&str, &str, Option<&str>); 4] = [
    ("jobs", "INSERT", None),
    ("jobs", "UPDATE", None),
    ("jobs", "DELETE", None),
    ("campaign_runs", "UPDATE", Some("summary")),
];

/// An index that a statement needs, and what its lack costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedIndex {
    /// The table.
    pub table: &'static str,
    /// The columns that the index begins with.
    pub columns: &'static [&'static str],
    /// What is slow without it.
    pub cost: &'static str,
}

/// The indexes that statements need.
pub const INDEXES: [WantedIndex; 5] = [
    WantedIndex {
        table: "campaign_runs",
        columns: &["status"],
        cost: "each round of the scheduler reads all runs",
    },
    WantedIndex {
        table: "campaign_runs",
        columns: &["campaign_id", "started_at"],
        cost: "each look for a campaign's latest run reads all runs",
    },
    WantedIndex { table: "jobs", columns: &["run_id"], cost: "each computation reads all jobs of all runs" },
    WantedIndex { table: "jobs", columns: &["queue"], cost: "each look for status jobs reads all jobs" },
    WantedIndex {
        table: "executions",
        columns: &["job_id"],
        cost: "each computation reads all executions of all runs",
    },
];

/// A right that the role lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRight {
    /// The right, as GRANT names it: `SELECT`, `UPDATE (summary)`.
    pub right: String,
    /// The table.
    pub table: &'static str,
}

/// A column that is missing or of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnGap {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The type that it has; none where it is missing.
    pub found: Option<String>,
}

/// A table as the role sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFacts {
    /// Its name.
    pub name: &'static str,
    /// Whether it is there.
    pub exists: bool,
    /// Whether row-level security applies to the role: it sees the rows of a user at most, and no error.
    pub hides_rows: bool,
    /// Its rows, as the database last estimated them; none before it has.
    pub estimated_rows: Option<u64>,
}

/// What the database offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The version, such as 150018.
    pub version: u32,
    /// The role.
    pub role: String,
    /// Whether the role is a superuser, which it need not be.
    pub is_superuser: bool,
    /// Whether the database takes no writes: a standby, or set so.
    pub is_read_only: bool,
    /// Whether transactions of one connection have changing server processes, as behind a PgBouncer in transaction mode. LISTEN
    /// hears nothing there.
    pub is_pooled: bool,
    /// Connections that exist on the server.
    pub connections: u32,
    /// The most that it takes.
    pub most_connections: u32,
    /// The age of the oldest open transaction of this database; none where there is none or the role may not see it. An old one
    /// keeps dead rows, and with them the work of each status job.
    pub oldest_transaction: Option<Duration>,
    /// The tables.
    pub tables: Vec<TableFacts>,
    /// Columns that are missing or of another type.
    pub columns: Vec<ColumnGap>,
    /// Rights that the role lacks.
    pub rights: Vec<TableRight>,
    /// Indexes that are missing.
    pub indexes: Vec<WantedIndex>,
    /// Whether `executions.latency_ms` refuses rows that leave it out: workers that do so fail.
    pub latency_is_required: bool,
}

impl Inspection {
    /// Whether the service can do its work. Missing indexes make it slow, no more.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let tables = self.tables.iter().all(|table| table.exists && !table.hides_rows);
        tables && self.columns.is_empty() && self.rights.is_empty() && !self.is_read_only
    }
}

impl Database {
    /// Looks at the database.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn inspect(&self) -> Result<Inspection, DatabaseError> {
        let server = self.read(INSPECT_DATABASE, SERVER, &[]).await?;
        let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
        let names: [crate::database::Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        let tables = self.read(INSPECT_DATABASE, TABLE_FACTS, &names).await?;
        let columns = self.read(INSPECT_DATABASE, COLUMNS, &names).await?;
        let indexes = self.read(INSPECT_DATABASE, INDEX_COLUMNS, &names).await?;
        let columns = read_columns(&columns);
        let tables: Vec<TableFacts> = tables.iter().filter_map(read_table).collect();
        let there: BTreeSet<&str> =
            tables.iter().filter(|table| table.exists).map(|table| table.name).collect();
        let row = server.first();
        let number = |index: usize| {
            row.map_or(0, |row| u32::try_from(row.get::<_, Option<i64>>(index).unwrap_or(0)).unwrap_or(0))
        };
        let flag = |index: usize| row.is_some_and(|row| row.get::<_, Option<bool>>(index).unwrap_or(false));
        let oldest = row.and_then(|row| row.get::<_, Option<f64>>(6));
        Ok(Inspection {
            version: number(0),
            role: row.map(|row| errors::sanitise(row.get::<_, &str>(1))).unwrap_or_default(),
            is_superuser: flag(2),
            is_read_only: flag(3),
            is_pooled: self.is_pooled().await?,
            connections: number(4),
            most_connections: number(5),
            oldest_transaction: oldest.filter(|age| *age >= 0.0).map(Duration::from_secs_f64),
            columns: gaps(&columns, &there),
            rights: missing_rights(&columns, &there),
            indexes: missing_indexes(&indexes, &there),
            latency_is_required: columns
                .get(&("executions".to_owned(), "latency_ms".to_owned()))
                .is_some_and(|found| found.is_required),
            tables,
        })
    }

    /// Whether transactions of one connection have changing server processes: two connections are opened, and a pooler that gives
    /// each transaction another process shows the same process in both, or changing ones in one.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn is_pooled(&self) -> Result<bool, DatabaseError> {
        let (first, second) = (self.dedicated().await?, self.dedicated().await?);
        let limit = self.settings().statement_timeout;
        // In no regular order, so that a pooler that takes turns is seen too.
        let order = [&first, &first, &second, &second, &first, &second];
        let asked = tokio::time::timeout(limit, processes_of(&order)).await;
        let processes = asked
            .map_err(|_| DatabaseError::no_answer(INSPECT_DATABASE, self.object(), limit))?
            .map_err(|error| DatabaseError::postgres(INSPECT_DATABASE, self.object(), error))?;
        let one = processes.first();
        let other = processes.get(2);
        let expected = [one, one, other, other, one, other];
        Ok(one == other || processes.iter().zip(expected).any(|(found, expected)| Some(found) != expected))
    }
}

async fn processes_of(order: &[&Dedicated]) -> Result<Vec<i32>, tokio_postgres::Error> {
    let mut processes = Vec::with_capacity(order.len());
    for connection in order {
        processes.push(connection.query_typed_one("SELECT pg_backend_pid()", &[]).await?.get(0));
    }
    Ok(processes)
}

const SERVER: &str = "SELECT current_setting('server_version_num')::bigint, current_user::text, \
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean, \
    (SELECT sum(numbackends) FROM pg_stat_database)::bigint, current_setting('max_connections')::bigint, \
    (SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8 FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid())";

const TABLE_FACTS: &str = "SELECT wanted.name, found.oid IS NOT NULL, \
coalesce(row_security_active(found.oid), false), \
    found.reltuples::float8 FROM unnest($1::text[]) AS wanted (name) \
    LEFT JOIN pg_class found ON found.oid = to_regclass(wanted.name)";

const COLUMNS: &str = "SELECT wanted.name, a.attname::text, format_type(a.atttypid, NULL), \
    has_column_privilege(a.attrelid, a.attnum, 'SELECT'), has_column_privilege(a.attrelid, a.attnum, \
    'UPDATE'), \
    has_column_privilege(a.attrelid, a.attnum, 'INSERT'), has_table_privilege(a.attrelid, 'DELETE'), \
    a.attnotnull AND NOT a.atthasdef \
    FROM unnest($1::text[]) AS wanted (name) JOIN pg_attribute a ON a.attrelid = to_regclass(wanted.name) \
    WHERE a.attnum > 0 AND NOT a.attisdropped LIMIT 1000";

const INDEX_COLUMNS: &str = "SELECT wanted.name, ARRAY(SELECT coalesce(a.attname::text, '') \
      FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
      LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) \
    FROM unnest($1::text[]) AS wanted (name) JOIN pg_index i ON i.indrelid = to_regclass(wanted.name) \
    WHERE i.indisvalid AND i.indpred IS NULL LIMIT 1000";

#[derive(Debug)]
struct Column {
    kind: String,
    may_read: bool,
    may_update: bool,
    may_insert: bool,
    may_delete: bool,
    is_required: bool,
}

type Columns = BTreeMap<(String, String), Column>;

fn read_columns(rows: &[Row]) -> Columns {
    let of_row = |row: &Row| {
        let column = Column {
            kind: row.get(2),
            may_read: row.get(3),
            may_update: row.get(4),
            may_insert: row.get(5),
            may_delete: row.get(6),
            is_required: row.get(7),
        };
        ((row.get(0), row.get(1)), column)
    };
    rows.iter().map(of_row).collect()
}

fn read_table(row: &Row) -> Option<TableFacts> {
    let name: &str = row.get(0);
    let (name, _) = TABLES.iter().find(|(known, _)| *known == name)?;
    let rows = row.get::<_, Option<f64>>(3).filter(|rows| *rows >= 0.0);
    Some(TableFacts {
        name,
        exists: row.get(1),
        hides_rows: row.get(2),
        // The cast saturates.
        estimated_rows: rows.map(|rows| rows as u64),
    })
}

fn gaps(columns: &Columns, there: &BTreeSet<&str>) -> Vec<ColumnGap> {
    let mut gaps = Vec::new();
    for (table, wanted) in TABLES.iter().filter(|(table, _)| there.contains(table)) {
        for (column, kinds) in *wanted {
            let found = columns.get(&((*table).to_owned(), (*column).to_owned()));
            let fits = found.is_some_and(|found| kinds.is_empty() || kinds.contains(&found.kind.as_str()));
            if !fits {
                gaps.push(ColumnGap { table, column, found: found.map(|found| found.kind.clone()) });
            }
        }
    }
    gaps
}

fn missing_rights(columns: &Columns, there: &BTreeSet<&str>) -> Vec<TableRight> {
    let of_table = |table: &'static str| {
        let names = TABLES.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, names)| *names);
        names.iter().filter_map(move |(name, _)| columns.get(&(table.to_owned(), (*name).to_owned())))
    };
    let mut rights = Vec::new();
    for (table, _) in TABLES.iter().filter(|(table, _)| there.contains(table)) {
        if !of_table(table).all(|column| column.may_read) {
            rights.push(TableRight { right: "SELECT".to_owned(), table });
        }
        for (_, right, only) in WRITES.iter().filter(|(of, ..)| of == table) {
            let may = |column: &Column| match *right {
                "INSERT" => column.may_insert,
                "UPDATE" => column.may_update,
                _ => column.may_delete,
            };
            let has = match only {
                Some(name) => columns.get(&((*table).to_owned(), (*name).to_owned())).is_some_and(may),
                None => of_table(table).all(may),
            };
            if !has {
                let right = only.map_or((*right).to_owned(), |name| format!("{right} ({name})"));
                rights.push(TableRight { right, table });
            }
        }
    }
    rights
}

fn missing_indexes(rows: &[Row], there: &BTreeSet<&str>) -> Vec<WantedIndex> {
    let found: Vec<(&str, Vec<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let has = |wanted: &WantedIndex| {
        found.iter().any(|(table, columns)| {
            let begins = columns.iter().map(String::as_str).take(wanted.columns.len());
            *table == wanted.table && begins.eq(wanted.columns.iter().copied())
        })
    };
    INDEXES.iter().filter(|wanted| there.contains(wanted.table) && !has(wanted)).copied().collect()
}
