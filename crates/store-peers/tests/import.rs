//! Databases of the former service are imported: once, with windows that overlap counted once, and without belief in what they have.
#![allow(clippy::expect_used, missing_docs)] // A test that can not go on panics.

mod support;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, params};
use store_peers::{
    Balance, Batch, Both, FormerSchema, History, HistoryErrorKind, HistoryReader, ImportOptions,
    ImportReport, Level, Point, Stopped, Subject, Unusable, Wanted,
};
use support::{miner, place, small_steps};

const START: i64 = 1_700_000_000 / 3_600 * 3_600;
const NOW: i64 = START + 100_000;

/// The deployed schema, as the former service makes it.
const DEPLOYED: &str = "
CREATE TABLE downstreams(id INTEGER PRIMARY KEY AUTOINCREMENT, downstream_id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL, address TEXT);
CREATE TABLE hashrate_samples(
    timestamp INTEGER NOT NULL, downstream_id INTEGER NOT NULL, shares_in_window INTEGER NOT NULL,
    sum_difficulty REAL NOT NULL, shares_lifetime INTEGER NOT NULL, window_seconds INTEGER NOT NULL,
    PRIMARY KEY (timestamp, downstream_id));
CREATE INDEX idx_time ON hashrate_samples(timestamp, downstream_id);
INSERT INTO downstreams(downstream_id, name, address) VALUES (1, 'rig', '192.0.2.7:3333'), (2, 'other', NULL);
";
/// The older one.
const OLDER: &str = "
CREATE TABLE hashrate_samples(timestamp INTEGER, downstream_id INTEGER, shares_5min INTEGER, estimated_hashrate REAL);
CREATE TABLE quote_history(id INTEGER PRIMARY KEY, timestamp INTEGER, downstream_id INTEGER, amount INTEGER);
CREATE TABLE balance(id INTEGER PRIMARY KEY, balance INTEGER, updated_at INTEGER);
CREATE TABLE current_stats(downstream_id INTEGER, name TEXT, hashrate REAL);
";

fn former(folder: &Path, sql: &str) -> (PathBuf, Connection) {
    let file = folder.join("former.sqlite");
    let connection = Connection::open(&file).expect("made");
    connection.execute_batch(sql).expect("made");
    (file, connection)
}

fn sample(former: &Connection, time: i64, id: i64, difficulty: f64, window: i64) {
    former
        .execute(
            "INSERT INTO hashrate_samples VALUES (?1, ?2, 1, ?3, 1, ?4)",
            params![START + time, id, difficulty, window],
        )
        .expect("inserted");
}

fn options(dry_run: bool) -> ImportOptions {
    ImportOptions { source: "proxy".into(), now: NOW, dry_run }
}

fn import(history: &mut History, file: &Path) -> ImportReport {
    let before = all(&history.reader().expect("a reader"));
    let planned = history.import(file, &options(true)).expect("a report");
    assert_eq!(all(&history.reader().expect("a reader")), before, "a dry run writes nothing");
    let report = history.import(file, &options(false)).expect("imported");
    assert_eq!(ImportReport { dry_run: false, ..planned }, report);
    report
}

/// What the raw level has of a subject.
fn of(reader: &HistoryReader, subject: Subject) -> Both {
    let range = reader
        .range_of_level(&Wanted::Subject(subject), Level::Raw, START - 3_600, NOW, 200_000)
        .expect("a range");
    range.points.iter().fold(Both::default(), |mut sum, point| {
        sum.merge(&point.both);
        sum
    })
}

fn all(reader: &HistoryReader) -> (Vec<Both>, usize, usize) {
    let subjects =
        [miner("proxy", 1, "rig"), miner("proxy", 2, "other"), Subject::Source("proxy".into()), Subject::All];
    let quotes = reader.quotes(0, NOW, 1_000).expect("quotes").len();
    (subjects.map(|subject| of(reader, subject)).to_vec(), quotes, reader.balances().expect("balances").len())
}

