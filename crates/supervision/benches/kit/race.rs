//! Contestants that handle the same number of messages, in turns.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{runtime::Runtime, sync::Notify};

use crate::{kit::Running, on_worker};

/// What a contestant does with each message.
pub(crate) trait Handle: FnMut(u64) + Clone + Send + Sync + 'static {}

impl<F: FnMut(u64) + Clone + Send + Sync + 'static> Handle for F {}

/// Counts handled messages, and notifies at the end of an iteration.
#[derive(Default)]
pub(crate) struct Handled {
    count: AtomicU64,
    target: AtomicU64,
    reached: Notify,
}

impl Handled {
    /// Called by one reader, so a load and a store are enough.
    pub(crate) fn one(&self) {
        let count = self.count.load(Relaxed) + 1;
        self.count.store(count, Relaxed);
        if count == self.target.load(Relaxed) {
            self.reached.notify_one();
        }
    }
}

/// Sends so many messages.
pub(crate) type SendAll = Box<dyn Fn(u64) -> Sending + Send + Sync>;
/// The work of one sender.
pub(crate) type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The clock of an iteration.
pub(crate) type Now = fn() -> Duration;

/// A reader that waits for messages, and the way to send to it.
pub(crate) struct Contestant {
    handled: Arc<Handled>,
    send: SendAll,
    tree: Option<Running>,
}

impl Contestant {
    /// Without a tree.
    pub(crate) fn bare(handled: &Arc<Handled>, send: SendAll) -> Arc<Self> {
        Arc::new(Self { handled: handled.clone(), send, tree: None })
    }

    /// An actor of a tree.
    pub(crate) fn supervised(handled: &Arc<Handled>, send: SendAll, tree: Running) -> Arc<Self> {
        Arc::new(Self { handled: handled.clone(), send, tree: Some(tree) })
    }

    /// Messages a second of one iteration: from `senders` tasks, until the last message is handled.
    async fn iteration(&self, (senders, messages): (u64, u64), now: Now) -> f64 {
        let target = self.handled.count.load(Relaxed) + messages / senders * senders;
        self.handled.target.store(target, Relaxed);
        let began = now();
        for _ in 0..senders {
            tokio::spawn((self.send)(messages / senders));
        }
        self.handled.reached.notified().await;
        messages as f64 / (now() - began).as_secs_f64()
    }
}

/// Messages a second of all contestants, by contestant and round. `size` is the number of senders and of messages. Each round
/// begins with another contestant. A first round is not counted.
pub(crate) fn rates(
    runtime: &Runtime,
    contestants: &[Arc<Contestant>],
    size: (u64, u64),
    now: Now,
    rounds: usize,
) -> Vec<Vec<f64>> {
    let mut rates = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for turn in 0..contestants.len() {
            let turn = (turn + round) % contestants.len();
            let contestant = contestants[turn].clone();
            let rate = on_worker(runtime, async move { contestant.iteration(size, now).await });
            if round > 0 {
                rates[turn].push(rate);
            }
        }
    }
    rates
}

/// Stops the trees of the contestants.
pub(crate) fn stop(runtime: &Runtime, contestants: Vec<Arc<Contestant>>) {
    for contestant in contestants {
        let Contestant { tree, .. } = Arc::into_inner(contestant).expect("no iteration runs");
        if let Some(tree) = tree {
            assert!(runtime.block_on(tree.stop()), "a contestant did not stop in order");
        }
    }
}

/// The ratios of two contestants, round by round.
pub(crate) fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}
