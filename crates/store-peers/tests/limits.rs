//! What is kept, and how large the file is.
#![allow(clippy::expect_used, missing_docs)] // A test that can not go on panics.

mod support;

use std::time::Duration;

use rusqlite::Connection;
use store_peers::{
    Balance, Batch, History, Level, Limits, Part, Quote, Refusal, Sample, Step, Subject, Wanted,
};
use support::{agree, measured, miner, place, settle, small_steps, write};

const START: i64 = 1_700_000_000 / 86_400 * 86_400;
const HOUR: i64 = 3_600;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

fn removed(steps: &[Step]) -> Vec<Part> {
    let part = |step: &Step| match step {
        Step::Evicted(removed) | Step::Retired(removed) if removed.rows > 0 => Some(removed.part),
        _ => None,
    };
    let mut all: Vec<Part> = steps.iter().filter_map(part).collect();
    all.dedup();
    all
}

#[test]
fn each_level_keeps_its_time_and_no_more() {
    let (_folder, file) = place();
    let limits = Limits { raw: hours(2), minutes: hours(24), hours: hours(24 * 60), ..small_steps() };
    let mut history = History::open(&file, limits).expect("opened");
    let mut samples = Vec::new();
    for hour in 0..24 * 100 {
        let sample = measured(Subject::All, START + hour * HOUR, hour as f64);
        let quote =
            Quote { timestamp: START + hour * HOUR, source: "mint".into(), downstream_id: 1, amount: 1 };
        let batch = Batch { samples: std::slice::from_ref(&sample), quotes: &[quote], balances: &[] };
        history.write(&batch).expect("written");
        samples.push(sample);
    }
    let now = START + 24 * 100 * HOUR;
    history.compact().expect("compacted");
    settle(&mut history, now);
    let connection = Connection::open(&file).expect("opened");
    let oldest = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
    for (level, keep) in [(Level::Raw, 2), (Level::Minutes, 24), (Level::Hours, 24 * 60)] {
        let oldest = oldest(&format!("SELECT min(chunk) FROM {}", level.table())) * level.chunk();
        let first = now - keep * HOUR;
        // A chunk is removed as a whole, when its end is too old.
        assert!((first - level.chunk()..=first + HOUR).contains(&oldest), "{level:?}: {oldest}, {first}");
    }
    assert_eq!(oldest("SELECT min(timestamp) FROM quotes"), now - 24 * 60 * HOUR);
    // What is left is exact, and what is gone is a gap.
    let reader = history.reader().expect("a reader");
    let range = reader.range(&Wanted::Subject(Subject::All), now - 24 * 20 * HOUR, now, 1).expect("a range");
    assert_eq!(range.level, Level::Hours);
    agree(&range, &samples, &Subject::All).expect("exact");
    let range = reader.range(&Wanted::Subject(Subject::All), START, START + HOUR, 1).expect("a range");
    assert!(range.points.iter().all(|point| point.both.is_empty()), "{range:?}");
}

#[test]
fn the_file_obeys_its_limit_of_bytes_and_loses_the_oldest_of_the_finest_first() {
    let (_folder, file) = place();
    const BYTES: u64 = 4 << 20;
    let kept = Limits { bytes: BYTES, step_rows: 2_000, tail_rows: 1_000_000, ..small_steps() };
    let mut history = History::open(&file, kept.clone()).expect("opened");
    let miners: Vec<Subject> = (0..60).map(|id| miner("proxy", id, "a long name of a worker")).collect();
    let (mut samples, mut parts) = (Vec::new(), Vec::new());
    let mut now = START;
    // A day of a sample each 15 seconds: raw samples of some hours fit, and minutes of less than a day.
    while now < START + 24 * HOUR {
        let mut flush: Vec<Sample> = Vec::new();
        for _ in 0..20 {
            now += 15;
            let work = |id: usize| (now % 1_000) as f64 + id as f64 + 0.1;
            flush.extend(miners.iter().enumerate().map(|(id, miner)| measured(miner.clone(), now, work(id))));
        }
        write(&mut history, &flush);
        parts.extend(removed(&settle(&mut history, now)));
        parts.dedup();
        let bytes = history.bytes();
        assert!(bytes <= BYTES, "{bytes} bytes of {BYTES} after {} seconds", now - START);
        samples.extend(flush.into_iter().filter(|sample| sample.subject == miners[7]));
    }
    // A level loses only what is left when the finer ones have nothing more.
    assert_eq!(parts.first(), Some(&Part::Level(Level::Raw)), "{parts:?}");
    assert!(
        parts.contains(&Part::Level(Level::Minutes)) && !parts.contains(&Part::Level(Level::Hours)),
        "{parts:?}"
    );
    let reader = history.reader().expect("a reader");
    for (from, to) in [(START, now), (now - HOUR, now), (START + HOUR, START + 3 * HOUR)] {
        let range = reader.range(&Wanted::Subject(miners[7].clone()), from, to, 15).expect("a range");
        agree(&range, &samples, &miners[7]).expect("exact");
    }
    assert_eq!(history.check().expect("checked"), Vec::<String>::new());
    // A lower limit, as after a change of it, is reached by eviction and by returning pages to the disk.
    drop(reader);
    drop(history);
    let connection = Connection::open(&file).expect("opened");
    connection
        .execute_batch("CREATE TABLE ballast AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) SELECT randomblob(3000) FROM n")
        .expect("made");
    connection.execute_batch("DROP TABLE ballast").expect("dropped");
    drop(connection);
    let mut history = History::open(&file, kept).expect("opened");
    assert!(history.bytes() > BYTES);
    let steps = settle(&mut history, now);
    assert!(steps.iter().any(|step| matches!(step, Step::Shrunk(pages) if *pages > 0)), "{steps:?}");
    assert!(history.bytes() <= BYTES, "{}", history.bytes());
}