#[test]
fn windows_that_overlap_are_counted_once() {
    let (folder, file) = place();
    let (old, connection) = former(folder.path(), DEPLOYED);
    // Windows of 60 s each 5 s, at 2 units of work a second; then a gap, and a window of a lower rate.
    for time in (0..=600).step_by(5) {
        sample(&connection, time, 1, 120.0, 60);
    }
    sample(&connection, 2_000, 1, 60.0, 60);
    sample(&connection, 2_000, 2, 30.0, 60);
    let mut history = History::open(&file, small_steps()).expect("opened");
    let report = import(&mut history, &old);
    assert_eq!(report.schema, Some(FormerSchema::Deployed));
    assert_eq!(
        (report.samples.rows, report.samples.imported, report.names.imported),
        (123, 123, 2),
        "{report}"
    );
    let reader = history.reader().expect("a reader");
    // The first window, 600 seconds at the rate, and a window after the gap: not 121 windows.
    let rig = of(&reader, miner("proxy", 1, "rig"));
    assert_eq!((rig.measured.seconds, rig.measured.work), (720.0, 660.0 * 2.0 + 60.0));
    assert_eq!((rig.measured.lowest, rig.measured.highest, rig.declared.samples), (1.0, 2.0, 0));
    // The total of the source is a series of its own; that of all sources is not known.
    let total = of(&reader, Subject::Source("proxy".into()));
    assert_eq!((total.measured.seconds, total.measured.work), (720.0, 660.0 * 2.0 + 60.0 + 30.0));
    assert!(of(&reader, Subject::All).is_empty());
    // Addresses are not imported.
    drop(history);
    for ending in ["", "-wal"] {
        let bytes = std::fs::read(format!("{}{ending}", file.display())).unwrap_or_default();
        assert!(!bytes.windows(9).any(|part| part == b"192.0.2.7"), "{ending}");
    }
}

#[test]
fn a_repetition_and_a_file_that_has_grown_add_only_what_is_new() {
    let (folder, file) = place();
    let (old, connection) = former(
        folder.path(),
        &format!("{DEPLOYED}{}", &OLDER[OLDER.find("CREATE TABLE quote").expect("it")..]),
    );
    let quote = |time: i64, amount: i64| {
        let sql = "INSERT INTO quote_history(timestamp, downstream_id, amount) VALUES (?1, 1, ?2)";
        connection.execute(sql, [START + time, amount]).expect("inserted");
    };
    for time in (0..1_000).step_by(10) {
        sample(&connection, time, 1, 60.0, 60);
        quote(time, 7);
    }
    // Two equal quotes are two.
    quote(990, 7);
    connection.execute("INSERT INTO balance VALUES (1, 500, ?1)", [START]).expect("inserted");
    let mut history = History::open(&file, small_steps()).expect("opened");
    let first = import(&mut history, &old);
    assert_eq!(
        (first.samples.imported, first.quotes.imported, first.balance.imported),
        (100, 101, 1),
        "{first}"
    );
    assert_eq!(first.passed_over, ["current_stats: it is no history"]);
    let before = all(&history.reader().expect("a reader"));
    let again = import(&mut history, &old);
    assert_eq!(
        (again.samples.imported, again.samples.known, again.quotes.known, again.balance.known),
        (0, 100, 101, 1)
    );
    assert_eq!(all(&history.reader().expect("a reader")), before);

    sample(&connection, 1_000, 1, 60.0, 60);
    sample(&connection, 1_000, 2, 60.0, 60);
    quote(2_000, 1);
    let grown = import(&mut history, &old);
    assert_eq!((grown.samples.imported, grown.quotes.imported), (2, 1), "{grown}");
    // The new sample begins at the last one that was known.
    let rig = of(&history.reader().expect("a reader"), miner("proxy", 1, "rig"));
    assert_eq!((rig.measured.seconds, rig.measured.work), (1_060.0, 1_060.0));
}

