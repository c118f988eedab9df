//! The tables of the file, and its versions.
//!
//! What people read by hand has the names of the data contract: the views `hashrate_samples`, `quote_history` and `balance`.

use rusqlite::Connection;

/// Marks a file as ours: "peer" in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x7065_6572;

/// What brings a file from each version to the next, from an empty file on. Rows are only ever added.
const STEPS: [&str; 1] = [FIRST];

/// The version that this program writes.
pub(crate) const VERSION: i32 = STEPS.len() as i32;

/// A chunk is a number of its level's chunk lengths since 1970, `at` the number of buckets since the chunk's start.
/// Of the two tails one takes new samples, the other is being compacted; `id` is made of run, series and number. `samples` is
/// explained in the module `block`. `n` tells equal quotes apart.
const FIRST: &str = "
CREATE TABLE state(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('active', 0), ('cursor', 0), ('kept_raw', 0), ('kept_minutes', 0), ('kept_hours', 0);

CREATE TABLE sources(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE series(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source INTEGER NOT NULL, kind INTEGER NOT NULL, downstream_id INTEGER NOT NULL, name TEXT NOT NULL,
    last_day INTEGER NOT NULL,
    UNIQUE(source, kind, downstream_id, name));

CREATE TABLE tail_0(id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, seconds REAL NOT NULL, work REAL, declared_hs REAL);
CREATE TABLE tail_1(id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, seconds REAL NOT NULL, work REAL, declared_hs REAL);

CREATE TABLE raw(
    chunk INTEGER NOT NULL, series INTEGER NOT NULL, at INTEGER NOT NULL, samples TEXT NOT NULL,
    PRIMARY KEY(chunk, series, at)) WITHOUT ROWID;
CREATE TABLE minutes(
    chunk INTEGER NOT NULL, series INTEGER NOT NULL, at INTEGER NOT NULL,
    work REAL, seconds REAL, lowest REAL, highest REAL, samples INTEGER,
    declared_work REAL, declared_seconds REAL, declared_lowest REAL, declared_highest REAL, declared_samples INTEGER,
    PRIMARY KEY(chunk, series, at)) WITHOUT ROWID;
CREATE TABLE hours(
    chunk INTEGER NOT NULL, series INTEGER NOT NULL, at INTEGER NOT NULL,
    work REAL, seconds REAL, lowest REAL, highest REAL, samples INTEGER,
    declared_work REAL, declared_seconds REAL, declared_lowest REAL, declared_highest REAL, declared_samples INTEGER,
    PRIMARY KEY(chunk, series, at)) WITHOUT ROWID;

CREATE TABLE quotes(
    timestamp INTEGER NOT NULL, source INTEGER NOT NULL, downstream_id INTEGER NOT NULL, amount INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY(timestamp, source, downstream_id, amount, n)) WITHOUT ROWID;
CREATE TABLE balances(source INTEGER PRIMARY KEY, balance INTEGER NOT NULL, timestamp INTEGER NOT NULL);
CREATE TABLE imports(
    source INTEGER NOT NULL, part TEXT NOT NULL, timestamp INTEGER NOT NULL, downstream_id INTEGER NOT NULL,
    PRIMARY KEY(source, part)) WITHOUT ROWID;

CREATE VIEW hashrate_samples AS
    SELECT timestamp, sources.name AS source, nullif(downstream_id, -1) AS downstream_id, series.name AS name,
        work, seconds, declared_hs
    FROM (
        SELECT chunk * 600 + at * 60 + (value ->> 0) AS timestamp, series,
            value ->> 2 AS work, value ->> 1 AS seconds, value ->> 3 AS declared_hs
            FROM raw, json_each('[' || samples || ']')
        UNION ALL SELECT timestamp, (id >> 14) & 4294967295 AS of, work, seconds, declared_hs FROM tail_0
            WHERE (SELECT value FROM state WHERE name = 'active') = 0
                OR of > (SELECT value FROM state WHERE name = 'cursor')
        UNION ALL SELECT timestamp, (id >> 14) & 4294967295 AS of, work, seconds, declared_hs FROM tail_1
            WHERE (SELECT value FROM state WHERE name = 'active') = 1
                OR of > (SELECT value FROM state WHERE name = 'cursor'))
    JOIN series ON series.id = series AND kind = 2 JOIN sources ON sources.id = series.source;
CREATE VIEW quote_history AS
    SELECT timestamp, sources.name AS source, downstream_id, amount FROM quotes JOIN sources ON sources.id = source;
CREATE VIEW balance AS
    SELECT sources.name AS source, balance, timestamp FROM balances JOIN sources ON sources.id = source;
";

/// Brings a file up to [`VERSION`] in one transaction.
pub(crate) fn migrate(connection: &Connection, from: i32) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let done = usize::try_from(from).unwrap_or_default();
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
