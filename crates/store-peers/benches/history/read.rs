//! Any range over two years of 1,000 miners at the levels of the data contract: raw samples of 48 hours, minutes of 30 days, hours of two
//! years, with the newest ten minutes still in the tail. `HISTORY_BENCH_MINERS` makes it smaller.

use std::time::{Duration, Instant};

use store_peers::{History, Subject, Wanted};

use crate::samples::{START, limits, miners, percentile, picture, place, settle, totals, write};

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const GOAL: Duration = Duration::from_millis(100);
const QUERIES: usize = 3_000;

pub(crate) fn measure() {
    let count = std::env::var("HISTORY_BENCH_MINERS").map_or(1_000, |text| text.parse().expect("a number"));
    let (_folder, file) = place();
    let mut history = History::open(&file, limits()).expect("opened");
    let subjects = [miners(count), totals(count)].concat();
    let now = START;
    // What is too old for a level is not written to it.
    settle(&mut history, now);
    let began = Instant::now();
    let mut samples = 0;
    let parts = [
        (now - 730 * DAY, now - 30 * DAY, HOUR),
        (now - 30 * DAY, now - 2 * DAY, 60),
        (now - 2 * DAY, now - 600, 5),
    ];
    for (from, to, interval) in parts {
        let mut batch = Vec::new();
        for time in (from..to).step_by(interval as usize) {
            batch.extend(picture(&subjects, time, interval as f64));
            if batch.len() > 50_000 {
                write(&mut history, &batch);
                settle(&mut history, now);
                samples += batch.len();
                batch.clear();
            }
        }
        write(&mut history, &batch);
        samples += batch.len();
        println!("  {samples} samples after {:.0?}", began.elapsed());
    }
    history.compact().expect("compacted");
    // The flushes of each second.
    for time in now - 600..now {
        let of: Vec<Subject> = subjects
            .iter()
            .enumerate()
            .filter(|(at, _)| *at as i64 % 5 == time % 5)
            .map(|(_, of)| of.clone())
            .collect();
        write(&mut history, &picture(&of, time, 5.0));
    }
    println!(
        "{count} miners: {samples} samples in {:.0?}, {} MB",
        began.elapsed(),
        history.bytes() / 1_000_000
    );
    query(&history, &subjects, count);
}

fn query(history: &History, subjects: &[Subject], miners: usize) {
    let reader = history.reader().expect("a reader");
    let lengths = [HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY, 730 * DAY];
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut all = Vec::new();
    for length in lengths {
        let (mut times, mut points) = (Vec::new(), 0);
        for number in 0..QUERIES / lengths.len() {
            // Half of them end now, as those of a page do; one in five is of a total.
            let back = if number % 2 == 0 { 0 } else { next(730 * DAY as u64) as i64 };
            let of = if number % 5 == 0 {
                miners + next((subjects.len() - miners) as u64) as usize
            } else {
                next(miners as u64) as usize
            };
            let wanted = Wanted::Subject(subjects[of].clone());
            let to = START - back;
            let began = Instant::now();
            let range = reader.range(&wanted, to - length, to, 5).expect("a range");
            times.push(began.elapsed());
            points += range.points.iter().filter(|point| !point.both.is_empty()).count();
        }
        let mean = points as f64 / times.len() as f64;
        let [p50, p99] = [50, 99].map(|percent| percentile(&mut times, percent));
        println!("  {:>4} h: p50 {p50:>9.2?}, p99 {p99:>9.2?}, {mean:.0} points with samples", length / HOUR);
        all.extend(times);
    }
    let [p50, p99, highest] = [50, 99, 100].map(|percent| percentile(&mut all, percent));
    let met = if p99 < GOAL { "met" } else { "missed" };
    println!("  all: p50 {p50:.2?}, p99 {p99:.2?} (goal {GOAL:.0?}: {met}), highest {highest:.2?}");
}