#[test]
fn an_import_that_is_stopped_anywhere_goes_on_where_it_was() {
    let (folder, file) = place();
    let (old, connection) = former(folder.path(), DEPLOYED);
    connection.execute_batch("BEGIN").expect("begun");
    for time in 0..30_000 {
        sample(&connection, time, 1 + time % 2, 60.0, 60);
        sample(&connection, time, 3 + time % 2, 60.0, 60);
    }
    connection.execute_batch("COMMIT").expect("committed");
    let (_whole_folder, whole_file) = place();
    let mut whole = History::open(&whole_file, small_steps_of_import()).expect("opened");
    whole.import(&old, &options(false)).expect("imported");

    let mut history = History::open(&file, small_steps_of_import()).expect("opened");
    let passes = Arc::new(Mutex::new(0));
    let mut stops = 0;
    loop {
        let passes = passes.clone();
        history.set_probe(Box::new(move |point| {
            let mut passes = passes.lock().expect("not poisoned");
            *passes += 1;
            // Each second pass of an import's point fails.
            let is_import = [Point::ImportBeforeCommit, Point::ImportAfterCommit].contains(&point);
            if is_import && *passes % 2 == 0 { Err(Stopped(point)) } else { Ok(()) }
        }));
        match history.import(&old, &options(false)) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind, HistoryErrorKind::Stopped, "{error}"),
        }
        stops += 1;
        drop(history);
        history = History::open(&file, small_steps_of_import()).expect("opened");
    }
    assert!(stops > 1, "{stops}");
    let (reader, of_whole) = (history.reader().expect("a reader"), whole.reader().expect("a reader"));
    assert_eq!(all(&reader), all(&of_whole));
    assert_eq!(all(&reader).0[0].measured.samples, 15_000);
}

fn small_steps_of_import() -> store_peers::Limits {
    store_peers::Limits { step_rows: 5_000, tail_rows: 20_000, ..small_steps() }
}

#[test]
fn declared_hashrates_of_the_older_schema_stay_declared() {
    let (folder, file) = place();
    let (old, connection) = former(folder.path(), OLDER);
    for time in [0, 60, 120, 4_000] {
        let sql = "INSERT INTO hashrate_samples VALUES (?1, 1, 5, 1e12)";
        connection.execute(sql, [START + time]).expect("inserted");
    }
    let mut history = History::open(&file, small_steps()).expect("opened");
    let report = import(&mut history, &old);
    assert_eq!((report.schema, report.samples.imported), (Some(FormerSchema::Older), 4));
    let both = of(&history.reader().expect("a reader"), miner("proxy", 1, ""));
    assert_eq!(
        (both.measured.samples, both.declared.samples, both.declared.seconds),
        (0, 4, 300.0 + 120.0 + 300.0)
    );
    assert_eq!(both.declared.rate(), Some(1e12));
}

#[test]
fn what_can_not_be_is_counted_by_reason_and_left_out() {
    let (folder, file) = place();
    let (old, connection) = former(folder.path(), OLDER);
    let bad = "
        INSERT INTO hashrate_samples VALUES (NULL, 1, 1, 1.0), ('soon', 1, 1, 1.0), (-5, 1, 1, 1.0), (9e18, 1, 1, 1.0),
            (1e300, 1, 1, 1.0), (3000000000, 1, 1, 1.0), (1700000000, 'x', 1, 1.0), (1700000000, 1e12, 1, 1.0),
            (1700000000, 1, 1, 'fast'), (1700000000, 1, 1, -1.0), (1700000000, 1, 1, 1e300), (1700000000, 1, 1, NULL),
            (1700000000, 1, 1, x'00'), (1700000000, 1, 1, 9e999), (1700000010, 1, 1, 5.0), (1700000010, 1, 1, 5.0);
        INSERT INTO quote_history VALUES (1, NULL, 1, 1), (2, 5, -1, 1), (3, 5, 1, 'much'), (4, 5, 1, 1e30), (5, 5, 1, 8);
        INSERT INTO balance VALUES (1, 'all', 5), (2, -3, 5), (3, 44, 'a date');
        INSERT INTO current_stats VALUES (1, 'x', 1.0);";
    connection.execute_batch(bad).expect("inserted");
    let mut history = History::open(&file, small_steps()).expect("opened");
    let report = import(&mut history, &old);
    let samples = &report.samples;
    assert_eq!((samples.rows, samples.imported), (16, 1), "{report}");
    let reasons = [
        (Unusable::Missing, 2),
        (Unusable::NotANumber, 4),
        (Unusable::Negative, 2),
        (Unusable::Huge, 5),
        (Unusable::Future, 1),
        (Unusable::NoTime, 1),
    ];
    assert_eq!(samples.unusable, reasons.into(), "{report}");
    assert_eq!((report.quotes.imported, report.quotes.unusable.values().sum::<u64>()), (1, 4));
    assert_eq!((report.balance.imported, report.balance.unusable.len()), (1, 2));
    let reader = history.reader().expect("a reader");
    assert_eq!(reader.balances().expect("balances")[0].balance, 44);
    let text = report.to_string();
    assert!(text.contains("4 left out (not a number)") && text.contains("current_stats"), "{text}");
}

