//! Random histories: several sources, gaps, restarts of both sides, counters that begin anew, clocks that leap.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*};

use super::reference::{self, Channel, Expected, Sent, Windows};
use crate::peers::{PeerKind, Poll, Sample, SumMeter, Window, WindowMeter, WorkSum};

const START: i64 = 1_700_000_000;
const NAMES: [&str; 3] = ["rig", "farm", ""];
const CLOSE: f64 = 1e-9;

/// What happens between two pictures of a source.
#[derive(Clone, Debug)]
struct Step {
    /// The time that passes, in seconds.
    passes: i64,
    /// How far the clock leaps, in seconds.
    leap: i64,
    /// Whether we restart, or the polled source does.
    restarts: bool,
    /// Which peers are there, each with its work.
    peers: Vec<Option<f64>>,
    /// Whether the counter of the first peer begins anew.
    resets: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let passes = prop_oneof![6 => 5_i64..16, 1 => Just(0), 1 => 17_i64..300, 1 => 601_i64..20_000];
    let leap = prop_oneof![12 => Just(0), 1 => -40_i64..0, 1 => 10_i64..40, 1 => -100_000_i64..-1_000, 1 => 1_000_i64..100_000];
    let work = prop_oneof![1 => Just(0.0), 6 => 0.0..1e6, 1 => 0.0..1e18];
    let peers = vec(prop::option::weighted(0.8, work), 4);
    (passes, leap, prop::bool::weighted(0.05), peers, prop::bool::weighted(0.1))
        .prop_map(|(passes, leap, restarts, peers, resets)| Step { passes, leap, restarts, peers, resets })
}

/// Number and name of a peer. Two numbers share a name, and one number is used for two names.
fn peer(index: usize) -> (u32, &'static str) {
    [(1, NAMES[0]), (2, NAMES[1]), (3, NAMES[1]), (3, NAMES[2])][index]
}

fn series(index: usize) -> String {
    let (id, name) = peer(index);
    format!("{id} {name}")
}

/// Plays a source that pushes windows; the samples that were measured, and those that should be.
fn push(source: usize, steps: &[Step], window: u64) -> (Vec<Sample>, Vec<Expected>) {
    let name: Arc<str> = Arc::from(format!("source {source}"));
    let mut meter = WindowMeter::new(Arc::clone(&name), None);
    let mut judge = Windows::default();
    let (mut measured, mut expected): (Vec<Sample>, Vec<Expected>) = (Vec::new(), Vec::new());
    let mut clock = START;
    for step in steps {
        clock += step.passes + step.leap;
        let timestamp = u64::try_from(clock).unwrap();
        if step.restarts {
            let last = measured.iter().map(|sample| sample.timestamp).max();
            meter = WindowMeter::new(Arc::clone(&name), last);
            judge.restart(last);
        }
        let there = step.peers.iter().enumerate().filter_map(|(index, work)| work.map(|work| (index, work)));
        let windows: Vec<Window<'_>> = there
            .clone()
            .map(|(index, work)| {
                let (downstream_id, name) = peer(index);
                Window { downstream_id, name, work, seconds: window, timestamp }
            })
            .collect();
        let sent: Vec<Sent> =
            there.map(|(index, work)| Sent { series: series(index), work, window }).collect();
        let picture = meter.measure(windows, timestamp, timestamp);
        measured.extend(picture.samples);
        expected.extend(judge.picture(source, &sent, timestamp));
    }
    (measured, expected)
}

