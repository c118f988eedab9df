//! Pictures of a population of miners, as sources of 100 miners each send them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use store_peers::{Batch, History, Limits, Sample, Step, Subject};
use tempfile::TempDir;

/// Miners of a source.
pub(crate) const OF_SOURCE: usize = 100;
/// Where time starts: on a whole day.
pub(crate) const START: i64 = 1_699_920_000;

/// The miners of a population.
pub(crate) fn miners(count: usize) -> Vec<Subject> {
    let sources: Vec<Arc<str>> =
        (0..count.div_ceil(OF_SOURCE)).map(|source| format!("proxy-{source}").into()).collect();
    let miner = |number: usize| Subject::Miner {
        source: sources[number / OF_SOURCE].clone(),
        downstream_id: Some((number % OF_SOURCE) as u32),
        name: format!("bc1q-customer-{number}.rig{:02}", number % 37).into(),
    };
    (0..count).map(miner).collect()
}

/// The total of all, and of each source.
pub(crate) fn totals(count: usize) -> Vec<Subject> {
    let sources =
        (0..count.div_ceil(OF_SOURCE)).map(|source| Subject::Source(format!("proxy-{source}").into()));
    [Subject::All].into_iter().chain(sources).collect()
}

/// One measured sample of each, for the seconds before a time. Work differs from sample to sample, as it does in life.
pub(crate) fn picture(subjects: &[Subject], timestamp: i64, seconds: f64) -> Vec<Sample> {
    let sample = |(number, subject): (usize, &Subject)| {
        let noise = (number as u64 ^ timestamp as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11;
        let work = seconds * (20_000.0 + noise as f64 / 1e11);
        Sample { timestamp, subject: subject.clone(), seconds, work: Some(work), declared_hs: None }
    };
    subjects.iter().enumerate().map(sample).collect()
}

/// A folder on the disk, and the path of a file in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("history-bench").tempdir().expect("a folder");
    let file = folder.path().join("history.sqlite");
    (folder, file)
}

/// Limits of the contract without a limit of bytes that matters.
pub(crate) fn limits() -> Limits {
    Limits { bytes: 1 << 40, ..Limits::default() }
}

pub(crate) fn write(history: &mut History, samples: &[Sample]) {
    let written = history.write(&Batch { samples, ..Batch::default() }).expect("written");
    assert_eq!(written.samples, samples.len() as u64);
}

/// Does the steps that are due, and returns the longest.
pub(crate) fn settle(history: &mut History, now: i64) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let began = std::time::Instant::now();
        let step = history.step(now).expect("a step");
        longest = longest.max(began.elapsed());
        if step == Step::Idle {
            return longest;
        }
    }
}

/// The value below which this part of all is, in per cent.
pub(crate) fn percentile(all: &mut [Duration], percent: usize) -> Duration {
    all.sort_unstable();
    all[(all.len() * percent / 100).min(all.len() - 1)]
}

/// The time that this thread has worked, whatever else the machine did.
pub(crate) fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
