//! What readers notice of the writer: the time of a range while nothing is written, and while batches, compaction, eviction and
//! shrinking run without a pause. On a machine that does other work too, the first phase says what that costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use store_peers::{History, HistoryReader, Limits, Step, Wanted};

use crate::samples::{START, limits, miners, percentile, picture, place, settle, write};

const MINERS: usize = 5_000;
const GOAL: Duration = Duration::from_millis(50);
const PHASES: [&str; 4] = ["idle", "batches and compaction", "eviction", "retention and shrinking"];

pub(crate) fn measure() {
    let (_folder, file) = place();
    let subjects = miners(MINERS);
    let mut history = History::open(&file, limits()).expect("opened");
    let mut now = START;
    let mut flush = |history: &mut History, seconds: i64| {
        for _ in 0..seconds / 5 {
            now += 5;
            write(history, &picture(&subjects, now, 5.0));
        }
        now
    };
    flush(&mut history, 600);
    history.compact().expect("compacted");
    let (phase, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let reader = history.reader().expect("a reader");
    let reading = thread::spawn({
        let (phase, stop, wanted) = (phase.clone(), stop.clone(), Wanted::Subject(subjects[77].clone()));
        move || read(&reader, &wanted, &phase, &stop)
    });
    thread::sleep(Duration::from_secs(3));
    phase.store(1, Ordering::Relaxed);
    let mut end = START;
    for _ in 0..5 {
        end = flush(&mut history, 600);
        history.compact().expect("compacted");
    }
    // The same file with less room, and then with a shorter time.
    let bytes = history.bytes();
    let steps = |limits: Limits, history: History| {
        drop(history);
        let mut history = History::open(&file, limits).expect("opened");
        let mut counts = [0_usize; 3];
        let mut longest = Duration::ZERO;
        loop {
            let began = Instant::now();
            match history.step(end).expect("a step") {
                Step::Evicted(_) => counts[0] += 1,
                Step::Retired(_) => counts[1] += 1,
                Step::Shrunk(_) => counts[2] += 1,
                Step::Idle => break,
                _ => {}
            }
            longest = longest.max(began.elapsed());
        }
        println!(
            "  steps: {} evicted, {} retired, {} shrank; the longest {longest:.0?}",
            counts[0], counts[1], counts[2]
        );
        history
    };
    phase.store(2, Ordering::Relaxed);
    let history = steps(Limits { bytes: bytes / 2, ..limits() }, history);
    phase.store(3, Ordering::Relaxed);
    let short =
        Limits { raw: Duration::ZERO, minutes: Duration::from_secs(60), bytes: bytes / 3, ..limits() };
    let mut history = steps(short, history);
    settle(&mut history, end + 86_400);
    stop.store(true, Ordering::Relaxed);
    report(reading.join().expect("the reader ends"));
}

/// Reads the newest hour again and again, and returns the times of each phase.
fn read(
    reader: &HistoryReader,
    wanted: &Wanted,
    phase: &AtomicUsize,
    stop: &AtomicBool,
) -> [Vec<Duration>; 4] {
    let mut times: [Vec<Duration>; 4] = Default::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        reader.range(wanted, START, START + 3_600, 5).expect("a range");
        times[phase.load(Ordering::Relaxed)].push(began.elapsed());
    }
    times
}

fn report(times: [Vec<Duration>; 4]) {
    for (name, mut times) in PHASES.into_iter().zip(times) {
        if times.is_empty() {
            println!("  {name}: too short to be read");
            continue;
        }
        let [p50, p99, highest] = [50, 99, 100].map(|percent| percentile(&mut times, percent));
        let met = if highest < GOAL { "met" } else { "missed" };
        let over = times.iter().filter(|time| **time >= GOAL).count();
        println!(
            "  {name:<24} {:>6} reads, p50 {p50:>8.2?}, p99 {p99:>8.2?}, the longest {highest:.2?} (goal {GOAL:.0?}: {met}), {over} over it",
            times.len()
        );
    }
}
