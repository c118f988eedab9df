//! Shared by the tests: conditions to wait for, policies in one line, a small actor, a seeded generator.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod random;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

pub(crate) use random::Random;
use serde::{Deserialize, Serialize};
use supervision::{
    Actor, ActorHealth, Address, Backoff, Child, Clock, Context, Failure, Inbox, Intensity, Lease, Limits,
    Mailbox, MailboxStats, MailboxView, Message, Overflow, Policy, State, StopReport, Tree, TreeOptions,
    WatchSettings, Worker,
};
use tokio::sync::Semaphore;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// How long a condition may take on a busy machine before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`, and lets all other tasks run meanwhile.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    let mut turn = 0_u32;
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
        turn += 1;
        if turn < 100 {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(MS).await;
        }
    }
}

/// Waits for `work`, which must end.
pub(crate) async fn soon<F: Future>(what: &str, work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

/// Waits until every task of this runtime waits for something: what was going to happen without more time has happened.
/// It needs a runtime on one thread, and panics on another one.
pub(crate) async fn quiet() {
    struct Resume;
    impl Drop for Resume {
        fn drop(&mut self) {
            tokio::time::resume();
        }
    }
    // tokio moves a paused time only when no task can run.
    tokio::time::pause();
    let _resume = Resume;
    tokio::time::sleep(MS).await;
}

/// Moves a manual clock in steps until `work` resolves. Everything that can happen happens between two steps, so the time at
/// the end is exact. It needs a runtime on one thread, as [`quiet`] does.
pub(crate) async fn while_time_passes<F: Future>(clock: &Clock, step: Duration, work: F) -> F::Output {
    let (mut work, began) = (std::pin::pin!(work), Instant::now());
    loop {
        tokio::select! {
            biased;
            output = &mut work => return output,
            () = quiet() => {}
        }
        assert!(began.elapsed() < PATIENCE, "it never came to an end");
        clock.advance(step);
    }
}

/// Moves a manual clock in steps until `holds`, where the exact moment does not matter.
pub(crate) async fn advance_until(
    clock: &Clock,
    step: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) {
    eventually(what, || {
        let done = holds();
        if !done && clock.sleepers() > 0 {
            clock.advance(step);
        }
        done
    })
    .await;
}

/// Stops a tree while its manual clock moves in steps, so that deadlines of the stop pass. Returns the report and how long
/// the stop took, in milliseconds of that clock.
pub(crate) async fn stop_in_steps(tree: &Tree, clock: &Clock, within: Duration) -> (StopReport, u64) {
    let began = clock.now();
    let report = tokio::select! {
        report = tree.stop(within) => report,
        () = advance_until(clock, 10 * MS, "the end", || false) => unreachable!("it never holds"),
    };
    (report, clock.now().duration_since(began).as_millis() as u64)
}

/// `restarts` in `within`; pauses from `first` to `max` without jitter; healthy after an hour. Stalls are not
/// watched.
pub(crate) fn policy((restarts, within): (u32, Duration), (first, max): (Duration, Duration)) -> Policy {
    Policy {
        intensity: Intensity { max_restarts: restarts, within },
        backoff: Backoff { first, max, jitter: false, reset_after: HOUR },
        stall_after: None,
        ..Policy::default()
    }
}

/// A tree on this clock, with a watch that looks often.
pub(crate) async fn start(clock: &Clock, children: Vec<Child>) -> Tree {
    let watch = WatchSettings { every: MS, ..WatchSettings::default() };
    Tree::start(children, TreeOptions { clock: clock.clone(), watch, ..TreeOptions::default() })
        .await
        .expect("the root starts")
}

pub(crate) fn manual() -> Clock {
    Clock::manual(Duration::from_secs(1_700_000_000))
}

/// The record of one actor.
pub(crate) fn record(tree: &Tree, path: &str) -> ActorHealth {
    tree.health().into_iter().find(|health| health.path == path).unwrap_or_else(|| panic!("no actor {path}"))
}

pub(crate) async fn all_run(tree: &Tree) {
    eventually("all actors run", || tree.health().iter().all(|actor| actor.state == State::Running)).await;
}

/// A message: who sent it and its number there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) sender: usize,
    pub(crate) number: u64,
}

impl Message for Job {}

pub(crate) fn job(number: u64) -> Job {
    Job { sender: 0, number }
}

/// What a test keeps of a mailbox when the mailbox has gone into a child.
pub(crate) struct Ends {
    pub(crate) to: Address<Job>,
    pub(crate) view: MailboxView,
}

impl Ends {
    pub(crate) fn of(mailbox: &Mailbox<Job>) -> Self {
        Self { to: mailbox.address("test", Overflow::Wait), view: mailbox.view() }
    }

