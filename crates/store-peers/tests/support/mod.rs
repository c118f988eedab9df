//! What the tests of the history share: samples, and the truth about a range computed from them alone.
#![allow(dead_code, clippy::expect_used, missing_docs, unreachable_pub)] // Each test uses a part of it.

use std::{path::PathBuf, time::Duration};

use store_peers::{
    Batch, Both, History, HistoryRange, HistoryReader, Level, Limits, Rollup, Sample, Step, Subject, Wanted,
};
use tempfile::TempDir;

/// A folder that ends with the test, and the file in it.
pub fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("history.sqlite");
    (folder, file)
}

/// Limits that remove nothing, and compact early in small steps.
pub fn small_steps() -> Limits {
    const LONG: Duration = Duration::from_secs(100 * 365 * 86_400);
    let kept = Limits { raw: LONG, minutes: LONG, hours: LONG, ..Limits::default() };
    Limits { step_rows: 7, tail_rows: 40, tail_age: Duration::from_secs(20), ..kept }
}

pub fn miner(source: &str, id: u32, name: &str) -> Subject {
    Subject::Miner { source: source.into(), downstream_id: Some(id), name: name.into() }
}

/// A measured sample of five seconds.
pub fn measured(subject: Subject, timestamp: i64, work: f64) -> Sample {
    Sample { timestamp, subject, seconds: 5.0, work: Some(work), declared_hs: None }
}

pub fn write(history: &mut History, samples: &[Sample]) {
    let written = history.write(&Batch { samples, ..Batch::default() }).expect("written");
    assert_eq!(written.samples, samples.len() as u64, "{written:?}");
}

/// Does all steps that are due.
pub fn settle(history: &mut History, now: i64) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        match history.step(now).expect("a step") {
            Step::Idle => return steps,
            step => steps.push(step),
        }
        assert!(steps.len() < 100_000, "maintenance has no end: {:?}", &steps[99_990..]);
    }
}

/// The roll-ups of a time, from the samples alone.
pub fn truth(samples: &[&Sample], from: i64, to: i64) -> Both {
    let mut both = Both::default();
    for sample in samples.iter().filter(|sample| (from..to).contains(&sample.timestamp)) {
        if let Some(work) = sample.work {
            add(&mut both.measured, work, sample.seconds, work / sample.seconds);
        }
        if let Some(rate) = sample.declared_hs {
            add(&mut both.declared, rate * sample.seconds, sample.seconds, rate);
        }
    }
    both
}

fn add(sum: &mut Rollup, work: f64, seconds: f64, rate: f64) {
    sum.lowest = if sum.samples == 0 { rate } else { sum.lowest.min(rate) };
    sum.highest = sum.highest.max(rate);
    sum.work += work;
    sum.seconds += seconds;
    sum.samples += 1;
}

/// Compares an answer with the truth, to 1e-9.
pub fn agree(range: &HistoryRange, samples: &[Sample], subject: &Subject) -> Result<(), String> {
    let near = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs().max(other.abs());
    let of: Vec<&Sample> = samples.iter().filter(|sample| sample.subject == *subject).collect();
    for point in &range.points {
        let truth = truth(&of, point.timestamp, point.timestamp + range.step);
        for (got, truth) in [(point.both.measured, truth.measured), (point.both.declared, truth.declared)] {
            let same = got.samples == truth.samples
                && near(got.work, truth.work)
                && near(got.seconds, truth.seconds)
                && near(got.lowest, truth.lowest)
                && near(got.highest, truth.highest);
            if !same {
                return Err(format!(
                    "{subject:?} at {} of {:?}, step {}: got {got:?}, the truth is {truth:?}",
                    point.timestamp, range.level, range.step
                ));
            }
        }
    }
    Ok(())
}

/// Compares every level with the truth from the first to the last sample.
pub fn all_levels_agree(reader: &HistoryReader, samples: &[Sample], subject: &Subject) -> Result<(), String> {
    let times = samples.iter().map(|sample| sample.timestamp);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return Ok(()) };
    let wanted = Wanted::Subject(subject.clone());
    for (level, steps) in [
        (Level::Raw, [7, 60, 3_600]),
        (Level::Minutes, [60, 180, 3_600]),
        (Level::Hours, [3_600, 7_200, 86_400]),
    ] {
        for step in steps {
            // Fewer points where the samples are far apart.
            let step = step * ((last - first) / step / 1_500 + 1);
            let range = reader.range_of_level(&wanted, level, first, last + 1, step);
            agree(&range.map_err(|error| error.to_string())?, samples, subject)?;
        }
    }
    Ok(())
}
