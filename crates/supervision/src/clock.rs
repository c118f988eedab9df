//! The source of time: a handle that reads the machine's clocks or that a test controls.
//!
//! Every wait of this crate (backoff, restart windows, the progress watch, deadlines) uses a [`Clock`], so a test can let
//! hours pass in microseconds. It also knows for how long the whole process did not run (a paused container, a stopped
//! process, a machine that slept): nobody's deadline may end meanwhile. It touches nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::poll_fn,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    task::{Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::weak_list;

/// A handle to a source of time. A clone shares the source.
#[derive(Clone, Debug)]
pub struct Clock(Source);

/// The origin of the nanoseconds of all system clocks, so that handles created apart agree.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

/// Finds out for how long this process did not run. The watch of each tree beats it; a beat that comes late shows a freeze.
/// One for the process, since a freeze stops all of it.
static HEARTBEAT: Mutex<Heartbeat> = Mutex::new(Heartbeat { beaters: 0, last: 0, frozen: 0 });

#[derive(Debug)]
struct Heartbeat {
    /// How many watches beat it. Without one a late beat means nothing.
    beaters: usize,
    /// The last beat, in nanoseconds since [`ORIGIN`].
    last: u64,
    /// All nanoseconds that were frozen so far.
    frozen: u64,
}

impl Heartbeat {
    fn lock() -> MutexGuard<'static, Self> {
        HEARTBEAT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more watch beats it, from `now` on.
    fn begin(&mut self, now: u64) {
        if self.beaters == 0 {
            // What was before, nobody has watched.
            self.last = now;
        }
        self.beaters += 1;
    }

    /// One of the watches has ended.
    fn end(&mut self) {
        self.beaters -= 1;
    }

    /// Beats at `now`, and returns the nanoseconds in which the process ran.
    fn beat(&mut self, now: u64) -> u64 {
        let gap = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        // A thread that is a little late was not frozen.
        if self.beaters > 0 && gap > 2 * as_nanos(BEAT) {
            self.frozen += gap - as_nanos(BEAT);
        }
        now.saturating_sub(self.frozen)
    }
}

/// The longest pause between two beats of a watch.
pub(crate) const BEAT: Duration = Duration::from_millis(100);

/// As long as it exists, its owner calls [`Clock::awake_nanos`] every [`BEAT`].
pub(crate) struct Beater(());

impl Beater {
    pub(crate) fn begin() -> Self {
        Heartbeat::lock().begin(as_nanos(ORIGIN.elapsed()));
        Self(())
    }
}

impl Drop for Beater {
    fn drop(&mut self) {
        Heartbeat::lock().end();
    }
}

/// How far a manual clock can be moved, about 584 years: as far as its nanoseconds reach.
const LONGEST_RUN: Duration = Duration::from_nanos(u64::MAX);

/// Called at each move of a manual clock.
pub(crate) type OnMove = dyn Fn() + Send + Sync;

struct Manual {
    origin: Instant,
    unix_origin: Duration,
    state: Mutex<ManualState>,
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manual({:?})", self.lock().elapsed)
    }
}