#[test]
fn names_without_samples_make_room_for_new_ones() {
    let (_folder, file) = place();
    let limits = Limits { series: 20, ..small_steps() };
    let mut history = History::open(&file, limits.clone()).expect("opened");
    let day = 86_400;
    // A sender that changes its names, in a day.
    let flood: Vec<Sample> =
        (0..30).map(|name| measured(miner("proxy", 1, &name.to_string()), START, 1.0)).collect();
    let written = history.write(&Batch { samples: &flood, ..Batch::default() }).expect("written");
    assert_eq!((written.samples, written.refused.get(&Refusal::Full)), (20, Some(&10)));
    settle(&mut history, START + day);
    let steady = miner("proxy", 1, "3");
    for later in 0..5 {
        write(&mut history, &[measured(steady.clone(), START + later * day, 1.0)]);
        settle(&mut history, START + later * day);
    }
    // Names that were not seen for days go, and those in use stay; also after a restart.
    write(&mut history, &[measured(miner("proxy", 2, "new"), START + 4 * day, 1.0)]);
    drop(history);
    let history = History::open(&file, limits).expect("opened");
    let reader = history.reader().expect("a reader");
    let range = reader.range(&Wanted::Subject(steady), START, START + 5 * day, 1).expect("a range");
    assert_eq!(range.points.iter().map(|point| point.both.measured.samples).sum::<u64>(), 6);
    let gone =
        reader.range(&Wanted::Subject(miner("proxy", 1, "4")), START, START + 5 * day, 1).expect("a range");
    assert!(gone.points.iter().all(|point| point.both.is_empty()));
}

#[test]
fn the_tail_is_bounded_without_maintenance() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    for time in 0..300 {
        let miners =
            (0..10).map(|id| measured(miner("proxy", id, ""), START + time, 1.0)).collect::<Vec<_>>();
        write(&mut history, &miners);
    }
    let connection = Connection::open(&file).expect("opened");
    let rows: i64 = connection
        .query_row("SELECT (SELECT count(*) FROM tail_0) + (SELECT count(*) FROM tail_1)", [], |row| {
            row.get(0)
        })
        .expect("a number");
    assert!(rows <= 2 * 50, "{rows}");
}

#[test]
fn what_is_read_by_hand_has_the_names_of_the_contract() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let declared =
        Sample { work: None, declared_hs: Some(7.5), ..measured(miner("proxy", 2, "b"), START + 130, 0.0) };
    let samples =
        [measured(miner("proxy", 1, "a"), START + 5, 0.1), declared, measured(Subject::All, START, 9.0)];
    let quotes = [Quote { timestamp: 4, source: "mint".into(), downstream_id: 3, amount: 5 }];
    let balances = [Balance { timestamp: 6, source: "mint".into(), balance: 7 }];
    history.write(&Batch { samples: &samples, quotes: &quotes, balances: &balances }).expect("written");
    let connection = Connection::open(&file).expect("opened");
    type Shown = (i64, String, i64, String, Option<f64>, f64, Option<f64>);
    let shown = || {
        let mut statement = connection
            .prepare("SELECT timestamp, source, downstream_id, name, work, seconds, declared_hs FROM hashrate_samples ORDER BY 1")
            .expect("prepared");
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
        });
        rows.expect("rows").map(|row| row.expect("a row")).collect::<Vec<Shown>>()
    };
    let text = str::to_owned;
    let all = vec![
        (START + 5, text("proxy"), 1, text("a"), Some(0.1), 5.0, None),
        (START + 130, text("proxy"), 2, text("b"), None, 5.0, Some(7.5)),
    ];
    assert_eq!(shown(), all);
    history.compact().expect("compacted");
    assert_eq!(shown(), all);
    let quote = connection.query_row(
        "SELECT timestamp, source, downstream_id, amount FROM quote_history",
        [],
        |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, i64>(3)?,
            ))
        },
    );
    assert_eq!(quote.expect("a quote"), (4, text("mint"), 3, 5));
    let balance = connection.query_row("SELECT source, balance FROM balance", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    });
    assert_eq!(balance.expect("a balance"), (text("mint"), 7));
}