#[test]
fn an_import_keeps_the_limit_of_bytes_and_says_what_it_cost() {
    const BYTES: u64 = 4 << 20;
    let (folder, file) = place();
    let (old, connection) = former(folder.path(), DEPLOYED);
    connection.execute_batch("BEGIN").expect("begun");
    for time in (0..90_000).step_by(15) {
        for id in 0..20 {
            sample(&connection, time, id, 60.5 + time as f64 / 7.0, 60);
        }
    }
    connection.execute_batch("COMMIT").expect("committed");
    let limits = store_peers::Limits { bytes: BYTES, step_rows: 2_000, tail_rows: 100_000, ..small_steps() };
    let mut history = History::open(&file, limits).expect("opened");
    let report = history.import(&old, &options(false)).expect("imported");
    assert!(report.samples.imported == 120_000 && report.evicted > 0, "{report}");
    assert!(report.to_string().contains("for the limit of bytes"), "{report}");
    assert!(history.bytes() <= BYTES, "{}", history.bytes());
    // Hours are there.
    let wanted = Wanted::Subject(miner("proxy", 2, "other"));
    let range =
        history.reader().expect("a reader").range(&wanted, START, START + 90_000, 3_600).expect("a range");
    assert_eq!(range.points.iter().map(|point| point.both.measured.samples).sum::<u64>(), 6_000);
}

#[test]
fn a_newer_balance_is_kept() {
    let (folder, file) = place();
    let (old, connection) = former(folder.path(), OLDER);
    connection.execute("INSERT INTO balance VALUES (1, 500, ?1)", [START]).expect("inserted");
    let mut history = History::open(&file, small_steps()).expect("opened");
    let live = [Balance { timestamp: START + 1, source: "proxy".into(), balance: 900 }];
    history.write(&Batch { balances: &live, ..Batch::default() }).expect("written");
    assert_eq!(import(&mut history, &old).balance.known, 1);
    assert_eq!(history.reader().expect("a reader").balances().expect("balances")[0].balance, 900);
}

#[test]
fn a_file_of_another_kind_is_refused_with_what_is_missing() {
    let (folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let mut refused = |sql: &str, words: &[&str]| {
        let (old, connection) = former(folder.path(), sql);
        drop(connection);
        let error = history.import(&old, &options(false)).expect_err("refused");
        let text = error.to_string();
        assert!(
            error.kind == HistoryErrorKind::Foreign && words.iter().all(|word| text.contains(word)),
            "{text}"
        );
        std::fs::remove_file(old).expect("removed");
    };
    refused("CREATE TABLE letters(text)", &["no table of the former service"]);
    refused("CREATE TABLE hashrate_samples(timestamp)", &["estimated_hashrate", "sum_difficulty"]);
    refused("CREATE TABLE quote_history(timestamp, downstream_id)", &["quote_history has no column amount"]);
    // A view would run what its author wrote.
    refused(
        "CREATE VIEW hashrate_samples AS SELECT 1 AS timestamp, 1 AS downstream_id, 1.0 AS estimated_hashrate",
        &["no table of the former service"],
    );
    let missing = history.import(&folder.path().join("none"), &options(false)).expect_err("missing");
    assert_eq!(missing.kind, HistoryErrorKind::Missing);
    let text = folder.path().join("text");
    std::fs::write(&text, "no database at all, and long enough to be looked at. ".repeat(9))
        .expect("written");
    let error = history.import(&text, &options(false)).expect_err("no database");
    assert_eq!(error.kind, HistoryErrorKind::NotADatabase);
}