#[derive(Default)]
struct ManualState {
    elapsed: Duration,
    /// How much of that the process did not run for.
    frozen: Duration,
    next_key: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    /// Those that were woken and have not gone on.
    woken: BTreeSet<(Duration, u64)>,
    on_move: Vec<Weak<OnMove>>,
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        LazyLock::force(&ORIGIN);
        Self(Source::System)
    }

    /// A clock that moves only by [`Clock::advance`]; it starts at the wall time `unix`.
    #[must_use]
    pub fn manual(unix: Duration) -> Self {
        Self(Source::Manual(Arc::new(Manual {
            origin: Instant::now(),
            unix_origin: unix,
            state: Mutex::default(),
        })))
    }

    /// Monotonic time.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(manual) => manual.origin + manual.lock().elapsed,
        }
    }

    /// Monotonic nanoseconds since this clock began; never 0, since atomics use 0 for "never".
    #[must_use]
    pub fn nanos(&self) -> u64 {
        let elapsed = match &self.0 {
            Source::System => ORIGIN.elapsed(),
            Source::Manual(manual) => manual.lock().elapsed,
        };
        as_nanos(elapsed).saturating_add(1)
    }

    /// The nanoseconds since this clock began in which the process ran, never 0. On the system clock a freeze is known while
    /// a tree runs, to a tenth of a second.
    pub(crate) fn awake_nanos(&self) -> u64 {
        let awake = match &self.0 {
            Source::System => Heartbeat::lock().beat(as_nanos(ORIGIN.elapsed())),
            Source::Manual(manual) => {
                let state = manual.lock();
                as_nanos(state.elapsed.saturating_sub(state.frozen))
            }
        };
        awake.saturating_add(1)
    }

    /// Wall time since the Unix epoch.
    #[must_use]
    pub fn unix(&self) -> Duration {
        match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual(manual) => manual.unix_origin + manual.lock().elapsed,
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            // tokio's timers have a resolution of 1 ms: even a timer of 0 waits for the next tick.
            Source::System if duration.is_zero() => {}
            Source::System => tokio::time::sleep(duration).await,
            Source::Manual(manual) => manual.sleep(duration).await,
        }
    }

    /// Waits for `duration`, not counting time in which the whole process did not run: a deadline that ended meanwhile would
    /// be held against the one that could not run. On the system clock that is known while a tree runs.
    pub async fn sleep_awake(&self, duration: Duration) {
        let deadline = self.awake_nanos().saturating_add(as_nanos(duration));
        loop {
            let left = deadline.saturating_sub(self.awake_nanos());
            if left == 0 {
                return;
            }
            self.sleep(Duration::from_nanos(left)).await;
        }
    }

    /// Waits until `deadline`; returns at once when it has passed.
    pub async fn sleep_until(&self, deadline: Instant) {
        self.sleep(deadline.saturating_duration_since(self.now())).await;
    }

    /// Runs `work` for at most `limit`; `None` when the time ran out first. Then `work` is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, work: F) -> Option<F::Output> {
        within(self.sleep(limit), work).await
    }

    /// Runs `work` for at most `limit`, not counting time in which the process did not run; see [`Clock::sleep_awake`].
    pub async fn timeout_awake<F: Future>(&self, limit: Duration, work: F) -> Option<F::Output> {
        within(self.sleep_awake(limit), work).await
    }

    /// Moves a manual clock forward and wakes the sleepers that are due; in all at most 584 years. On a system clock it does nothing
    /// and returns `false`.
    pub fn advance(&self, by: Duration) -> bool {
        self.shift(by, Duration::ZERO)
    }

    /// Moves a manual clock forward as if the process had not run meanwhile.
    pub fn freeze(&self, by: Duration) -> bool {
        self.shift(by, by)
    }

    fn shift(&self, by: Duration, frozen: Duration) -> bool {
        let Source::Manual(manual) = &self.0 else {
            return false;
        };
        let due = {
            let mut state = manual.lock();
            // Not beyond what `now` and `unix` can show.
            let by = by.min(LONGEST_RUN.saturating_sub(state.elapsed));
            state.elapsed += by;
            state.frozen += frozen.min(by);
            let limit = state.elapsed;
            // Keys begin with the deadline, so everything before the next nanosecond is due.
            let later = state.sleepers.split_off(&(limit + Duration::from_nanos(1), 0));
            let due = std::mem::replace(&mut state.sleepers, later);
            state.woken.extend(due.keys());
            due
        };
        // Outside of the lock: both may use the clock. The hooks first: who is woken then sees what they did.
        let hooks: Vec<_> = manual.lock().on_move.iter().filter_map(Weak::upgrade).collect();
        hooks.iter().for_each(|hook| hook());
        due.into_values().for_each(Waker::wake);
        true
    }

    /// The number of tasks that sleep on this manual clock; 0 for a system clock.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        match &self.0 {
            Source::System => 0,
            Source::Manual(manual) => manual.lock().sleepers.len(),
        }
    }

    /// The number of tasks whose sleep on this manual clock is over, and that have not gone on; 0 for a system clock. A test that moves the
    /// clock in steps waits until there are none, so that what is periodic is done at each step.
    #[must_use]
    pub fn woken(&self) -> usize {
        match &self.0 {
            Source::System => 0,
            Source::Manual(manual) => manual.lock().woken.len(),
        }
    }

    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Has `hook` called at each move of this manual clock, on the thread that moves it, as long as the hook exists. The
    /// system clock moves by itself and calls nobody.
    pub(crate) fn on_move(&self, hook: &Arc<OnMove>) {
        if let Source::Manual(manual) = &self.0 {
            weak_list::push(&mut manual.lock().on_move, hook);
        }
    }
}

/// `u64::MAX` nanoseconds are 584 years.
pub(crate) fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The output of `work`, or `None` where `limit` resolves first.
async fn within<F: Future>(limit: impl Future<Output = ()>, work: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = work => Some(output),
        () = limit => None,
    }
}