/// Plays a source that is polled.
fn pull(source: usize, steps: &[Step]) -> (Vec<Sample>, Vec<Expected>) {
    let mut meter = SumMeter::new(Arc::from(format!("source {source}")));
    let (mut measured, mut expected) = (Vec::new(), Vec::new());
    let (mut clock, mut uptime) = (START, 1_000);
    let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
    let mut before: Option<i64> = None;
    for step in steps {
        clock += step.passes + step.leap;
        uptime += step.passes;
        // One that restarts has run for a while, or nobody could tell.
        let restarts = step.restarts && step.passes >= 10;
        if restarts {
            uptime = step.passes / 2;
            sums.clear();
        }
        let known: BTreeSet<usize> = sums.keys().copied().collect();
        let present =
            step.peers.iter().enumerate().filter_map(|(index, done)| done.map(|done| (index, done)));
        let mut channels = Vec::new();
        let mut now: BTreeMap<usize, f64> = BTreeMap::new();
        for (index, done) in present {
            let old = sums.get(&index).copied().unwrap_or_default();
            let resets = step.resets && index == 0 && old > 0.0;
            let sum = if resets { 0.0 } else { old + done };
            now.insert(index, sum);
            // What is measured is what the counter can show of it.
            let is_new = resets || !known.contains(&index);
            let name = format!("{} (extended)", peer(index).1);
            channels.push(Channel { series: name, done: sum - old, is_new });
        }
        let poll = Poll { at: clock as f64, uptime: Some(uptime as f64) };
        let sent = now.iter().map(|(index, work)| {
            let (client_id, name) = peer(*index);
            let channel_id = u32::try_from(*index).unwrap();
            WorkSum { client_id, channel_id, kind: PeerKind::Extended, name, work: *work }
        });
        let passed = before.map(|before| clock - before);
        if passed == Some(0) {
            // Not even a moment passed; the source can't have changed.
            uptime -= step.passes;
            continue;
        }
        measured.extend(meter.measure(sent, poll).samples);
        let is_broken = restarts || step.leap > 5 || passed.is_none_or(|passed| !(0..=600).contains(&passed));
        let timestamp = u64::try_from(clock).unwrap();
        let seconds = passed.unwrap_or_default() as f64;
        expected.extend(reference::poll(source, &channels, timestamp, seconds, is_broken));
        (sums, before) = (now, Some(clock));
    }
    (measured, expected)
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= CLOSE * one.abs().max(other.abs()).max(1e-9)
}

fn same_samples(
    mut measured: Vec<(String, u64, f64, f64)>,
    mut expected: Vec<(String, u64, f64, f64)>,
) -> Result<(), TestCaseError> {
    let order = |one: &(String, u64, f64, f64), other: &(String, u64, f64, f64)| {
        (&one.0, one.1).cmp(&(&other.0, other.1)).then(one.2.total_cmp(&other.2))
    };
    measured.sort_by(order);
    expected.sort_by(order);
    prop_assert_eq!(measured.len(), expected.len(), "{:?}\n{:?}", measured, expected);
    for (one, other) in measured.iter().zip(&expected) {
        let is_same = (&one.0, one.1) == (&other.0, other.1) && is_close(one.2, other.2) && one.3 == other.3;
        prop_assert!(is_same, "{one:?} {other:?}");
    }
    Ok(())
}

fn of_expected(expected: &[Expected]) -> Vec<(String, u64, f64, f64)> {
    expected.iter().map(|one| (one.series.clone(), one.timestamp, one.work, one.seconds)).collect()
}

proptest! {
    #[test]
    fn windows_are_measured_as_the_contract_says(steps in vec(step(), 1..40), window in 1_u64..90) {
        let (measured, expected) = push(0, &steps, window);
        let measured = measured.iter().map(|one| {
            (format!("{} {}", one.downstream_id, one.name), one.timestamp, one.work, one.seconds)
        });
        same_samples(measured.collect(), of_expected(&expected))?;
    }

    #[test]
    fn growing_sums_are_measured_as_the_contract_says(steps in vec(step(), 1..40)) {
        let (measured, expected) = pull(0, &steps);
        let measured = measured.iter().map(|one| (one.series().to_string(), one.timestamp, one.work, one.seconds));
        same_samples(measured.collect(), of_expected(&expected))?;
    }

    #[test]
    fn the_totals_of_a_source_have_all_the_work_of_its_peers(steps in vec(step(), 1..40), window in 1_u64..90) {
        let mut meter = WindowMeter::new(Arc::from("north"), None);
        let (mut clock, mut of_peers, mut of_totals) = (START, 0.0, 0.0);
        let mut waiting = 0.0;
        for step in &steps {
            clock += step.passes + step.leap;
            let timestamp = u64::try_from(clock).unwrap();
            let windows = step.peers.iter().enumerate().filter_map(|(index, work)| {
                let (downstream_id, name) = peer(index);
                work.map(|work| Window { downstream_id, name, work, seconds: window, timestamp })
            });
            let picture = meter.measure(windows, timestamp, timestamp);
            let work: f64 = picture.samples.iter().map(|sample| sample.work).sum();
            of_peers += work;
            waiting += work;
            if let Some(total) = picture.total {
                of_totals += total.work;
                waiting = 0.0;
                // No sample of a peer covers more time than the total.
                prop_assert!(total.seconds > 0.0 && total.seconds <= window as f64);
            }
        }
        prop_assert!(is_close(of_peers, of_totals + waiting), "{of_peers} {of_totals} {waiting}");
    }
}
