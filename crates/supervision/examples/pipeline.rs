//! A pipeline with backpressure: a fast producer, a slow consumer, and a mailbox of 16 messages between them.
//!
//! The producer waits whenever the mailbox is full, so the memory stays bounded and nothing is dropped.
//! Run it with `cargo run --package supervision --example pipeline`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use supervision::{
    Actor, Address, Child, Clock, Context, Failure, Inbox, Limits, Mailbox, Message, Name, Overflow, Policy,
    Restart, Tree, TreeOptions, Worker,
};

#[derive(Serialize, Deserialize)]
struct Item(u64);

impl Message for Item {}

/// Sends 200 items, as fast as it may.
struct Producer(Address<Item>);

impl Worker for Producer {
    async fn run(&mut self, _: &Context) -> Result<(), Failure> {
        for number in 0..200 {
            // Waits for room, since its edge is declared so.
            self.0.send(Item(number)).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Takes 1 ms for each item.
struct Consumer;

impl Actor for Consumer {
    type Message = Item;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Item>) -> Result<(), Failure> {
        while let Some(item) = inbox.recv().await {
            cx.clock().sleep(Duration::from_millis(1)).await;
            item.ack();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let limits = Limits { capacity: 16, ..Limits::default() };
    let mailbox = Mailbox::new("consumer", limits, &Clock::system());
    let view = mailbox.view();
    // The name is written once, so the edge and the actor can't disagree about it.
    let producer = Name::new("producer");
    let edge = mailbox.address(&producer, Overflow::Wait);
    let once = Policy { restart: Restart::Temporary, ..Policy::default() };
    let children = vec![
        Child::actor(mailbox, || Consumer),
        Child::worker(&producer, move || Producer(edge.clone())).policy(once),
    ];
    let tree = Tree::start(children, TreeOptions::default()).await?;
    while view.stats().handled < 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = view.stats();
    println!(
        "{} items handled; at most {} waited; the producer waited {} times",
        stats.handled, stats.high_water, stats.waits
    );
    assert!(stats.high_water <= 16 && stats.waits > 0 && stats.dropped == 0, "{stats:?}");
    tree.stop(Duration::from_secs(5)).await;
    Ok(())
}
