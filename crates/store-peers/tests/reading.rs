//! What is asked for, and the limits of an answer.
#![allow(clippy::expect_used, missing_docs)] // A test that can not go on panics.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use store_peers::{
    Balance, Batch, History, HistoryErrorKind, HistoryRange, MOST_POINTS, MOST_QUOTES, Quote, Refusal,
    Sample, Subject, Wanted,
};
use support::{measured, miner, place, small_steps, write};

const START: i64 = 1_700_000_000;

fn samples(range: &HistoryRange) -> u64 {
    range.points.iter().map(|point| point.both.measured.samples).sum()
}

#[test]
fn an_id_that_is_used_again_joins_no_history_and_a_name_does() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let unnumbered = Subject::Miner { source: "pool".into(), downstream_id: None, name: "anna".into() };
    let all = [
        (miner("proxy", 1, "anna"), 1),
        (miner("proxy", 1, "bert"), 2),
        (miner("proxy", 2, "anna"), 3),
        (miner("other", 1, "anna"), 4),
        (unnumbered.clone(), 5),
        (Subject::Source("proxy".into()), 6),
        (Subject::All, 7),
    ];
    let mut time = START;
    for (subject, many) in &all {
        for _ in 0..*many {
            time += 5;
            write(&mut history, &[measured(subject.clone(), time, 1.0)]);
        }
    }
    history.compact().expect("compacted");
    let reader = history.reader().expect("a reader");
    let count = |wanted: Wanted| samples(&reader.range(&wanted, START, START + 1_000, 5).expect("a range"));
    for (subject, many) in all {
        assert_eq!(count(Wanted::Subject(subject.clone())), many, "{subject:?}");
    }
    let named = |source: &str, name: &str| Wanted::Named { source: source.into(), name: name.into() };
    assert_eq!(
        (count(named("proxy", "anna")), count(named("pool", "anna")), count(named("pool", "bert"))),
        (4, 5, 0)
    );
    let id =
        |source: Option<&str>, downstream_id| Wanted::Id { source: source.map(str::to_owned), downstream_id };
    // The newest that has the id.
    assert_eq!((count(id(Some("proxy"), 1)), count(id(None, 1)), count(id(Some("nobody"), 1))), (2, 4, 0));
    assert_eq!(count(Wanted::Subject(miner("nobody", 1, "anna"))), 0);
}

#[test]
fn gaps_are_gaps_and_declared_hashrates_are_apart() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let subject = miner("proxy", 1, "a");
    let declared =
        Sample { work: None, declared_hs: Some(9e12), ..measured(subject.clone(), START + 600, 0.0) };
    write(
        &mut history,
        &[measured(subject.clone(), START, 5.0), declared, measured(subject.clone(), START + 1_200, 0.0)],
    );
    let reader = history.reader().expect("a reader");
    let range = reader.range(&Wanted::Subject(subject), START, START + 3_600, 5).expect("a range");
    let full: Vec<_> = range.points.iter().filter(|point| !point.both.is_empty()).collect();
    let rates: Vec<_> =
        full.iter().map(|point| (point.both.measured.rate(), point.both.declared.rate())).collect();
    // A miner that worked and found nothing is no gap.
    assert_eq!(rates, [(Some(1.0), None), (None, Some(9e12)), (Some(0.0), None)]);
    assert!((60..=MOST_POINTS).contains(&(range.points.len() as i64)), "{}", range.points.len());
}

#[test]
fn answers_have_limits() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let quote = |number: i64| Quote {
        timestamp: START + number / 2,
        source: "mint".into(),
        downstream_id: 1,
        amount: 3,
    };
    let quotes: Vec<Quote> = (0..12_000).map(quote).collect();
    history.write(&Batch { quotes: &quotes, ..Batch::default() }).expect("written");
    let reader = history.reader().expect("a reader");
    let many = |from, to, limit| reader.quotes(from, to, limit).expect("quotes").len();
    assert_eq!(many(START, START + 10_000, usize::MAX), MOST_QUOTES);
    // Equal quotes of a second are two; the end is not in the range.
    assert_eq!((many(START, START + 3, 100), many(START, START + 3, 4), many(0, 1, 100)), (6, 4, 0));
    let newest = &reader.quotes(START, START + 10_000, 1).expect("quotes")[0];
    assert_eq!((newest.timestamp, newest.source.as_str(), newest.amount), (START + 5_999, "mint", 3));
    let wanted = Wanted::Subject(Subject::All);
    for (from, to) in [(5, 5), (6, 5), (i64::MAX, i64::MIN), (-9, -5)] {
        assert_eq!(reader.range(&wanted, from, to, 1).expect_err("refused").kind, HistoryErrorKind::BadRange);
        assert_eq!(reader.quotes(from, to, 1).expect_err("refused").kind, HistoryErrorKind::BadRange);
    }
    let widest = reader.range(&wanted, i64::MIN, i64::MAX, i64::MAX).expect("a range");
    assert!(widest.points.len() as i64 <= MOST_POINTS);
}

#[test]
fn a_balance_is_the_newest_of_its_source_and_what_can_not_be_is_refused() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let balance = |source: &str, timestamp, balance| Balance { timestamp, source: source.into(), balance };
    let balances = [
        balance("a", 5, 50),
        balance("b", 5, 60),
        balance("a", 4, 40),
        balance("b", 6, u64::MAX),
        balance("", 6, 1),
    ];
    let quotes = [Quote { timestamp: -1, source: "a".into(), downstream_id: 1, amount: 1 }];
    let written =
        history.write(&Batch { balances: &balances, quotes: &quotes, samples: &[] }).expect("written");
    let refused = [(Refusal::Amount, 1), (Refusal::Name, 1), (Refusal::Time, 1)];
    assert_eq!((written.refused, written.quotes), (refused.into(), 0));
    let read = history.reader().expect("a reader").balances().expect("balances");
    let read: Vec<_> = read.iter().map(|read| (read.source.as_str(), read.balance, read.timestamp)).collect();
    assert_eq!(read, [("a", 50, 5), ("b", 60, 5)]);
}

#[test]
fn readers_see_whole_batches_while_the_writer_writes_and_compacts() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let subject = miner("proxy", 1, "a");
    let batch: Vec<Sample> = (0..10).map(|late| measured(subject.clone(), START - late, 1.0)).collect();
    write(&mut history, &batch);
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = history.reader().expect("a reader");
    let reading = thread::spawn({
        let (is_over, wanted) = (is_over.clone(), Wanted::Subject(subject));
        move || {
            let (mut reads, mut last) = (0_u64, 0);
            while !is_over.load(Ordering::Relaxed) || reads == 0 {
                let now = samples(&reader.range(&wanted, START - 100, START + 100, 1).expect("a range"));
                assert!(now.is_multiple_of(10) && now >= last, "{now} after {last}");
                last = now;
                reads += 1;
            }
        }
    });
    for _ in 0..300 {
        write(&mut history, &batch);
        history.step(START).expect("a step");
    }
    is_over.store(true, Ordering::Relaxed);
    reading.join().expect("each read saw whole batches");
}
