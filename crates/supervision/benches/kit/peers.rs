//! What the kit is compared with: a bounded channel of `tokio`, actors of `ractor` and `kameo`.
//!
//! Each function starts a reader that calls `handle` for each message, and returns the way to send to it.

use std::convert::Infallible;

use kameo::actor::Spawn;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::{
    runtime::Runtime,
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::race::{Handle, SendAll};

/// A bounded channel, read in batches.
pub(crate) fn channel_in_batches(
    runtime: &Runtime,
    room: usize,
    batch: usize,
    mut handle: impl Handle,
) -> SendAll {
    let (sender, mut receiver): (Sender<u64>, Receiver<u64>) = channel(room);
    runtime.spawn(async move {
        let mut ticks = Vec::with_capacity(batch);
        while receiver.recv_many(&mut ticks, batch).await > 0 {
            ticks.drain(..).for_each(&mut handle);
        }
    });
    into_channel(sender)
}

/// A bounded channel, read one by one.
pub(crate) fn channel_one_by_one(runtime: &Runtime, room: usize, mut handle: impl Handle) -> SendAll {
    let (sender, mut receiver): (Sender<u64>, Receiver<u64>) = channel(room);
    runtime.spawn(async move {
        while let Some(tick) = receiver.recv().await {
            handle(tick);
        }
    });
    into_channel(sender)
}

fn into_channel(sender: Sender<u64>) -> SendAll {
    Box::new(move |ticks| {
        let sender = sender.clone();
        Box::pin(async move {
            for tick in 0..ticks {
                sender.send(tick).await.expect("it runs");
            }
        })
    })
}

/// An actor of `ractor` that reads numbers.
pub(crate) struct Ractor<H>(std::marker::PhantomData<fn(H)>);

impl<H: Handle> ractor::Actor for Ractor<H> {
    type Msg = u64;
    type State = H;
    type Arguments = H;

    async fn pre_start(&self, _: ActorRef<u64>, handle: H) -> Result<H, ActorProcessingErr> {
        Ok(handle)
    }

    async fn handle(&self, _: ActorRef<u64>, tick: u64, handle: &mut H) -> Result<(), ActorProcessingErr> {
        handle(tick);
        Ok(())
    }
}

/// `cast` into the unbounded mailbox of a `ractor` actor.
pub(crate) fn ractor(runtime: &Runtime, handle: impl Handle) -> SendAll {
    let spawn = ractor::Actor::spawn(None, Ractor(std::marker::PhantomData), handle);
    let (actor, _) = runtime.block_on(spawn).expect("spawned");
    Box::new(move |ticks| {
        let actor = actor.clone();
        Box::pin(async move {
            for tick in 0..ticks {
                actor.cast(tick).expect("it runs");
                // An unbounded mailbox never makes its senders yield.
                tokio::task::coop::consume_budget().await;
            }
        })
    })
}

struct Kameo<H>(H);

impl<H: Handle> kameo::Actor for Kameo<H> {
    type Args = H;
    type Error = Infallible;

    async fn on_start(handle: H, _: kameo::actor::ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self(handle))
    }
}

impl<H: Handle> kameo::message::Message<u64> for Kameo<H> {
    type Reply = ();

    async fn handle(&mut self, tick: u64, _: &mut kameo::message::Context<Self, ()>) {
        (self.0)(tick);
    }
}

/// `tell` into the bounded mailbox of a `kameo` actor.
pub(crate) fn kameo(runtime: &Runtime, room: usize, handle: impl Handle) -> SendAll {
    let _on_runtime = runtime.enter();
    let actor = Kameo::spawn_with_mailbox(handle, kameo::mailbox::bounded(room));
    Box::new(move |ticks| {
        let actor = actor.clone();
        Box::pin(async move {
            for tick in 0..ticks {
                // `send` and not an await of the request, which would box a future.
                actor.tell(tick).send().await.expect("it runs");
            }
        })
    })
}