impl Manual {
    fn lock(&self) -> MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sleep(&self, duration: Duration) {
        let (deadline, key) = {
            let mut state = self.lock();
            state.next_key += 1;
            (state.elapsed.saturating_add(duration), state.next_key)
        };
        let _forget = OnDrop(|| {
            let mut state = self.lock();
            state.sleepers.remove(&(deadline, key));
            state.woken.remove(&(deadline, key));
        });
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.elapsed >= deadline {
                return Poll::Ready(());
            }
            state.sleepers.insert((deadline, key), cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Runs a closure when it goes out of scope, however that happens.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        task::Context,
    };

    use super::*;

    fn is_ready(future: Pin<&mut impl Future<Output = ()>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_exactly_those_whose_time_has_come() {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let sleep = |seconds| {
            let clock = clock.clone();
            tokio::spawn(async move { clock.sleep(Duration::from_secs(seconds)).await })
        };
        let (short, long) = (sleep(10), sleep(20));
        while clock.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(10));
        short.await.expect("the short sleeper was woken");
        assert!(!long.is_finished());
        assert_eq!(clock.unix(), Duration::from_secs(1_010));
        clock.advance(Duration::from_secs(10));
        long.await.expect("the long sleeper was woken");
    }

    #[test]
    fn time_between_two_beats_that_come_late_is_frozen_but_for_one_pause() {
        let beat = as_nanos(BEAT);
        let mut heartbeat = Heartbeat { beaters: 0, last: 0, frozen: 0 };
        // Nobody beats it, so a late beat means nothing.
        assert_eq!(heartbeat.beat(50 * beat), 50 * beat);
        heartbeat.begin(90 * beat);
        // Late by at most one pause: the thread had to wait for its turn.
        assert_eq!(heartbeat.beat(92 * beat), 92 * beat);
        // 10 pauses: 9 of them were frozen.
        assert_eq!(heartbeat.beat(102 * beat), 93 * beat);
        assert_eq!(heartbeat.beat(103 * beat), 94 * beat);
        // Another watch begins in between, and one that read the clock before comes after.
        heartbeat.begin(104 * beat);
        assert_eq!(heartbeat.beat(102 * beat), 93 * beat);
        // A second freeze adds to the first.
        assert_eq!(heartbeat.beat(105 * beat + 1), 95 * beat);
        // One of the watches is left, which beats it again.
        heartbeat.end();
        assert_eq!(heartbeat.beat(115 * beat + 1), 96 * beat);
        heartbeat.end();
        assert_eq!(heartbeat.beat(125 * beat + 1), 106 * beat);
    }

    #[test]
    fn system_clocks_that_were_made_apart_agree() {
        let early = Clock::system();
        let began = early.now();
        while early.now().duration_since(began) < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        let late = Clock::system();
        let (before, between, after) = (early.nanos(), late.nanos(), early.nanos());
        assert!(before <= between && between <= after, "{before}, {between}, {after}");
        assert!(after > 20_000_000, "the time since the first of them: {after}");
    }

    #[tokio::test]
    async fn a_sleep_of_no_time_on_the_system_clock_does_not_wait_for_a_timer() {
        assert!(is_ready(pin!(Clock::system().sleep(Duration::ZERO))));
        assert!(!is_ready(pin!(Clock::system().sleep(Duration::from_nanos(1)))));
    }

    #[tokio::test]
    async fn a_sleep_until_a_time_ends_then_and_at_once_where_it_has_passed() {
        let clock = Clock::manual(Duration::ZERO);
        let (before, after) = (clock.now(), clock.now() + Duration::from_secs(1));
        assert!(is_ready(pin!(clock.sleep_until(before))));
        let mut sleep = pin!(clock.sleep_until(after));
        assert!(!is_ready(sleep.as_mut()));
        clock.advance(Duration::from_secs(1));
        assert!(is_ready(sleep.as_mut()));
    }

    #[test]
    fn a_manual_clock_calls_the_hooks_that_exist() {
        let clock = Clock::manual(Duration::ZERO);
        let calls = Arc::new(AtomicUsize::new(0));
        let hook = || -> Arc<OnMove> {
            let calls = calls.clone();
            Arc::new(move || {
                calls.fetch_add(1, Relaxed);
            })
        };
        let (kept, gone) = (hook(), hook());
        clock.on_move(&kept);
        clock.on_move(&gone);
        drop(gone);
        clock.advance(Duration::from_secs(1));
        assert_eq!(calls.load(Relaxed), 1);
        assert_eq!(format!("{clock:?}"), "Clock(Manual(Manual(1s)))");
    }

    #[tokio::test]
    async fn a_dropped_sleeper_leaves_nothing_behind() {
        let clock = Clock::manual(Duration::ZERO);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(1)).await }
        });
        while clock.sleepers() < 1 {
            tokio::task::yield_now().await;
        }
        sleeper.abort();
        assert!(sleeper.await.is_err());
        assert_eq!(clock.sleepers(), 0);
    }

    #[tokio::test]
    async fn a_sleeper_is_woken_until_it_goes_on_or_is_dropped() {
        let clock = Clock::manual(Duration::ZERO);
        let second = Duration::from_secs(1);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let [mut goes_on, mut is_dropped, mut sleeps] =
            [1, 1, 2].map(|many| Box::pin(clock.sleep(second * many)));
        for sleeper in [&mut goes_on, &mut is_dropped, &mut sleeps] {
            assert!(sleeper.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(clock.woken(), 0);
        clock.advance(second);
        assert_eq!((clock.woken(), clock.sleepers()), (2, 1));
        assert!(goes_on.as_mut().poll(&mut context).is_ready());
        assert_eq!(clock.woken(), 1);
        drop(is_dropped);
        assert_eq!((clock.woken(), clock.sleepers()), (0, 1));
    }
}
