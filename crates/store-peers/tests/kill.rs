//! A writer that is killed at any moment leaves a file that is whole: every batch it acknowledged, at most one more, none in part.
#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)] // A test that can not go on panics.

mod support;

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use store_peers::{Batch, History, Level, Limits, Quote, Sample, Subject, Wanted};
use support::{agree, small_steps};

const START: i64 = 1_700_000_000;
/// Samples of a batch.
const BATCH: u32 = 20;

fn limits() -> Limits {
    Limits { tail_rows: 200, step_rows: 30, ..small_steps() }
}

fn subject(number: u32) -> Subject {
    support::miner("proxy", number, "rig")
}

/// The samples of a batch: one of each miner, one of them late.
fn batch(number: i64) -> Vec<Sample> {
    let time = |miner: u32| START + number * 5 - if miner == 3 { 700 } else { 0 };
    (0..BATCH)
        .map(|miner| support::measured(subject(miner), time(miner), f64::from(miner) + number as f64))
        .collect()
}

fn quote(number: i64) -> Quote {
    Quote {
        timestamp: START + number,
        source: "proxy".into(),
        downstream_id: 1,
        amount: number.unsigned_abs(),
    }
}

/// The writer that is killed; it does nothing in a usual run.
#[test]
fn child_writer() {
    let Some(file) = env::var_os("HISTORY_OF_CHILD") else { return };
    let first: i64 = env::var("HISTORY_FIRST").expect("a number").parse().expect("a number");
    let mut history = History::open(Path::new(&file), limits()).expect("opened");
    for number in first.. {
        let (samples, quotes) = (batch(number), [quote(number)]);
        history.write(&Batch { samples: &samples, quotes: &quotes, balances: &[] }).expect("written");
        println!("acknowledged {number}");
        for _ in 0..3 {
            history.step(START + number * 5).expect("a step");
        }
    }
}

/// Lets a writer go on until it has acknowledged so many batches, and kills it at some moment after that. Returns the last batch that
/// it acknowledged.
fn run_and_kill(file: &PathBuf, first: i64, batches: i64, spins: u32) -> i64 {
    let mut child = Command::new(env::current_exe().expect("a program"))
        .args(["--exact", "child_writer", "--nocapture"])
        .env("HISTORY_OF_CHILD", file)
        .env("HISTORY_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let number =
        |line: String| line.split_once("acknowledged ").and_then(|(_, number)| number.parse::<i64>().ok());
    let mut last = first - 1;
    while last < first + batches {
        let line = lines.next().expect("the writer goes on").expect("text");
        last = number(line).unwrap_or(last);
    }
    // Any moment of a batch or a step may be the one.
    (0..spins).for_each(|_| std::hint::spin_loop());
    child.kill().expect("killed");
    let rest = lines.map_while(Result::ok).filter_map(number);
    last = rest.last().unwrap_or(last);
    child.wait().expect("ended");
    last
}

fn kill_again_and_again(times: u32) {
    let (_folder, file) = support::place();
    let (mut next, mut unacknowledged) = (0, 0);
    for time in 0..times {
        // Any number that differs from time to time: the moments are those of the machine.
        let acknowledged = run_and_kill(&file, next, i64::from(time % 7) * 3, (time * 7_919) % 50_000);
        let mut history = History::open(&file, limits()).expect("opened");
        assert_eq!(history.check().expect("checked"), Vec::<String>::new());
        let reader = history.reader().expect("a reader");
        let quotes = reader.quotes(START, START + 1_000_000_000, 10_000).expect("quotes");
        let there = i64::try_from(quotes.len()).expect("few") - 1;
        assert!(
            there == acknowledged || there == acknowledged + 1,
            "{acknowledged} acknowledged, {there} there"
        );
        unacknowledged += there - acknowledged;
        // The levels have just the samples of those batches, before and after the compaction is finished.
        let samples: Vec<Sample> = (0..=there).flat_map(batch).collect();
        for is_compacted in [false, true] {
            if is_compacted {
                history.compact().expect("compacted");
            }
            for miner in [0, 3, BATCH - 1] {
                for level in Level::ALL {
                    let wanted = Wanted::Subject(subject(miner));
                    let end = START + there * 5 + 1;
                    let range =
                        reader.range_of_level(&wanted, level, START - 3_600, end, 3_600).expect("a range");
                    agree(&range, &samples, &subject(miner)).expect("exact");
                }
            }
        }
        next = there + 1;
    }
    println!("{times} kills, {next} batches, {unacknowledged} of them committed and not acknowledged");
}

#[test]
fn a_killed_writer_leaves_a_whole_file() {
    kill_again_and_again(10);
}

#[test]
#[ignore = "a minute: run by make test-all"]
fn a_hundred_killed_writers_leave_a_whole_file() {
    kill_again_and_again(100);
}
