//! Nodes on different branches, and nodes that claim a head that does not exist.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/node.rs"]
mod node;

use std::collections::BTreeMap;
use std::time::Duration;

use evm::{FaultKind, Next, Source};
use node::{Generated, Reply, TestNode, config_of};
use serde_json::{Value, json};
use tokio::time::Instant;

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn a_preferred_node_on_a_dropped_branch_does_not_hide_a_reorganisation() {
    let dropped = Generated::new(45);
    let chain = dropped.branch(40, 1, 50);
    let (stuck, good) = (TestNode::good(&dropped).await, TestNode::good(&chain).await);
    let source = Source::new(config_of(&[&stuck, &good])).unwrap();
    let next = source.next(&dropped.block(45), deadline()).await.unwrap();
    let Next::Reorganised { tip } = next else { panic!("{next:?}") };
    assert_eq!(tip, chain.block(45));
    let accepted: BTreeMap<_, _> = (30..=45).map(|number| (number, dropped.block(number).hash)).collect();
    let fork = source.fork(&tip, &accepted, 12, deadline()).await.unwrap();
    assert_eq!((fork.ancestor, fork.depth), (chain.block(39), 6));
    let mut last = fork.ancestor;
    while last.number < 50 {
        let next = source.next(&last, deadline()).await.unwrap();
        let Next::Block { block, .. } = next else { panic!("after {last:?}: {next:?}") };
        assert_eq!(block.at, chain.block(last.number + 1));
        last = block.at;
    }
}

#[tokio::test]
async fn a_lagging_node_on_another_branch_causes_no_reorganisation() {
    let stray = Generated::new(47);
    let chain = stray.branch(40, 1, 52);
    let (stuck, good) = (TestNode::good(&stray).await, TestNode::good(&chain).await);
    let source = Source::new(config_of(&[&stuck, &good])).unwrap();
    for number in 44..52 {
        let next = source.next(&chain.block(number), deadline()).await.unwrap();
        let Next::Block { block, .. } = next else { panic!("after {number}: {next:?}") };
        assert_eq!(block.at, chain.block(number + 1));
    }
    assert_eq!(source.counters().reorganisations(), 0);
}

#[tokio::test]
async fn a_lagging_node_decides_nothing_while_the_node_with_the_head_fails() {
    let stray = Generated::new(47);
    let chain = stray.branch(40, 1, 52);
    let stuck = TestNode::good(&stray).await;
    let failing = TestNode::start(&chain, |calls, before| {
        let error = json!({ "code": -32_000, "message": "try again" });
        let is_by_height =
            |call: &Value| call["method"] == "eth_getBlockByNumber" && call["params"][0] != "latest";
        (before < 12 && calls.iter().any(is_by_height)).then_some(Reply::Whole(200, error))
    });
    let failing = failing.await;
    let source = Source::new(config_of(&[&failing, &stuck])).unwrap();
    let next = source.next(&chain.block(44), deadline()).await.unwrap();
    assert!(matches!(&next, Next::Block { block, .. } if block.at == chain.block(45)), "{next:?}");
    assert_eq!(source.counters().reorganisations(), 0);
}

#[tokio::test]
async fn a_node_on_its_own_branch_is_set_aside_as_long_as_another_one_denies_it() {
    let stray = Generated::new(50);
    let chain = stray.branch(40, 1, 50);
    let (first, good) = (TestNode::good(&stray).await, TestNode::good(&chain).await);
    let source = Source::new(config_of(&[&first, &good])).unwrap();
    for number in 44..50 {
        let next = source.next(&chain.block(number), deadline()).await.unwrap();
        let Next::Block { block, .. } = next else { panic!("after {number}: {next:?}") };
        assert_eq!(block.at, chain.block(number + 1));
    }
    assert_eq!(source.counters().reorganisations(), 0);
    assert!(source.counters().faults(FaultKind::Inconsistent) >= 1);
}

#[tokio::test]
async fn a_head_far_ahead_of_the_clock_is_not_believed_against_another_node() {
    let chain = Generated::new(50);
    let ahead = Generated { head_ahead: (0, 86_400 * 365), ..chain.clone() };
    let (liar, good) = (TestNode::good(&ahead).await, TestNode::good(&chain).await);
    let source = Source::new(config_of(&[&liar, &good])).unwrap();
    assert_eq!(source.head(deadline()).await.unwrap(), chain.block(50));
    assert_eq!(source.counters().faults(FaultKind::Inconsistent), 1);
    // A chain whose time is ahead on both nodes is followed.
    let other = TestNode::good(&ahead).await;
    let source = Source::new(config_of(&[&liar, &other])).unwrap();
    assert!(source.head(deadline()).await.unwrap().time > chain.block(50).time);
    assert_eq!(source.counters().set_aside(), 0);
    // A single node is the only source there is.
    let source = Source::new(config_of(&[&liar])).unwrap();
    assert!(source.head(deadline()).await.unwrap().time > chain.block(50).time);
}

#[tokio::test]
async fn a_head_far_above_all_others_is_not_believed_without_its_blocks() {
    let chain = Generated::new(50);
    let above = Generated { head_ahead: (1_000_000, 0), ..chain.clone() };
    let (liar, good) = (TestNode::good(&above).await, TestNode::good(&chain).await);
    let source = Source::new(config_of(&[&liar, &good])).unwrap();
    for number in 40..50 {
        let next = source.next(&chain.block(number), deadline()).await.unwrap();
        let Next::Block { block, .. } = next else { panic!("after {number}: {next:?}") };
        assert_eq!(block.at, chain.block(number + 1));
    }
    let next = source.next(&chain.block(50), deadline()).await.unwrap();
    assert_eq!(next, Next::NotYet { head: chain.block(50) });
    let chain = Generated { height: 51, ..chain };
    good.set_chain(chain.clone());
    let next = source.next(&chain.block(50), deadline()).await.unwrap();
    assert!(matches!(&next, Next::Block { block, .. } if block.at == chain.block(51)), "{next:?}");
    // A range up to the claimed head ends with the blocks that exist.
    let range = source.range(1_000_000);
    let mut last = chain.block(0);
    while let Ok(evm::Step::Part(part)) = range.events(&last, Instant::now() + Duration::from_secs(2)).await {
        last = part.last;
    }
    assert!(last.number >= 32, "{last:?}");
}
