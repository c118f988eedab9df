//! The cost of the kit: messages a second, beside plain `ractor` and a plain `tokio` channel, and the time from a panic
//! to the next handled message.
//!
//! `cargo bench -p supervision --bench kit`, on a runtime with two workers. Figures are comparable within a run only;
//! the table at the end gives their ratios.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use ractor::{ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use supervision::{
    Actor, Backoff, Child, Clock, Context, Failure, Intensity, Limits, Mailbox, Message, Overflow, Policy,
    Tree, TreeOptions,
};
use tokio::{runtime::Runtime, sync::Notify};

/// Messages of one iteration, in all.
const MESSAGES: u64 = 400_000;
/// Room and batch of every bounded queue here.
const ROOM: usize = 1_024;
const BATCH: usize = 256;
/// Panics of one latency measurement.
const PANICS: usize = 500;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Tick(u64);

impl Message for Tick {}

/// Counts handled messages, and notifies at the end of an iteration.
#[derive(Default)]
struct Goal {
    handled: AtomicU64,
    reached: Notify,
}

impl Goal {
    fn count(&self, ticks: u64) {
        let before = self.handled.load(Relaxed);
        self.handled.store(before + ticks, Relaxed);
        if before / MESSAGES != (before + ticks) / MESSAGES {
            self.reached.notify_one();
        }
    }
}

/// The time of every iteration, by name.
type Times = Mutex<BTreeMap<&'static str, Vec<Duration>>>;

/// One iteration: all messages, from `senders` tasks, until the last one is handled.
async fn iteration<F>(senders: u64, goal: &Goal, send: impl Fn(u64) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let began = Instant::now();
    for _ in 0..senders {
        tokio::spawn(send(MESSAGES / senders));
    }
    goal.reached.notified().await;
    began.elapsed()
}

fn measure<F>(
    criterion: &mut Criterion,
    (runtime, times): (&Runtime, &Times),
    name: &'static str,
    senders: u64,
    goal: &Arc<Goal>,
    send: impl Fn(u64) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut group = criterion.benchmark_group("throughput");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(12);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(4));
    let send = Arc::new(send);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                let (goal, send) = (goal.clone(), send.clone());
                // On a worker: the bench's own thread would be a third one.
                let task = runtime.spawn(async move { iteration(senders, &goal, &*send).await });
                let took = runtime.block_on(task).expect("the iteration does not fail");
                times.lock().unwrap().entry(name).or_default().push(took);
                total += took;
            }
            total
        });
    });
    group.finish();
}

struct Plain(Arc<Goal>);

impl ractor::Actor for Plain {
    type Msg = Tick;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Tick>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Tick>, tick: Tick, (): &mut ()) -> Result<(), ActorProcessingErr> {
        black_box(tick.0);
        self.0.count(1);
        Ok(())
    }
}

/// (a) `ractor` alone: `cast` into its unbounded mailbox.
fn plain_ractor(criterion: &mut Criterion, here: (&Runtime, &Times), name: &'static str, senders: u64) {
    let goal = Arc::new(Goal::default());
    let spawn = ractor::Actor::spawn(None, Plain(goal.clone()), ());
    let (actor, _) = here.0.block_on(spawn).expect("spawned");
    let to = actor.clone();
    measure(criterion, here, name, senders, &goal, move |ticks| {
        let to = to.clone();
        async move {
            for tick in 0..ticks {
                to.cast(Tick(tick)).expect("it runs");
                // An unbounded mailbox never makes its senders yield.
                tokio::task::coop::consume_budget().await;
            }
        }
    });
    actor.stop(None);
}

/// (b) a plain bounded channel, read in batches.
fn bare_channel(criterion: &mut Criterion, here: (&Runtime, &Times), name: &'static str, senders: u64) {
    let goal = Arc::new(Goal::default());
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Tick>(ROOM);
    here.0.spawn({
        let goal = goal.clone();
        async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                for tick in batch.drain(..) {
                    black_box(tick.0);
                    goal.count(1);
                }
            }
        }
    });
    measure(criterion, here, name, senders, &goal, move |ticks| {
        let sender = sender.clone();
        async move {
            for tick in 0..ticks {
                sender.send(Tick(tick)).await.expect("it runs");
            }
        }
    });
}

/// (c) the kit, each lease settled by itself.
struct OneByOne(Arc<Goal>);

impl Actor for OneByOne {
    type Message = Tick;

    async fn run(&mut self, cx: &mut Context<Tick>) -> Result<(), Failure> {
        while let Some(tick) = cx.recv().await {
            black_box(tick.0);
            tick.settle();
            self.0.count(1);
        }
        Ok(())
    }
}

/// (d) the kit, settled in batches.
struct ByTheBatch(Arc<Goal>);

impl Actor for ByTheBatch {
    type Message = Tick;

    async fn run(&mut self, cx: &mut Context<Tick>) -> Result<(), Failure> {
        while let Some(batch) = cx.recv_many().await {
            let ticks = batch.len() as u64;
            for tick in batch.iter() {
                black_box(tick.0);
            }
            batch.settle();
            self.0.count(ticks);
        }
        Ok(())
    }
}

