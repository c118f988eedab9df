//! The health records of many actors: how long it takes to get them, and for how long that delays an actor which works.
//!
//! `SUPERVISION_HEALTH_ACTORS` sets the number of actors. The goal is that for 10,000, in proportion.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use crate::{
    idle::Count,
    kit::{Part, Running, Sender},
    number, on_worker,
    race::Handle,
    report::{Goal, Report},
};

const ACTORS: usize = 10_000;
/// Milliseconds that the records of 10,000 actors may take.
const MILLIS: f64 = 5.0;
/// How long the working actor is observed at a time.
const WINDOW: Duration = Duration::from_millis(50);
const ROUNDS: usize = 41;
/// Messages of the working actor that are in its mailbox at any time.
const TOKENS: u64 = 16;

pub(crate) fn measure(runtime: &Runtime, report: &mut Report) {
    let actors = number("SUPERVISION_HEALTH_ACTORS", ACTORS);
    let [took, alone, thread, task] = on_worker(runtime, run(actors));
    let goal = Goal::AtMost(MILLIS * actors as f64 / 10_000.0);
    report.median(format!("health() of {actors} actors"), " ms", &took, goal);
    let mut gap = |when: &str, gaps: &[f64]| {
        report.median(format!("longest gap of a working actor, {when}"), " ms", gaps, Goal::None);
    };
    gap("without health()", &alone);
    gap("while another thread loops health()", &thread);
    gap("while a task of its runtime loops health()", &task);
}

/// Milliseconds: of the calls from another thread; of the longest gaps without calls, with calls from another thread, and
/// with calls from a task.
async fn run(actors: usize) -> [Vec<f64>; 4] {
    let gaps = Arc::new(Gaps::new());
    // All but the one that works.
    let ready = Count::of(actors - 1);
    let working = Part::new("working", 1_024, 64);
    let send = working.sender_that_drops("working");
    let mut children = vec![working.each(gaps.clone().working(send.clone()))];
    children.extend((0..actors - 1).map(|index| {
        let ready = ready.clone();
        Part::usual(format!("idle-{index}")).idle(move || ready.one())
    }));
    let tree = Arc::new(Running::start(children).await);
    ready.done.notified().await;
    (0..TOKENS).for_each(|tick| send.offer(tick));
    let (took, [mut alone, mut thread, mut task]) =
        (Arc::new(Mutex::new(Vec::new())), [const { Vec::new() }; 3]);
    for _ in 0..ROUNDS {
        alone.push(gaps.longest().await);
        let end = Arc::new(AtomicBool::new(false));
        let calls = std::thread::spawn({
            let (tree, end, took) = (tree.clone(), end.clone(), took.clone());
            move || {
                while !end.load(Relaxed) {
                    let began = Instant::now();
                    assert!(tree.health() > 0);
                    took.lock().unwrap().push(began.elapsed().as_secs_f64() * 1e3);
                }
            }
        });
        thread.push(gaps.longest().await);
        end.store(true, Relaxed);
        tokio::task::spawn_blocking(|| calls.join()).await.unwrap().unwrap();
        let calls = tokio::spawn({
            let tree = tree.clone();
            async move {
                loop {
                    assert!(tree.health() > 0);
                    tokio::task::yield_now().await;
                }
            }
        });
        task.push(gaps.longest().await);
        calls.abort();
        let _ = calls.await;
    }
    gaps.ends.store(true, Relaxed);
    let tree = Arc::into_inner(tree).expect("all calls have ended");
    if !tree.stop().await {
        println!("health: the actors did not stop in order");
    }
    let took = std::mem::take(&mut *took.lock().unwrap());
    [took, alone, thread, task]
}

/// The gaps between the messages of one actor, in nanoseconds since `began`.
struct Gaps {
    began: Instant,
    last: AtomicU64,
    longest: AtomicU64,
    ends: AtomicBool,
}

impl Gaps {
    fn new() -> Self {
        let (last, longest, ends) = Default::default();
        Self { began: Instant::now(), last, longest, ends }
    }

    /// Notes each message, and sends another one to itself.
    fn working(self: Arc<Self>, itself: Sender) -> impl Handle {
        move |tick| {
            let now = self.began.elapsed().as_nanos() as u64;
            let gap = now.saturating_sub(self.last.swap(now, Relaxed));
            if gap > self.longest.load(Relaxed) {
                self.longest.store(gap, Relaxed);
            }
            if !self.ends.load(Relaxed) {
                itself.offer(tick);
            }
        }
    }

    /// The longest gap from now on, in milliseconds.
    async fn longest(&self) -> f64 {
        // What the change to this window takes is in no window.
        tokio::time::sleep(WINDOW / 5).await;
        self.longest.store(0, Relaxed);
        tokio::time::sleep(WINDOW).await;
        // The gap that lasts still has no message at its end.
        let lasting = (self.began.elapsed().as_nanos() as u64).saturating_sub(self.last.load(Relaxed));
        self.longest.load(Relaxed).max(lasting) as f64 / 1e6
    }
}
