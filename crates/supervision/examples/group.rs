//! A dynamic group: members are added to and removed from a running tree, and one that crashes disturbs no other.
//!
//! Run it with `cargo run --package supervision --example group`.

use std::time::Duration;

use supervision::{Child, Context, Failure, State, Tree, TreeOptions, Worker};

/// Follows a market until it is stopped. That of `bad` panics.
struct Follower(String);

impl Worker for Follower {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        assert!(self.0 != "bad", "this market can't be followed");
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

fn follower(market: &str) -> Child {
    let name = market.to_owned();
    Child::worker(market, move || Follower(name.clone()))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let markets = Child::supervisor("markets", vec![follower("first"), follower("bad")]);
    let tree = Tree::start(vec![markets], TreeOptions::default()).await?;
    tree.add_child("markets", follower("second"))?;
    let removed = tree.remove_child("markets/first").await?;
    assert!(removed.killed.is_empty(), "it stopped by itself");
    let runs =
        |path: &str| tree.health().iter().any(|actor| actor.path == path && actor.state == State::Running);
    let restarts = |path: &str| {
        tree.health().iter().find(|actor| actor.path == path).map_or(0, supervision::ActorHealth::restarts)
    };
    while !runs("markets/second") || restarts("markets/bad") < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for actor in tree.health() {
        println!("{:<16} {:?}, {} restarts", actor.path, actor.state, actor.restarts());
    }
    assert_eq!(restarts("markets/second"), 0);
    let report = tree.stop(Duration::from_secs(5)).await;
    assert_eq!(report.left_behind, 0);
    Ok(())
}
