//! Producers that run by themselves: epochs open at a rate, overlap, get submissions, close and get their batches.
//! Writes only keys of its market; its task ends with its handle.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::{MarketProducer, ProducerConfig, ProducerError, SharedTruth, Truth, unix_now};

/// The pause between two attempts of a step that Redis did not confirm.
const RETRY: Duration = Duration::from_millis(50);
/// The most portions of an epoch's submissions, spread over its window.
const PORTIONS: u32 = 20;

/// The rhythm of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveRate {
    /// From one opening to the next. Shorter than the window, epochs overlap.
    pub epoch_every: Duration,
    /// Submissions of each epoch, spread evenly through its window.
    pub submissions_per_epoch: u64,
    /// From the window's end to the local batch, and from that to the aggregated one.
    pub batch_delay: Duration,
    /// Number of the first epoch; the others follow one by one.
    pub first_epoch: u64,
    /// After how many epochs no more are opened.
    pub epochs: Option<u64>,
}

impl Default for LiveRate {
    /// An epoch every 12 s with 100 submissions, batches 2 s apart, from epoch 23000001, without end.
    fn default() -> Self {
        Self {
            epoch_every: Duration::from_secs(12),
            submissions_per_epoch: 100,
            batch_delay: Duration::from_secs(2),
            first_epoch: 23_000_001,
            epochs: None,
        }
    }
}

/// Ends the background producers: at once when dropped, cleanly by [`Self::stop`] or [`Self::finish`].
#[derive(Debug)]
pub struct LiveHandle {
    truth: SharedTruth,
    mode: watch::Sender<Mode>,
    // `None` only inside `end`, which takes the handle.
    task: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Play,
    /// Open no more epochs, and finish the open ones without waiting.
    Finish,
    /// End after the step in hand.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Open,
    Submit(u64),
    Close,
    Local,
    Aggregate,
}

/// The planned steps, by time and epoch. The last field keeps equal portions apart.
type Plan = BTreeSet<(Instant, u64, Action, u32)>;

/// Plays a market's life in the background until the handle ends it. Steps that Redis does not confirm are
/// repeated until it does, so the truth holds through outages of Redis.
///
/// # Errors
/// When the URL can't be read.
pub fn run_live(
    config: ProducerConfig,
    redis_url: &str,
    rate: LiveRate,
) -> Result<LiveHandle, ProducerError> {
    Ok(LiveHandle::play(MarketProducer::new(config, redis_url)?, rate))
}

impl LiveHandle {
    /// As [`run_live`], with existing producers.
    #[must_use]
    pub fn play(producer: MarketProducer, rate: LiveRate) -> Self {
        let truth = producer.shared_truth();
        let (mode, modes) = watch::channel(Mode::Play);
        let task = tokio::spawn(Live { producer, rate, modes }.play());
        Self { truth, mode, task: Some(task) }
    }

    /// What was written by now.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.truth.get()
    }

    /// A view of the truth that stays current.
    #[must_use]
    pub fn shared_truth(&self) -> SharedTruth {
        self.truth.clone()
    }

    /// Ends after the present step, which is abandoned if Redis does not confirm it; epochs stay as they are.
    ///
    /// # Errors
    /// When the task had panicked.
    pub async fn stop(self) -> Result<Truth, ProducerError> {
        self.end(Mode::Stop).await
    }

    /// Opens no more epochs and plays the open ones to their aggregated batch at once. Waits for Redis as
    /// long as it takes.
    ///
    /// # Errors
    /// When the task had panicked.
    pub async fn finish(self) -> Result<Truth, ProducerError> {
        self.end(Mode::Finish).await
    }

    async fn end(mut self, mode: Mode) -> Result<Truth, ProducerError> {
        self.mode.send_replace(mode);
        if let Some(task) = &mut self.task {
            task.await.map_err(|source| ProducerError::Task { source })?;
        }
        self.task = None;
        Ok(self.truth.get())
    }
}

impl Drop for LiveHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Live {
    producer: MarketProducer,
    rate: LiveRate,
    modes: watch::Receiver<Mode>,
}

impl Live {
    async fn play(mut self) {
        let started = Instant::now();
        let mut plan = Plan::new();
        if self.rate.epochs != Some(0) {
            self.plan_epoch(&mut plan, started, 0);
        }
        while let Some((at, epoch, action, _)) = plan.pop_first() {
            if self.reaches(Mode::Finish, at).await && action == Action::Open {
                // An epoch that is never opened gets no other step either.
                plan.retain(|(_, planned, _, _)| *planned != epoch);
                continue;
            }
            if *self.modes.borrow() == Mode::Stop || !self.insist(epoch, action).await {
                return;
            }
            let index = epoch - self.rate.first_epoch + 1;
            if action == Action::Open && self.rate.epochs.is_none_or(|epochs| index < epochs) {
                let factor = u32::try_from(index).unwrap_or(u32::MAX);
                self.plan_epoch(&mut plan, started + self.rate.epoch_every * factor, index);
            }
        }
    }

    /// Puts the life of the epoch with this index (from 0) into the plan; it opens at `opens`.
    fn plan_epoch(&self, plan: &mut Plan, opens: Instant, index: u64) {
        let (window, delay) = (self.producer.config().window, self.rate.batch_delay);
        let epoch = self.rate.first_epoch + index;
        plan.insert((opens, epoch, Action::Open, 0));
        let all = self.rate.submissions_per_epoch;
        for portion in 0..PORTIONS {
            let upto = |portion: u32| all * u64::from(portion) / u64::from(PORTIONS);
            let count = upto(portion + 1) - upto(portion);
            if count > 0 {
                let at = opens + window * (portion + 1) / (PORTIONS + 1);
                plan.insert((at, epoch, Action::Submit(count), portion));
            }
        }
        let closes = opens + window;
        plan.insert((closes, epoch, Action::Close, 0));
        plan.insert((closes + delay, epoch, Action::Local, 0));
        plan.insert((closes + delay * 2, epoch, Action::Aggregate, 0));
    }

    /// Waits until `at`, or until `mode` (or more) is wanted; true in the second case.
    async fn reaches(&mut self, mode: Mode, at: Instant) -> bool {
        tokio::select! {
            biased;
            // An error means that the handle is gone, and this task aborted in a moment.
            _ = self.modes.wait_for(|wanted| *wanted >= mode) => true,
            () = sleep_until(at) => false,
        }
    }

    /// Repeats a step until it is confirmed; false when told to stop instead.
    async fn insist(&mut self, epoch: u64, action: Action) -> bool {
        let now = unix_now();
        loop {
            if self.step(epoch, action, now).await.is_ok() {
                return true;
            }
            if self.reaches(Mode::Stop, Instant::now() + RETRY).await {
                return false;
            }
        }
    }

    async fn step(&mut self, epoch: u64, action: Action, now: i64) -> Result<(), ProducerError> {
        let validators = self.producer.config().validators.clone();
        let mut ids: Vec<&str> = validators.iter().map(String::as_str).collect();
        match action {
            Action::Open => self.producer.open_epoch(epoch, now).await,
            Action::Submit(count) => self.producer.submit(epoch, count, now).await,
            Action::Close => {
                self.producer.close_epoch(epoch, now).await?;
                self.producer.validators(epoch, &ids, now).await
            }
            Action::Local => self.producer.local_batch(epoch, now).await,
            Action::Aggregate => {
                let own = self.producer.config().own_validator.clone();
                ids.push(&own);
                self.producer.aggregated_batch(epoch, &ids, now).await
            }
        }
    }
}
