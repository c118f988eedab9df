//! Idle actors: their memory, relative to bare `ractor` actors that are linked to a supervisor, and the time to start and to
//! stop all of them.
//!
//! `SUPERVISION_IDLE_ACTORS` sets their number. The goals for the times are those for 100,000, in proportion.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use ractor::{ActorProcessingErr, ActorRef};
use tokio::{runtime::Runtime, sync::Notify};

use crate::{
    allocator,
    kit::{Part, Running},
    number, on_worker,
    report::{Goal, Report},
};

const ACTORS: usize = 5_000;
const ROUNDS: usize = 3;
/// Seconds that 100,000 actors may take to start, or to stop.
const SECONDS: f64 = 3.0;
/// Bytes that an actor with its mailbox may take more than a bare one.
const MORE_BYTES: f64 = 3_000.0;

/// What one round of one kind of actors took.
#[derive(Default)]
struct Taken {
    bytes: Vec<f64>,
    start: Vec<f64>,
    stop: Vec<f64>,
}

pub(crate) fn measure(runtime: &Runtime, report: &mut Report) {
    let actors = number("SUPERVISION_IDLE_ACTORS", ACTORS);
    let (mut kit, mut bare) = (Taken::default(), Taken::default());
    allocator::count();
    for _ in 0..ROUNDS {
        for (taken, (bytes, start, stop)) in [
            (&mut bare, on_worker(runtime, ractor(actors))),
            (&mut kit, on_worker(runtime, supervised(actors))),
        ] {
            taken.bytes.push(bytes / actors as f64);
            taken.start.push(start);
            taken.stop.push(stop);
        }
    }
    allocator::stop_counting();
    let more: Vec<f64> = kit.bytes.iter().zip(&bare.bytes).map(|(kit, bare)| kit - bare).collect();
    let seconds = Goal::AtMost(SECONDS * actors as f64 / 100_000.0);
    report.median("an idle actor with its mailbox", " B", &kit.bytes, Goal::None);
    report.median("an idle ractor actor, linked to a supervisor", " B", &bare.bytes, Goal::None);
    report.median("an idle actor with its mailbox, beyond ractor's", " B", &more, Goal::AtMost(MORE_BYTES));
    report.median(format!("start of {actors} idle actors until all are ready"), " s", &kit.start, seconds);
    report.median(format!("stop of {actors} idle actors in order"), " s", &kit.stop, seconds);
    report.median(format!("start of {actors} ractor actors"), " s", &bare.start, Goal::None);
    report.median(format!("stop of {actors} ractor actors"), " s", &bare.stop, Goal::None);
}

/// Counts actors down, and notifies at the last one.
pub(crate) struct Count {
    left: AtomicUsize,
    pub(crate) done: Notify,
}

impl Count {
    pub(crate) fn of(actors: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(actors), done: Notify::new() })
    }

    pub(crate) fn one(&self) {
        if self.left.fetch_sub(1, Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

/// A tree of idle actors: bytes of all, seconds to start, seconds to stop.
async fn supervised(actors: usize) -> (f64, f64, f64) {
    let ready = Count::of(actors);
    let before = allocator::alive().await;
    let began = Instant::now();
    let children = (0..actors).map(|index| {
        let ready = ready.clone();
        Part::usual(format!("idle-{index}")).idle(move || ready.one())
    });
    let tree = Running::start(children.collect()).await;
    ready.done.notified().await;
    let start = began.elapsed().as_secs_f64();
    let bytes = allocator::alive().await - before;
    let began = Instant::now();
    if !tree.stop().await {
        println!("idle: the actors did not stop in order");
    }
    (bytes as f64, start, began.elapsed().as_secs_f64())
}

/// Counts when it is dropped, which is when its actor has ended.
struct Ended(Arc<Count>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.one();
    }
}

/// A `ractor` actor that does nothing, with this state.
struct Idle<S>(PhantomData<fn(S)>);

impl<S: Send + Sync + 'static> ractor::Actor for Idle<S> {
    type Msg = u64;
    type State = S;
    type Arguments = S;

    async fn pre_start(&self, _: ActorRef<u64>, state: S) -> Result<S, ActorProcessingErr> {
        Ok(state)
    }
}

/// The same for bare `ractor` actors below one supervisor.
async fn ractor(actors: usize) -> (f64, f64, f64) {
    let ended = Count::of(actors);
    let before = allocator::alive().await;
    let began = Instant::now();
    let spawn = ractor::Actor::spawn(None, Idle(PhantomData), ());
    let (supervisor, _) = spawn.await.expect("spawned");
    for _ in 0..actors {
        let state = Ended(ended.clone());
        let spawn = ractor::Actor::spawn_linked(None, Idle(PhantomData), state, supervisor.get_cell());
        spawn.await.expect("spawned");
    }
    let start = began.elapsed().as_secs_f64();
    let bytes = allocator::alive().await - before;
    let began = Instant::now();
    supervisor.stop(None);
    ended.done.notified().await;
    (bytes as f64, start, began.elapsed().as_secs_f64())
}
