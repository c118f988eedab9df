//! A pipeline with backpressure: a fast producer, a slow consumer, and a mailbox of 16 messages between them.
//!
//! The producer waits whenever the mailbox is full, so the memory stays bounded and nothing is dropped.
//! Run it with `cargo run --package supervision --example pipeline`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use supervision::{
    Actor, Address, Child, Clock, Context, Failure, Limits, Mailbox, Message, NoMessage, Overflow, Policy,
    Restart, Tree, TreeOptions,
};

#[derive(Serialize, Deserialize)]
struct Item(u64);

impl Message for Item {}

/// Sends 200 items, as fast as it may.
struct Producer(Address<Item>);

impl Actor for Producer {
    type Message = NoMessage;

    async fn run(&mut self, _: &mut Context<NoMessage>) -> Result<(), Failure> {
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

    async fn run(&mut self, cx: &mut Context<Item>) -> Result<(), Failure> {
        let me = cx.handle();
        while let Some(item) = cx.recv().await {
            me.clock().sleep(Duration::from_millis(1)).await;
            item.settle();
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let limits = Limits { capacity: 16, ..Limits::default() };
    let mailbox = Mailbox::new("consumer", limits, &Clock::system());
    let edge = mailbox.address("producer", Overflow::Wait);
    let once = Policy { restart: Restart::Temporary, ..Policy::default() };
    let children = vec![
        Child::actor("consumer", &mailbox, || Consumer),
        Child::source("producer", move || Producer(edge.clone())).policy(once),
    ];
    let tree = Tree::start(children, TreeOptions::default()).await?;
    while mailbox.stats().handled < 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = mailbox.stats();
    println!(
        "{} items handled; at most {} waited; the producer waited {} times",
        stats.handled, stats.high_water, stats.waits
    );
    assert!(stats.high_water <= 16 && stats.waits > 0 && stats.dropped == 0, "{stats:?}");
    tree.stop(Duration::from_secs(5)).await;
    Ok(())
}
