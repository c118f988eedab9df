//! The time from a panic to the next message that is handled, without backoff, while other actors keep one core busy.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{
    kit::{Child, Part, Running, Sender, restarts_at_once},
    on_worker,
    race::Handle,
    report::{Goal, Report, quantile},
};

/// Blocks with busy actors, and as many without; they alternate.
const BLOCKS: usize = 10;
/// Panics in a block.
const PANICS: usize = 200;
/// The busy actors form a ring, in which one token keeps one of them working at any time. They wait for it like actors that
/// wait for a message.
const RING: usize = 4;
/// The work of a busy actor on a message.
const WORK: Duration = Duration::from_micros(50);

pub(crate) fn measure(runtime: &Runtime, report: &mut Report) {
    let [quiet, busy, share] = on_worker(runtime, run());
    let mut figures = |what: &str, blocks: &[Vec<f64>], goals: [Goal; 2]| {
        let all = blocks.concat();
        for (name, share, goal) in [("p50", 0.5, goals[0]), ("p99", 0.99, goals[1])] {
            let parts: Vec<f64> = blocks.iter().map(|block| quantile(block, share)).collect();
            let what = format!("panic to next message, {what}, {name} (spread of {BLOCKS} blocks)");
            report.quantile(what, " ms", (&all, &parts), share, goal);
        }
    };
    figures("one core busy", &busy, [Goal::AtMost(0.15), Goal::AtMost(0.5)]);
    figures("others idle", &quiet, [Goal::None, Goal::None]);
    report.median("work of the busy actors, share of one core", " %", &share.concat(), Goal::None);
}

/// The milliseconds of each block without and with busy actors, and the share of one core that those worked.
async fn run() -> [Vec<Vec<f64>>; 3] {
    let (ring, busy) = Ring::build();
    let (took, mut taken) = unbounded_channel();
    let part = Part::usual("panics");
    let panics = part.sender();
    let mut children = vec![restarts_at_once(part.each(panicking(took)))];
    children.extend(busy);
    let tree = Running::start(children).await;
    // Not counted: the backtrace of the first panic loads the debug information of the process.
    block(&panics, &mut taken, 1).await;
    let mut blocks = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..BLOCKS {
        blocks[0].push(block(&panics, &mut taken, PANICS).await);
        let (began, before) = (Instant::now(), ring.worked());
        ring.start();
        blocks[1].push(block(&panics, &mut taken, PANICS).await);
        let worked = ring.worked().saturating_sub(before).as_secs_f64();
        blocks[2].push(vec![100.0 * worked / began.elapsed().as_secs_f64()]);
        ring.halt().await;
    }
    assert!(tree.stop().await, "the tree did not stop in order");
    blocks
}

/// Panics at even ticks and notes the time; at odd ones it reports the time since then.
fn panicking(took: UnboundedSender<Duration>) -> impl Handle {
    let last = Arc::new(Mutex::new(Instant::now()));
    move |tick: u64| {
        if tick.is_multiple_of(2) {
            *last.lock().unwrap() = Instant::now();
            panic!("a panic of the bench");
        }
        let since = last.lock().unwrap().elapsed();
        let _ = took.send(since);
    }
}

/// The milliseconds of so many panics.
async fn block(panics: &Sender, taken: &mut UnboundedReceiver<Duration>, count: usize) -> Vec<f64> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        // Panics are rare, so that the threads are in any state then.
        tokio::time::sleep(Duration::from_millis(1)).await;
        panics.send(0).await;
        panics.send(1).await;
        let took = taken.recv().await.expect("it runs");
        all.push(took.as_secs_f64() * 1e3);
    }
    all
}

/// Actors that keep one core busy while a token goes round.
struct Ring {
    circulates: Arc<AtomicBool>,
    handled: Arc<AtomicU64>,
    first: Sender,
}

impl Ring {
    fn build() -> (Self, Vec<Child>) {
        let name = |index: usize| format!("busy-{}", index % RING);
        let parts: Vec<Part> = (0..RING).map(|index| Part::usual(name(index))).collect();
        // Each one's edge to the next.
        let edges: Vec<Sender> =
            (0..RING).map(|index| parts[(index + 1) % RING].sender_that_drops(&name(index))).collect();
        let ring = Self { circulates: Arc::default(), handled: Arc::default(), first: edges[0].clone() };
        let busy = parts.into_iter().zip(edges).map(|(part, next)| {
            let (circulates, handled) = (ring.circulates.clone(), ring.handled.clone());
            part.each(move |tick| {
                let began = Instant::now();
                while began.elapsed() < WORK {
                    std::hint::spin_loop();
                }
                handled.fetch_add(1, Relaxed);
                if circulates.load(Relaxed) {
                    next.offer(tick);
                }
            })
        });
        let busy = busy.collect();
        (ring, busy)
    }

    fn worked(&self) -> Duration {
        WORK * u32::try_from(self.handled.load(Relaxed)).unwrap_or(u32::MAX)
    }

    fn start(&self) {
        self.circulates.store(true, Relaxed);
        self.first.offer(0);
    }

    /// Returns when the token is gone.
    async fn halt(&self) {
        self.circulates.store(false, Relaxed);
        let mut before = None;
        while before.replace(self.worked()) != Some(self.worked()) {
            tokio::time::sleep(20 * WORK).await;
        }
    }
}
