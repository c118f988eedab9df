//! The book of alerts, with a clock of the test's own.

use domain::chain::ContractAddress;
use supervision::{Activity, Crash, ExitKind, State};

use std::time::Instant;

use super::{book::*, *};
use crate::collector::Severity;
use crate::env::report::Place;

fn notice(kind: &str, severity: Severity, market: u8) -> Notice {
    let place = Place { market: Some(ContractAddress([market; 20])), ..Place::default() };
    Notice::new(kind, severity, place, format!("{kind} of {market}"))
}

fn told(book: &Book) -> Vec<(String, &'static str, bool)> {
    book.waiting.iter().map(|sent| (sent.name.clone(), sent.severity, sent.is_recovery)).collect()
}

fn actor(path: &str, state: State, crashes: u64) -> ActorHealth {
    let crash = Crash {
        id: crashes,
        at: 1.0,
        generation: crashes,
        kind: ExitKind::Panicked,
        message: "boom".to_owned(),
        location: Some("src/a.rs:7".to_owned()),
        backtrace: None,
    };
    ActorHealth {
        path: path.to_owned(),
        supervisor: false,
        state,
        degraded: false,
        generation: crashes + 1,
        exits: Default::default(),
        last_crash: (crashes > 0).then_some(crash),
        activity: Activity::Idle,
        wedged: false,
        quiet: Duration::ZERO,
        mailbox: None,
    }
}

#[test]
fn grave_notices_are_told_once_a_market_and_their_end_too() {
    let (mut book, now, at) = (Book::default(), Instant::now(), SystemTime::UNIX_EPOCH);
    for notice in [
        notice("epoch_released", Severity::Low, 1),
        notice("relayer_away", Severity::High, 1),
        notice("relayer_away", Severity::High, 1),
        notice("relayer_away", Severity::High, 2),
        notice("relayer_back", Severity::Medium, 1),
        // Nothing was told that it could end.
        notice("relayer_back", Severity::Medium, 3),
    ] {
        book.notice(&notice, now, at);
    }
    let name = "relayer_away".to_owned();
    let told = told(&book);
    assert_eq!(told, [(name.clone(), "High", false), (name.clone(), "High", false), (name, "High", true)]);
}

#[test]
fn a_crash_is_told_with_path_message_and_number_and_its_end_after_a_minute() {
    let (mut book, start, at) = (Book::default(), Instant::now(), SystemTime::UNIX_EPOCH);
    let running = |crashes| [actor("listener", State::Running, crashes), actor("pruner", State::Running, 0)];
    let look = |book: &mut Book, second: u64, crashes| {
        book.look(&running(crashes), start + Duration::from_secs(second), at);
    };
    look(&mut book, 0, 0);
    assert_eq!(told(&book), []);
    look(&mut book, 1, 1);
    let text = book.waiting[0].text.clone();
    for part in ["the actor listener crashed at src/a.rs:7: boom", "number 1 of /crashes?actor=listener"] {
        assert!(text.contains(part), "{text}");
    }
    // It crashes again: counted, and not well yet.
    look(&mut book, 30, 2);
    look(&mut book, 31, 2);
    look(&mut book, 80, 2);
    assert_eq!(told(&book).len(), 1);
    look(&mut book, 91, 2);
    assert_eq!(told(&book), [("listener".to_owned(), "High", false), ("listener".to_owned(), "High", true)]);
    assert!(book.waiting[1].text.contains("it came 2 times"), "{}", book.waiting[1].text);
    look(&mut book, 300, 2);
    assert_eq!(told(&book).len(), 2, "once");
}

#[test]
fn an_actor_that_is_degraded_is_not_well() {
    let (mut book, start, at) = (Book::default(), Instant::now(), SystemTime::UNIX_EPOCH);
    for minute in 0..10 {
        let degraded = ActorHealth { degraded: true, ..actor("listener", State::Running, 1) };
        book.look(&[degraded], start + Duration::from_secs(60 * minute), at);
    }
    assert_eq!(told(&book).len(), 1);
}

#[test]
fn a_receiver_that_is_away_fills_a_short_queue_and_what_is_lost_is_counted() {
    let (mut book, now, at) = (Book::default(), Instant::now(), SystemTime::UNIX_EPOCH);
    for market in 0..=255 {
        book.notice(&notice("epoch_expired", Severity::High, market), now, at);
    }
    assert_eq!((book.waiting.len(), book.counts.undelivered), (MOST_WAITING, 156));
}

#[test]
fn numbers_that_were_asked_for_are_told_each_by_itself() {
    let (mut book, now, at) = (Book::default(), Instant::now(), SystemTime::UNIX_EPOCH);
    for _ in 0..2 {
        book.notice(&notice("eligible_nodes", Severity::Low, 1), now, at);
    }
    let one = ("eligible_nodes".to_owned(), "Low", false);
    assert_eq!(told(&book), [one.clone(), one]);
}

#[test]
fn an_alert_that_had_to_make_room_while_it_was_sent_takes_no_other_with_it() {
    let (mut book, now, at) = (Book::default(), Instant::now(), SystemTime::UNIX_EPOCH);
    book.notice(&notice("first", Severity::High, 1), now, at);
    let (number, _) = book.first().expect("one waits");
    for market in 0..MOST_WAITING {
        book.notice(&notice(&format!("other {market}"), Severity::High, 1), now, at);
    }
    assert!(!book.leaves(number), "it has left already");
    assert_eq!((book.waiting.len(), book.counts.undelivered), (MOST_WAITING, 1));
    let (number, next) = book.first().expect("others wait");
    assert!(next.name == "other 0" && book.leaves(number));
}
