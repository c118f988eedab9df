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
    let mut chain = Generated::new(50);
    // Its newest block is of this moment.
    chain.start += 100_000 - 2 * chain.height;
    for seconds in [400, 86_400 * 365] {
        let ahead = Generated { head_ahead: (0, seconds), ..chain.clone() };
        let (liar, good) = (TestNode::good(&ahead).await, TestNode::good(&chain).await);
        let source = Source::new(config_of(&[&liar, &good])).unwrap();
        assert_eq!(source.head(deadline()).await.unwrap(), chain.block(50), "{seconds}");
        assert_eq!(source.counters().faults(FaultKind::Inconsistent), 1, "{seconds}");
    }
    let ahead = Generated { head_ahead: (0, 86_400 * 365), ..chain.clone() };
    let liar = TestNode::good(&ahead).await;
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

#[tokio::test]
async fn logs_of_another_branch_than_their_blocks_come_from_another_node() {
    let chain = Generated::new(60);
    let stray = chain.branch(20, 1, 60);
    // A balancer, one of whose servers is on another branch and answers the queries for logs.
    let own = chain.clone();
    let mixed = TestNode::start(&chain, move |calls, _| {
        let answer = |call: &Value| {
            let chain = if call["method"] == "eth_getLogs" { &stray } else { &own };
            json!({ "jsonrpc": "2.0", "id": call["id"], "result": chain.result(call) })
        };
        let answers: Vec<Value> = calls.iter().map(answer).collect();
        let body = if answers.len() == 1 { answers[0].clone() } else { json!(answers) };
        Some(Reply::Text(200, body.to_string()))
    });
    let (mixed, good) = (mixed.await, TestNode::good(&chain).await);
    for nodes in [[&mixed, &good], [&good, &mixed]] {
        let source = Source::new(config_of(&nodes)).unwrap();
        let (range, mut last, mut found) = (source.range(60), chain.block(0), 0);
        while let evm::Step::Part(part) = range.events(&last, deadline()).await.unwrap() {
            for block in &part.blocks {
                assert_eq!(block.hash, chain.block(block.number).hash, "block {}", block.number);
            }
            found += part.blocks.len();
            last = part.last;
        }
        assert_eq!((last.number, found), (60, Generated::epochs(1, 60).len()));
        assert!(source.counters().faults(FaultKind::Inconsistent) >= 1);
        assert_eq!(source.counters().faults(FaultKind::MissingLogs), 0);
    }
}

#[tokio::test]
async fn a_preferred_node_that_lags_gives_no_newest_value_of_a_contract() {
    let chain = Generated::new(60);
    let lower = Generated { height: 5, ..chain.clone() };
    let behind = TestNode::start(&lower, |calls, _| {
        let call = calls.iter().find(|call| call["method"] == "eth_call")?;
        let answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": format!("0x{:064x}", 9) });
        Some(Reply::Text(200, answer.to_string()))
    });
    let (behind, good) = (behind.await, TestNode::good(&chain).await);
    let source = Source::new(config_of(&[&behind, &good])).unwrap();
    while source.head(deadline()).await.unwrap().number < 60 {
        source.wait().await;
    }
    let market = "0x00000000000000000000000000000000000000bb".parse().unwrap();
    assert_eq!(source.views(evm::Moment::Latest, deadline()).day_counter(market).await.unwrap(), 7);
}

#[tokio::test]
async fn a_node_that_has_logs_a_moment_after_the_block_is_not_set_aside_because_another_one_lags() {
    let chain = Generated::new(60);
    let balancer = TestNode::start(&chain, |calls, before| {
        let is_by_hash = |call: &Value| call["params"][0]["blockHash"].is_string();
        let error = json!({ "code": -32_000, "message": "header not found" });
        (before % 3 == 0 && calls.iter().any(is_by_hash)).then_some(Reply::Whole(200, error))
    });
    let lower = Generated { height: 5, ..chain.clone() };
    let (balancer, behind) = (balancer.await, TestNode::good(&lower).await);
    let source = Source::new(config_of(&[&balancer, &behind])).unwrap();
    while !source.status()[1].lagging {
        source.head(deadline()).await.unwrap();
        source.wait().await;
    }
    for number in 40..60 {
        let next = source.next(&chain.block(number), deadline()).await.unwrap();
        assert!(
            matches!(&next, Next::Block { block, .. } if block.at == chain.block(number + 1)),
            "{next:?}"
        );
    }
    assert!(source.counters().faults(FaultKind::Pruned) >= 3, "it was never late");
    assert_eq!(source.counters().set_aside(), 0);
}
