//! Samples a second: a batch alone, with all compaction, and a bare batch of `rusqlite` into a table with the columns of the data
//! contract and no index, with the same settings. And the alternative: each sample added to minute and hour at the flush.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use store_peers::{History, Sample, Subject};

use crate::samples::{START, limits, miners, picture, place, settle, worked, write};

/// Samples a flush.
const FLUSH: usize = 20_000;
const ROUNDS: usize = 8;
/// Flushes a round, one a second.
const FLUSHES: usize = 60;

const RATE: f64 = 200_000.0;
const RATIO: f64 = 0.7;

pub(crate) fn measure() {
    // 20,000 samples a second: of 1,000 miners, who send often, and of 100,000 who send each five seconds.
    for population in [1_000, 100_000] {
        of(population);
    }
}

fn of(population: usize) {
    let subjects = miners(population);
    let flushes = flushes(&subjects);
    let (_folder, file) = place();
    let mut history = History::open(&file, limits()).expect("opened");
    let (_bare_folder, bare_file) = place();
    let bare = bare(&bare_file);
    let (_direct_folder, direct_file) = place();
    let direct = direct(&direct_file);
    let mut now = START;
    let mut times = [Taken::default(); 4];
    let (mut longest_write, mut longest_step) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        for flush in &flushes {
            now += 1;
            let flush: Vec<Sample> =
                flush.iter().map(|sample| Sample { timestamp: now, ..sample.clone() }).collect();
            let written = timed(|| write(&mut history, &flush));
            let stepped = timed(|| longest_step = longest_step.max(settle(&mut history, now)));
            times[0].add(written);
            times[1].add(written);
            times[1].add(stepped);
            longest_write = longest_write.max(written.wall);
            times[2].add(timed(|| write_bare(&bare, &flush)));
            // It is slow, and one round shows it.
            if round == 0 {
                times[3].add(timed(|| write_direct(&direct, &flush)));
            }
        }
    }
    // What is left in the tail has its price too.
    times[1].add(timed(|| assert!(history.compact().is_ok())));
    let samples = (FLUSH * FLUSHES) as f64;
    println!("{population} miners, {FLUSH} samples a flush, {ROUNDS} rounds of {FLUSHES} flushes:");
    let names = ["a batch alone", "with all compaction", "bare rusqlite", "levels at each flush"];
    let rates: Vec<[f64; 2]> = (0..4)
        .map(|index| {
            let rounds = if index == 3 { 1.0 } else { ROUNDS as f64 };
            [times[index].wall, times[index].worked].map(|time| samples * rounds / time.as_secs_f64())
        })
        .collect();
    for (name, [wall, worked]) in names.into_iter().zip(&rates) {
        let ratios = [wall / rates[2][0], worked / rates[2][1]];
        println!(
            "  {name:<21} {wall:>8.0} samples/s (goal {RATE:.0}: {}), ratio {:.2} (goal {RATIO}: {}); by CPU time {worked:>8.0}, ratio {:.2}",
            met(*wall >= RATE),
            ratios[0],
            met(ratios[0] >= RATIO),
            ratios[1],
        );
    }
    println!("  longest write {longest_write:.0?}, longest step {longest_step:.0?}");
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

/// What some work took.
#[derive(Clone, Copy, Default)]
struct Taken {
    wall: Duration,
    worked: Duration,
}

impl Taken {
    fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.worked += other.worked;
    }
}

fn timed(work: impl FnOnce()) -> Taken {
    let (began, before) = (Instant::now(), worked());
    work();
    Taken { wall: began.elapsed(), worked: worked() - before }
}

/// The flushes of a round: the population in turns.
fn flushes(subjects: &[Subject]) -> Vec<Vec<Sample>> {
    let flush = |number: usize| {
        let of: Vec<Subject> =
            subjects.iter().cycle().skip(number * FLUSH % subjects.len()).take(FLUSH).cloned().collect();
        picture(&of, START + number as i64, 5.0)
    };
    (0..FLUSHES).map(flush).collect()
}

fn connection(file: &Path) -> Connection {
    let connection = Connection::open(file).expect("opened");
    connection.pragma_update(None, "journal_mode", "wal").expect("WAL");
    connection.pragma_update(None, "synchronous", "full").expect("set");
    connection.pragma_update(None, "cache_size", -32 * 1_024).expect("set");
    connection
}

fn bare(file: &Path) -> Connection {
    let connection = connection(file);
    let table = "CREATE TABLE hashrate_samples(timestamp INTEGER, source TEXT, downstream_id INTEGER, name TEXT, work REAL, \
                 seconds REAL, declared_hs REAL)";
    connection.execute_batch(table).expect("made");
    connection
}

fn write_bare(connection: &Connection, samples: &[Sample]) {
    let transaction = connection.unchecked_transaction().expect("begun");
    let mut insert = transaction
        .prepare_cached("INSERT INTO hashrate_samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .expect("prepared");
    for sample in samples {
        let Subject::Miner { source, downstream_id, name } = &sample.subject else { continue };
        let row = params![
            sample.timestamp,
            &**source,
            downstream_id,
            &**name,
            sample.work,
            sample.seconds,
            sample.declared_hs
        ];
        insert.execute(row).expect("inserted");
    }
    drop(insert);
    transaction.commit().expect("committed");
}

fn direct(file: &Path) -> Connection {
    let connection = connection(file);
    let tables = "CREATE TABLE raw(series, at, work, seconds, PRIMARY KEY(series, at)) WITHOUT ROWID;
        CREATE TABLE minutes(series, at, work, seconds, lowest, highest, samples, PRIMARY KEY(series, at)) WITHOUT ROWID;
        CREATE TABLE hours(series, at, work, seconds, lowest, highest, samples, PRIMARY KEY(series, at)) WITHOUT ROWID;";
    connection.execute_batch(tables).expect("made");
    connection
}

/// Series have their numbers already, so that names cost nothing here.
fn write_direct(connection: &Connection, samples: &[Sample]) {
    let transaction = connection.unchecked_transaction().expect("begun");
    let mut raw =
        transaction.prepare_cached("INSERT OR REPLACE INTO raw VALUES (?1, ?2, ?3, ?4)").expect("prepared");
    let mut merge = ["minutes", "hours"].map(|table| {
        let sql = format!(
            "INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1) ON CONFLICT DO UPDATE SET work = work + excluded.work, \
             seconds = seconds + excluded.seconds, lowest = min(lowest, excluded.lowest), \
             highest = max(highest, excluded.highest), samples = samples + 1"
        );
        transaction.prepare(&sql).expect("prepared")
    });
    for sample in samples {
        let Subject::Miner { source, downstream_id, .. } = &sample.subject else { continue };
        let source: i64 = source["proxy-".len()..].parse().expect("a number");
        let series = source * 100 + i64::from(downstream_id.unwrap_or_default());
        let work = sample.work.unwrap_or_default();
        raw.execute(params![series, sample.timestamp, work, sample.seconds]).expect("inserted");
        for (merge, length) in merge.iter_mut().zip([60, 3_600]) {
            let row = params![series, sample.timestamp / length, work, sample.seconds, work / sample.seconds];
            merge.execute(row).expect("merged");
        }
    }
    drop((raw, merge));
    transaction.commit().expect("committed");
}
