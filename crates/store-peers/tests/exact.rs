//! Every range from every level is what the samples alone say: through gaps, late samples, leaps of the clock, failures at every
//! point, and whatever retention has removed.
#![allow(clippy::expect_used, missing_docs)] // A test that can not go on panics.

mod support;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use store_peers::{Batch, History, HistoryErrorKind, Level, Limits, Point, Sample, Stopped, Subject, Wanted};
use support::{agree, all_levels_agree, place, settle, small_steps};

const START: i64 = 1_700_000_000;

fn subjects() -> Vec<Subject> {
    let of = |id, name: &str| support::miner("proxy", id, name);
    let unnamed = Subject::Miner { source: "pool".into(), downstream_id: None, name: "worker".into() };
    vec![Subject::All, Subject::Source("proxy".into()), of(1, "a"), of(1, "b"), of(2, "a"), unnamed]
}

/// A sample: its subject, how many seconds it is late, its seconds, work and declared hashrate.
type Made = (usize, i64, f64, Option<f64>, Option<f64>);

/// What happens to a history.
#[derive(Clone, Debug)]
enum Act {
    /// The clock advances, or leaps; then these samples are written, each so many seconds late.
    Write {
        leap: i64,
        samples: Vec<Made>,
    },
    /// So many steps of maintenance.
    Steps(usize),
    Compact,
    Reopen,
    /// The next pass of this point fails.
    Fail(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let leap = prop_oneof![8 => 1..20_i64, 2 => 60..4_000_i64, 1 => Just(90_000), 1 => Just(-90_000), 1 => Just(-30)];
    let late = prop_oneof![6 => Just(0), 2 => 0..100_i64, 1 => 0..20_000_i64];
    let amount = || prop::option::of(prop_oneof![Just(0.0), 0.001..1e6_f64, Just(1e29)]);
    let seconds = prop_oneof![Just(5.0), Just(15.0), 0.5..60.0_f64];
    let sample = (0..6_usize, late, seconds, amount(), amount());
    prop_oneof![
        6 => (leap, prop::collection::vec(sample, 1..25)).prop_map(|(leap, samples)| Act::Write { leap, samples }),
        4 => (1..12_usize).prop_map(Act::Steps),
        1 => Just(Act::Compact),
        1 => Just(Act::Reopen),
        2 => (0..Point::ALL.len()).prop_map(Act::Fail),
    ]
}

/// The point that fails next.
type Armed = Arc<Mutex<Option<Point>>>;

fn open(file: &Path, limits: &Limits, armed: &Armed) -> History {
    let mut history = History::open(file, limits.clone()).expect("opened");
    let armed = armed.clone();
    history.set_probe(Box::new(move |point| {
        let mut armed = armed.lock().expect("not poisoned");
        if *armed == Some(point) {
            *armed = None;
            return Err(Stopped(point));
        }
        Ok(())
    }));
    history
}

/// Plays a history, and returns it with the samples that are in it, and the last time.
fn play(file: &Path, limits: &Limits, acts: &[Act]) -> (History, Vec<Sample>, i64) {
    let armed = Armed::default();
    let (mut history, mut model, mut now) = (open(file, limits, &armed), Vec::new(), START);
    for act in acts {
        match act {
            Act::Write { leap, samples } => {
                now += leap;
                let samples: Vec<Sample> = samples
                    .iter()
                    .map(|(subject, late, seconds, work, declared_hs)| Sample {
                        timestamp: now - late,
                        subject: subjects()[*subject].clone(),
                        seconds: *seconds,
                        work: *work,
                        declared_hs: *declared_hs,
                    })
                    .collect();
                let kept = samples.iter().filter(|sample| sample.check().is_ok()).cloned();
                let before = *armed.lock().expect("not poisoned");
                match history.write(&Batch { samples: &samples, ..Batch::default() }) {
                    Ok(written) => {
                        assert_eq!(written.samples, kept.clone().count() as u64);
                        model.extend(kept);
                    }
                    Err(error) => {
                        assert_eq!(error.kind, HistoryErrorKind::Stopped, "{error}");
                        if before == Some(Point::BatchAfterCommit) {
                            model.extend(kept);
                        }
                    }
                }
            }
            Act::Steps(many) => {
                for _ in 0..*many {
                    let _ = history.step(now);
                }
            }
            Act::Compact => {
                let _ = history.compact();
            }
            Act::Reopen => {
                drop(history);
                history = open(file, limits, &armed);
            }
            Act::Fail(point) => *armed.lock().expect("not poisoned") = Some(Point::ALL[*point]),
        }
    }
    *armed.lock().expect("not poisoned") = None;
    (history, model, now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_level_equals_the_raw_computation(acts in prop::collection::vec(act(), 1..60)) {
        let (_folder, file) = place();
        let (mut history, model, _) = play(&file, &small_steps(), &acts);
        let reader = history.reader().expect("a reader");
        for compacted in [false, true] {
            for subject in subjects() {
                all_levels_agree(&reader, &model, &subject).map_err(TestCaseError::fail)?;
            }
            if !compacted {
                history.compact().expect("compacted");
            }
        }
        prop_assert_eq!(history.check().expect("checked"), Vec::<String>::new());
    }

    #[test]
    fn ranges_stay_exact_whatever_retention_has_removed(acts in prop::collection::vec(act(), 1..60)) {
        let (_folder, file) = place();
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        // Hours are kept: from them every range can be answered, in whatever step that has.
        let limits = Limits { raw: hours(1), minutes: hours(12), ..small_steps() };
        let (mut history, model, now) = play(&file, &limits, &acts);
        let reader = history.reader().expect("a reader");
        let lengths = [600, 3_600, 20_000, 90_000, 700_000];
        for settled in [false, true] {
            for subject in subjects() {
                for length in lengths {
                    for to in [now + 1, now - 5_000, now - 100_000] {
                        let wanted = Wanted::Subject(subject.clone());
                        let range = reader.range(&wanted, to - length, to, 5).expect("a range");
                        agree(&range, &model, &subject).map_err(TestCaseError::fail)?;
                    }
                }
            }
            if !settled {
                settle(&mut history, now);
            }
        }
    }
}

#[test]
fn samples_of_one_second_and_id_are_all_kept() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let subject = support::miner("proxy", 1, "a");
    let sample = support::measured(subject.clone(), START, 3.0);
    let all = vec![sample; 5];
    for _ in 0..3 {
        support::write(&mut history, &all);
        history.compact().expect("compacted");
    }
    let wanted = Wanted::Subject(subject);
    let range = history.reader().expect("a reader").range_of_level(&wanted, Level::Raw, START, START + 1, 1);
    assert_eq!(range.expect("a range").points[0].both.measured.samples, 15);
    // More than one run can have of a series.
    let many = vec![all[0].clone(); 40_000];
    support::write(&mut history, &many);
    for compacted in [false, true] {
        if compacted {
            history.compact().expect("compacted");
        }
        let reader = history.reader().expect("a reader");
        let range = reader.range_of_level(&wanted, Level::Minutes, START, START + 1, 60).expect("a range");
        assert_eq!(range.points[0].both.measured.samples, 40_015);
    }
}

#[test]
fn the_end_of_what_was_measured_is_found_in_the_tail_and_in_the_raw_level() {
    let (_folder, file) = place();
    let mut history = History::open(&file, small_steps()).expect("opened");
    let (subject, other) = (support::miner("proxy", 1, "a"), support::miner("proxy", 2, "b"));
    let until = |history: &History, subject: &Subject, from| {
        let reader = history.reader().expect("a reader");
        reader.measured_until(subject.clone(), from, START + 1_000).expect("read")
    };
    assert_eq!(until(&history, &subject, START - 1_000), None);
    let declared =
        Sample { work: None, declared_hs: Some(9.0), ..support::measured(subject.clone(), START + 70, 0.0) };
    let samples = [
        support::measured(subject.clone(), START + 7, 3.0),
        support::measured(other, START + 60, 3.0),
        declared,
    ];
    support::write(&mut history, &samples);
    for _ in 0..2 {
        assert_eq!(until(&history, &subject, START - 1_000), Some(START + 7));
        assert_eq!(until(&history, &subject, START + 8), None);
        history.compact().expect("compacted");
    }
}
