//! What supervision costs an actor that handles a million messages a second: the same loop with the same work, as an actor
//! of a tree with its watch, and over the same mailbox without a tree.
//!
//! All run on one thread, and its CPU time is compared: a cost of some percent would disappear in the noise of wall time, and
//! in the chance by which tasks share a thread. The watch has a thread of its own, whose looks are too rare to matter.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    clocks,
    kit::{Part, Running},
    peers,
    race::{Contestant, Handle, Handled, rates, ratios, stop},
    report::{Goal, Report, quantile},
    throughput::into_mailbox,
};

/// Messages of one iteration.
const MESSAGES: u64 = 50_000;
/// The contestants are built anew so often, since chance places them well or badly in memory.
const BUILDS: usize = 8;
const ROUNDS: usize = 8;
const ROOM: usize = 1_024;
const BATCH: usize = 64;
/// What one message should take without a tree.
const NANOS: f64 = 1_000.0;

pub(crate) fn measure(_: &Runtime, report: &mut Report) {
    let runtime = &Builder::new_current_thread().enable_all().build().unwrap();
    let work = Work(Arc::new(AtomicU64::new(500)));
    let mut all: [Vec<f64>; 5] = Default::default();
    for build in 0..BUILDS {
        let contestants =
            [each, each_bare, batches, batches_bare, channel].map(|start| start(runtime, &work));
        if build == 0 {
            fit(&work, runtime, &contestants[1]);
        }
        let rates = rates(runtime, &contestants, (1, MESSAGES), clocks::thread_cpu, ROUNDS);
        all.iter_mut().zip(rates).for_each(|(all, rates)| all.extend(rates));
        stop(runtime, contestants.into());
    }
    let [each, each_bare, batches, batches_bare, channel] = &all;
    let millions: Vec<f64> = each_bare.iter().map(|rate| rate / 1e6).collect();
    report.median(
        "a loop with work over a mailbox without a tree: messages/s of CPU",
        " M",
        &millions,
        Goal::None,
    );
    // What the slower one needs more for each message.
    let mut cost = |what: &str, supervised: &[f64], bare: &[f64], goal| {
        let percent: Vec<f64> = ratios(bare, supervised).iter().map(|ratio| (ratio - 1.0) * 100.0).collect();
        report.median(format!("cost of the tree, {what}"), " %", &percent, goal);
    };
    cost("leases one by one", each, each_bare, Goal::AtMost(5.0));
    cost("leases in batches", batches, batches_bare, Goal::AtMost(5.0));
    cost("and its mailbox, one by one, over recv on a channel", each, channel, Goal::None);
}

/// Fits the work to the bare loop, in a few steps, since the sender's share of the time isn't known.
fn fit(work: &Work, runtime: &Runtime, bare: &Arc<Contestant>) {
    for _ in 0..4 {
        let rates = rates(runtime, std::slice::from_ref(bare), (1, MESSAGES), clocks::thread_cpu, 3);
        work.add(NANOS - 1e9 / quantile(&rates[0], 0.5));
    }
}

/// Work of adjustable length, the same machine code for all contestants.
#[derive(Clone)]
struct Work(Arc<AtomicU64>);

impl Work {
    // One copy for all: copies in loops differ by some percent, by their place in the program alone.
    #[inline(never)]
    fn run(&self) {
        let mut mixed = 1_u64;
        for step in 0..self.0.load(Relaxed) {
            mixed = black_box(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step);
        }
    }

    /// Makes it longer by so many nanoseconds, or shorter.
    fn add(&self, nanos: f64) {
        let before = self.0.load(Relaxed);
        let steps = 1_000_000;
        self.0.store(steps, Relaxed);
        let began = clocks::thread_cpu();
        self.run();
        let per_step = (clocks::thread_cpu() - began).as_nanos() as f64 / steps as f64;
        // At least one step: a machine too slow for the rate measures as well as it can.
        self.0.store((before as f64 + nanos / per_step).max(1.0) as u64, Relaxed);
    }
}

fn working(work: &Work) -> (Arc<Handled>, impl Handle) {
    let handled = Arc::new(Handled::default());
    let (counted, work) = (handled.clone(), work.clone());
    let handle = move |tick| {
        black_box(tick);
        work.run();
        counted.one();
    };
    (handled, handle)
}

fn each(runtime: &Runtime, work: &Work) -> Arc<Contestant> {
    let (handled, handle) = working(work);
    let part = Part::new("worker", ROOM, BATCH);
    let send = into_mailbox(part.sender());
    Contestant::supervised(&handled, send, runtime.block_on(Running::start(vec![part.each(handle)])))
}

fn each_bare(runtime: &Runtime, work: &Work) -> Arc<Contestant> {
    let (handled, handle) = working(work);
    let part = Part::new("worker", ROOM, BATCH);
    let send = into_mailbox(part.sender());
    runtime.spawn(part.each_bare(handle));
    Contestant::bare(&handled, send)
}

fn batches(runtime: &Runtime, work: &Work) -> Arc<Contestant> {
    let (handled, handle) = working(work);
    let part = Part::new("worker", ROOM, BATCH);
    let send = into_mailbox(part.sender());
    Contestant::supervised(&handled, send, runtime.block_on(Running::start(vec![part.batches(handle)])))
}

fn batches_bare(runtime: &Runtime, work: &Work) -> Arc<Contestant> {
    let (handled, handle) = working(work);
    let part = Part::new("worker", ROOM, BATCH);
    let send = into_mailbox(part.sender());
    runtime.spawn(part.batches_bare(handle));
    Contestant::bare(&handled, send)
}

fn channel(runtime: &Runtime, work: &Work) -> Arc<Contestant> {
    let (handled, handle) = working(work);
    Contestant::bare(&handled, peers::channel_one_by_one(runtime, ROOM, handle))
}