fn kit<A: Actor<Message = Tick>>(
    criterion: &mut Criterion,
    here: (&Runtime, &Times),
    name: &'static str,
    senders: u64,
    make: impl Fn(Arc<Goal>) -> A + Send + Sync + 'static,
) {
    let goal = Arc::new(Goal::default());
    let limits = Limits { capacity: ROOM, batch: BATCH, ..Limits::default() };
    let mailbox = Mailbox::new("counter", limits, &Clock::system());
    let counter = Child::actor("counter", &mailbox, {
        let goal = goal.clone();
        move || make(goal.clone())
    });
    let tree = here.0.block_on(Tree::start(vec![counter], TreeOptions::default())).expect("started");
    let address = mailbox.address("test", Overflow::Wait);
    measure(criterion, here, name, senders, &goal, move |ticks| {
        let address = address.clone();
        async move {
            for tick in 0..ticks {
                address.send(Tick(tick)).await.expect("it runs");
            }
        }
    });
    assert!(mailbox.stats().is_conserved());
    here.0.block_on(tree.stop(Duration::from_secs(5)));
}

/// Panics at even ticks and notes the time; at odd ones it reports the time since then.
struct Panics {
    last: Arc<Mutex<Instant>>,
    took: tokio::sync::mpsc::UnboundedSender<Duration>,
}

impl Actor for Panics {
    type Message = Tick;

    async fn run(&mut self, cx: &mut Context<Tick>) -> Result<(), Failure> {
        while let Some(tick) = cx.recv().await {
            if tick.0.is_multiple_of(2) {
                *self.last.lock().unwrap() = Instant::now();
                panic!("a panic of the bench");
            }
            let last = *self.last.lock().unwrap();
            let _ = self.took.send(last.elapsed());
            tick.settle();
        }
        Ok(())
    }
}

/// The time from a panic to the next message that the next incarnation handles: 1 attempt, no restart limit, no jitter,
/// `pause` before each restart.
fn latency(runtime: &Runtime, pause: Duration) -> Vec<Duration> {
    let mailbox = Mailbox::new("panics", Limits { max_attempts: 1, ..Limits::default() }, &Clock::system());
    let (took, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let last = Arc::new(Mutex::new(Instant::now()));
    let panics = Child::actor("panics", &mailbox, move || Panics { last: last.clone(), took: took.clone() });
    let hour = Duration::from_secs(3_600);
    let panics = panics.policy(Policy {
        intensity: Intensity { max_restarts: u32::MAX, within: hour },
        backoff: Backoff { first: pause, max: pause, jitter: false, reset_after: hour },
        ..Policy::default()
    });
    let measured = async {
        let tree = Tree::start(vec![panics], TreeOptions::default()).await.expect("started");
        let address = mailbox.address("test", Overflow::Wait);
        let mut all = Vec::new();
        // The first panic is not counted: its backtrace loads the debug information of the process.
        for round in 0..=PANICS as u64 {
            address.send(Tick(2 * round)).await.expect("it runs");
            address.send(Tick(2 * round + 1)).await.expect("it runs");
            let took = taken.recv().await.expect("it runs");
            if round > 0 {
                all.push(took);
            }
        }
        tree.stop(Duration::from_secs(5)).await;
        all
    };
    let mut all = runtime.block_on(measured);
    all.sort_unstable();
    all
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let times = Times::default();
    let here = (&runtime, &times);
    let mut criterion = Criterion::default().configure_from_args();
    for (senders, names) in [
        (
            1,
            [
                "(a) ractor cast, 1 sender",
                "(b) mpsc recv_many, 1 sender",
                "(c) kit recv, 1 sender",
                "(d) kit recv_many, 1 sender",
            ],
        ),
        (
            4,
            [
                "(a) ractor cast, 4 senders",
                "(b) mpsc recv_many, 4 senders",
                "(c) kit recv, 4 senders",
                "(d) kit recv_many, 4 senders",
            ],
        ),
    ] {
        let [a, b, c, d] = names;
        plain_ractor(&mut criterion, here, a, senders);
        bare_channel(&mut criterion, here, b, senders);
        kit(&mut criterion, here, c, senders, OneByOne);
        kit(&mut criterion, here, d, senders, ByTheBatch);
    }
    criterion.final_summary();

    println!(
        "\nmedian of all iterations of {MESSAGES} messages, spread from the fastest tenth to the slowest"
    );
    println!("{:<32}{:>14}{:>24}{:>8}{:>8}", "", "messages/s", "spread", "of (a)", "of (b)");
    let mut times = times.into_inner().unwrap();
    for senders in ["1 sender", "4 senders"] {
        let mut of = |way: &str| {
            let (name, times) =
                times.iter_mut().find(|(name, _)| name.starts_with(way) && name.ends_with(senders))?;
            let rate = |took: Duration| MESSAGES as f64 / took.as_secs_f64();
            let middle = rate(median(times));
            let spread = (rate(times[times.len() * 9 / 10]), rate(times[times.len() / 10]));
            Some((*name, middle, spread))
        };
        let (Some(a), Some(b)) = (of("(a)"), of("(b)")) else { continue };
        for way in ["(a)", "(b)", "(c)", "(d)"] {
            if let Some((name, rate, (slow, fast))) = of(way) {
                let spread = format!("{:.2} M to {:.2} M", slow / 1e6, fast / 1e6);
                println!(
                    "{name:<32}{:>12.2} M{spread:>24}{:>8.2}{:>8.2}",
                    rate / 1e6,
                    rate / a.1,
                    rate / b.1
                );
            }
        }
    }
    for pause in [Duration::ZERO, Duration::from_millis(1)] {
        let all = latency(&runtime, pause);
        let at = |percent: usize| all[all.len() * percent / 100];
        println!(
            "panic to next message handled, {PANICS} panics, {pause:?} before a restart: p50 {:?}, p99 {:?}",
            at(50),
            at(99)
        );
    }
}
