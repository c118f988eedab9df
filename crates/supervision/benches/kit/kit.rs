//! All contact of the bench with the interface of the crate: mailboxes, actors in a few shapes, and a tree of them.

use std::time::Duration;

use serde::Serialize;
pub(crate) use supervision::Child;
use supervision::{
    Actor, Address, Backoff, Clock, Context, Failure, Inbox, Intensity, Limits, Mailbox, Message, Outcome,
    Overflow, Policy, Tree, TreeOptions,
};

use crate::race::Handle;

/// The message of every actor here.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Tick(u64);

impl Message for Tick {}

/// The sending end of an edge.
#[derive(Clone)]
pub(crate) struct Sender(Address<Tick>);

impl Sender {
    pub(crate) async fn send(&self, tick: u64) {
        self.0.send(Tick(tick)).await.expect("its actor runs");
    }

    /// On an edge that does not wait.
    pub(crate) fn offer(&self, tick: u64) {
        // Refused only while the tree stops.
        let _ = self.0.try_send(Tick(tick));
    }
}

/// A mailbox that has no actor yet.
pub(crate) struct Part(Mailbox<Tick>);

impl Part {
    /// With room for so many messages, of which at most `batch` are in flight. A message has one attempt.
    pub(crate) fn new(name: impl Into<String>, capacity: usize, batch: usize) -> Self {
        let limits = Limits { capacity, batch, max_attempts: 1, ..Limits::default() };
        Self(Mailbox::new(name.into(), limits, &Clock::system()))
    }

    /// With the default limits.
    pub(crate) fn usual(name: impl Into<String>) -> Self {
        Self(Mailbox::new(name.into(), Limits::default(), &Clock::system()))
    }

    /// An edge that waits, from outside the tree.
    pub(crate) fn sender(&self) -> Sender {
        Sender(self.0.address("bench", Overflow::Wait))
    }

    /// An edge that never waits, so that actors may form a ring.
    pub(crate) fn sender_that_drops(&self, from: &str) -> Sender {
        Sender(self.0.address(from, Overflow::DropOldest))
    }

    /// An actor that leases and acknowledges one by one.
    pub(crate) fn each(self, handle: impl Handle) -> Child {
        Child::actor(self.0, move || Each(handle.clone()))
    }

    /// An actor that acknowledges in batches.
    pub(crate) fn batches(self, handle: impl Handle) -> Child {
        Child::actor(self.0, move || Batches(handle.clone()))
    }

    /// An actor that calls `ready` when it begins to wait for messages.
    pub(crate) fn idle(self, ready: impl Fn() + Clone + Send + Sync + 'static) -> Child {
        Child::actor(self.0, move || Idle(ready.clone()))
    }

    /// The loop of [`Part::each`] outside of a tree.
    pub(crate) async fn each_bare(self, mut handle: impl Handle) {
        let mut inbox = self.0.open().expect("no other reader");
        while let Some(tick) = inbox.recv().await {
            handle(tick.0);
            tick.ack();
        }
    }

    /// The loop of [`Part::batches`] outside of a tree.
    pub(crate) async fn batches_bare(self, mut handle: impl Handle) {
        let mut inbox = self.0.open().expect("no other reader");
        while let Some(batch) = inbox.recv_many().await {
            batch.iter().for_each(|tick| handle(tick.0));
            batch.ack();
        }
    }
}

/// The child is restarted at once, however often.
pub(crate) fn restarts_at_once(child: Child) -> Child {
    let hour = Duration::from_secs(3_600);
    let none = Duration::ZERO;
    child.policy(Policy {
        intensity: Intensity { max_restarts: u32::MAX, within: hour },
        backoff: Backoff { first: none, max: none, jitter: false, reset_after: hour },
        ..Policy::default()
    })
}

struct Each<H>(H);

impl<H: Handle> Actor for Each<H> {
    type Message = Tick;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Tick>) -> Result<(), Failure> {
        while let Some(tick) = inbox.recv().await {
            (self.0)(tick.0);
            tick.ack();
        }
        Ok(())
    }
}

struct Batches<H>(H);

impl<H: Handle> Actor for Batches<H> {
    type Message = Tick;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Tick>) -> Result<(), Failure> {
        while let Some(batch) = inbox.recv_many().await {
            batch.iter().for_each(|tick| (self.0)(tick.0));
            batch.ack();
        }
        Ok(())
    }
}

struct Idle<F>(F);

impl<F: Fn() + Send + Sync + 'static> Actor for Idle<F> {
    type Message = Tick;

    async fn run(&mut self, _: &Context, inbox: &mut Inbox<Tick>) -> Result<(), Failure> {
        (self.0)();
        while let Some(tick) = inbox.recv().await {
            tick.ack();
        }
        Ok(())
    }
}

/// A running tree with its watch.
pub(crate) struct Running(Tree);

impl Running {
    /// A tree with these children below the root, with default options.
    pub(crate) async fn start(children: Vec<Child>) -> Self {
        Self(Tree::start(children, TreeOptions::default()).await.expect("the tree starts"))
    }

    /// Takes all health records, and returns how many there are.
    pub(crate) fn health(&self) -> usize {
        self.0.health().len()
    }

    /// Stops all actors in order. Returns whether all of them stopped by themselves.
    pub(crate) async fn stop(self) -> bool {
        let report = self.0.stop(Duration::from_secs(600)).await;
        report.outcome == Outcome::Stopped && report.left_behind == 0
    }
}