    pub(crate) fn stats(&self) -> MailboxStats {
        self.view.stats()
    }

    pub(crate) async fn send(&self, number: u64) {
        soon("a send ends", self.to.send(job(number))).await.expect("accepted");
    }
}

/// A mailbox, and what the test keeps of it.
pub(crate) fn new_mailbox(name: &str, limits: Limits, clock: &Clock) -> (Mailbox<Job>, Ends) {
    let mailbox = Mailbox::new(name, limits, clock);
    let ends = Ends::of(&mailbox);
    (mailbox, ends)
}

/// A mailbox of the actor `worker` with the messages 0 to `count`, and the view of it.
pub(crate) fn filled(clock: &Clock, limits: Limits, count: u64) -> (Mailbox<Job>, MailboxView) {
    let mailbox = Mailbox::new("worker", limits, clock);
    for number in 0..count {
        mailbox.address("test", Overflow::Wait).try_send(job(number)).expect("room");
    }
    let view = mailbox.view();
    (mailbox, view)
}

/// Limits with this many attempts, and the batch and capacity that most tests need.
pub(crate) fn attempts(max_attempts: u32) -> Limits {
    Limits { capacity: 1_024, bytes: 1 << 20, batch: 64, max_attempts, dead_letters: 128 }
}

/// An actor that hands each message to a function.
pub(crate) struct Each<M, F> {
    handle: F,
    message: std::marker::PhantomData<fn(M)>,
}

impl<M, F> Actor for Each<M, F>
where
    M: Message,
    F: FnMut(Lease<'_, M>) -> Result<(), Failure> + Send + 'static,
{
    type Message = M;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<M>) -> Result<(), Failure> {
        while let Some(lease) = inbox.recv().await {
            (self.handle)(lease)?;
        }
        Ok(())
    }
}

/// A child that hands each message of `mailbox` to `handle`.
pub(crate) fn each<M: Message>(
    mailbox: Mailbox<M>,
    handle: impl FnMut(Lease<'_, M>) -> Result<(), Failure> + Clone + Send + Sync + 'static,
) -> Child {
    Child::actor(mailbox, move || Each { handle: handle.clone(), message: std::marker::PhantomData })
}

/// A child that acknowledges every message.
pub(crate) fn calm(mailbox: Mailbox<Job>) -> Child {
    each(mailbox, |lease| {
        lease.ack();
        Ok(())
    })
}

/// Handles a message for each permit until the actor is stopped, and fails at message 13. No message may be charged before.
pub(crate) async fn handle_by_permits(
    cx: &Context,
    inbox: &mut Inbox<Job>,
    permits: &Semaphore,
) -> Result<(), Failure> {
    while let Some(lease) = inbox.recv().await {
        if lease.number == 13 {
            return Err("13".into());
        }
        assert_eq!(lease.attempt(), 1, "nothing is charged");
        tokio::select! {
            permit = permits.acquire() => permit?.forget(),
            () = cx.stopped() => {
                lease.nack();
                break;
            }
        }
        lease.ack();
    }
    Ok(())
}

/// Events in the order in which they happened.
#[derive(Clone, Debug)]
pub(crate) struct Log<T>(Arc<std::sync::Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn note(&self, event: T) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The events since the last call.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }
}

/// The size of a long test: `all`, or a tenth of it among the quick tests of `make mutants`.
pub(crate) fn size(all: u64) -> u64 {
    if module_path!().starts_with("quick") { all / 10 } else { all }
}

/// 1,000 restarts an hour; 1 ms before each; a stall is this long.
pub(crate) fn stalls_after(limit: Duration) -> Policy {
    Policy { stall_after: Some(limit), ..policy((1_000, HOUR), (MS, MS)) }
}

/// Hangs at once.
pub(crate) struct Hangs;

impl Worker for Hangs {
    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        pending().await
    }
}

/// Does nothing until it is stopped.
pub(crate) struct Idles;

impl Worker for Idles {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// Holds a thread as long as it is raised. Lowered at the end of a test, however that comes.
#[derive(Clone, Default)]
pub(crate) struct Hold(pub(crate) Arc<AtomicBool>);

impl Hold {
    pub(crate) fn raised() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(crate) fn lower(&self) {
        self.0.store(false, Relaxed);
    }

    pub(crate) fn hold(&self) {
        while self.is_raised() {
            std::thread::sleep(MS);
        }
    }
}

pub(crate) struct Lowered(pub(crate) Hold);

impl Drop for Lowered {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// Holds its thread from its first poll on.
pub(crate) struct HoldsAtOnce(pub(crate) Hold);

impl Worker for HoldsAtOnce {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.hold();
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}
