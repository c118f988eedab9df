//! Reading ahead: what is read before it is asked for, and when it is thrown away.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/node.rs"]
mod node;

use std::time::Duration;

use domain::chain::BlockRef;
use evm::ahead::MOST_PARTS;
use evm::{Ahead, ChainConfig, ChainError, EventsPart, Source, Step};
use node::{Generated, Reply, TestNode, blocks_of, config_of, first_block_of};
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);
/// The blocks of one part. More than a hundred, so that queries are not joined.
const PART: u64 = 128;

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn source_of(nodes: &[&TestNode]) -> Source {
    Source::new(ChainConfig { max_log_range: PART, ..config_of(nodes) }).unwrap()
}

fn events_to(source: &Source, to: u64) -> Ahead<EventsPart> {
    source.range(to).events_ahead(PATIENCE)
}

async fn part(ahead: &mut Ahead<EventsPart>, after: &BlockRef) -> EventsPart {
    match ahead.next(after, deadline()).await.unwrap() {
        Step::Part(part) => part,
        step => panic!("after {after:?}: {step:?}"),
    }
}

/// The first blocks of the queries for logs so far, in the order of the blocks.
fn asked(node: &TestNode) -> Vec<u64> {
    let mut first: Vec<u64> =
        node.seen().iter().flat_map(|seen| &seen.calls).filter_map(first_block_of).collect();
    first.sort_unstable();
    first
}

#[tokio::test]
async fn parts_are_read_before_they_are_asked_for_and_no_more_than_allowed() {
    let chain = Generated::new(40 * PART);
    let node = TestNode::good(&chain).await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, 40 * PART);
    let (mut last, mut found) = (chain.block(0), 0);
    for read in 1..=10 {
        let next = part(&mut ahead, &last).await;
        assert_eq!((next.from, next.last), (last.number + 1, chain.block(last.number + PART)));
        (last, found) = (next.last, found + next.blocks.len());
        // Reading goes on although nothing is asked for. It begins with one part, and each whole part allows one more.
        let most = read + MOST_PARTS.min(read + 1);
        wait_until("the parts ahead", PATIENCE, async || asked(&node).len() == most).await;
        // Of what is read ahead everything has arrived, so that nothing more can come.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(asked(&node).len(), most, "{ahead:?}");
    }
    assert_eq!(found, Generated::epochs(1, last.number).len());
    let expected: Vec<u64> = (0..13).map(|part| part * PART + 1).collect();
    assert_eq!(asked(&node), expected, "no block was asked for twice");
}

#[tokio::test]
async fn blocks_with_headers_are_read_ahead_to_the_end_of_the_range() {
    let chain = Generated::new(1_700);
    let node = TestNode::good(&chain).await;
    let source = source_of(&[&node]);
    let mut ahead = source.range(1_700).blocks_ahead(PATIENCE);
    let (mut last, mut epochs) = (chain.block(0), 0);
    while let Step::Part(blocks) = ahead.next(&last, deadline()).await.unwrap() {
        for block in blocks {
            assert_eq!(block.at, chain.block(last.number + 1));
            (last, epochs) = (block.at, epochs + block.events.len());
        }
    }
    assert_eq!((last, epochs), (chain.block(1_700), Generated::epochs(1, 1_700).len()));
    assert!(matches!(ahead.next(&last, deadline()).await.unwrap(), Step::Done));
}

#[tokio::test]
async fn parts_for_another_block_are_thrown_away() {
    let chain = Generated::new(20 * PART);
    let node = TestNode::good(&chain).await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, 20 * PART);
    for _ in 0..2 {
        // Another number: back to the beginning.
        let first = part(&mut ahead, &chain.block(0)).await;
        assert_eq!((first.from, first.last), (1, chain.block(PART)));
        let second = part(&mut ahead, &first.last).await;
        assert_eq!((second.from, second.last), (PART + 1, chain.block(2 * PART)));
        // Neither a part that was handed over already nor the next one.
        let other = part(&mut ahead, &chain.block(PART + 40)).await;
        assert_eq!((other.from, other.last), (PART + 41, chain.block(2 * PART + 40)));
    }
}

#[tokio::test]
async fn a_reorganisation_between_parts_is_a_mismatch_and_the_new_branch_is_read() {
    let old = Generated::new(20 * PART);
    let new = old.branch(PART + 1, 1, old.height);
    let node = TestNode::good(&old).await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, old.height);
    let first = part(&mut ahead, &old.block(0)).await;
    // Two more parts of the old branch are read when the chain changes.
    wait_until("the parts ahead", PATIENCE, async || asked(&node).len() == 3).await;
    node.set_chain(new.clone());
    let mut last = first.last;
    for number in [2, 3] {
        last = part(&mut ahead, &last).await.last;
        assert_eq!(last, old.block(number * PART));
    }
    assert_eq!(ahead.next(&last, deadline()).await.unwrap(), Step::Mismatch);
    // The same number, and another hash: what was read for the old branch is not handed over.
    let mut last = new.block(last.number);
    while last.number < new.height {
        last = part(&mut ahead, &last).await.last;
        assert_eq!(last, new.block(last.number));
    }
}

#[tokio::test]
async fn parts_that_were_read_for_another_hash_are_read_again() {
    let old = Generated::new(4 * PART);
    let new = old.branch(PART, 1, old.height);
    let node = TestNode::good(&old).await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, old.height);
    part(&mut ahead, &old.block(0)).await;
    wait_until("the parts ahead", PATIENCE, async || asked(&node).len() == 3).await;
    node.set_chain(new.clone());
    // The caller has found the reorganisation by itself.
    assert_eq!(part(&mut ahead, &new.block(PART)).await.last, new.block(2 * PART));
}

#[tokio::test]
async fn a_block_of_another_branch_gets_no_part_of_this_one() {
    let chain = Generated::new(4 * PART);
    let node = TestNode::good(&chain).await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, 4 * PART);
    let first = part(&mut ahead, &chain.block(0)).await;
    wait_until("the parts ahead", PATIENCE, async || asked(&node).len() == 3).await;
    let stray = chain.branch(PART, 1, 4 * PART).block(PART);
    assert_eq!((stray.number, stray.hash == first.last.hash), (PART, false));
    assert_eq!(ahead.next(&stray, deadline()).await.unwrap(), Step::Mismatch);
    assert_eq!(part(&mut ahead, &first.last).await.last, chain.block(2 * PART));
}

#[tokio::test]
async fn dropping_the_reader_ends_its_requests() {
    let chain = Generated::new(40 * PART);
    let silent = TestNode::start(&chain, |calls, _| {
        let is_of_logs = calls.iter().any(|call| first_block_of(call).is_some_and(|first| first > 1));
        is_of_logs.then_some(Reply::Late(PATIENCE))
    });
    let node = silent.await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, 40 * PART);
    part(&mut ahead, &chain.block(0)).await;
    wait_until("the parts ahead", PATIENCE, async || asked(&node).len() == 3).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let reading = alive();
    drop(ahead);
    // Two tasks that read and two connections; the node goes on waiting.
    wait_until("the tasks to end", PATIENCE, async || alive() + 4 <= reading).await;
}

#[tokio::test]
async fn a_dropped_call_loses_no_part() {
    let chain = Generated::new(4 * PART);
    let node = TestNode::good(&chain).await;
    let source = source_of(&[&node]);
    let mut ahead = events_to(&source, 4 * PART);
    let mut last = chain.block(0);
    while last.number < 4 * PART {
        // Polled once, and dropped.
        let late = ahead.next(&last, Instant::now()).await;
        last = match late {
            Ok(Step::Part(part)) => part.last,
            Err(ChainError::NoAnswer { .. }) => part(&mut ahead, &last).await.last,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(asked(&node), [1, PART + 1, 2 * PART + 1, 3 * PART + 1], "no block was asked for twice");
}

#[tokio::test]
async fn an_error_is_returned_once_and_reading_goes_on() {
    let chain = Generated::new(4 * PART);
    let node = TestNode::start(&chain, |calls, _| {
        let is_second = calls.iter().any(|call| first_block_of(call) == Some(PART + 1));
        is_second.then(|| Reply::Whole(500, json!({ "code": -32_603, "message": "out of order" })))
    });
    let node = node.await;
    let config = ChainConfig { max_log_range: PART, ..config_of(&[&node]) };
    let source = Source::new(config).unwrap();
    let mut ahead = source.range(4 * PART).events_ahead(Duration::from_millis(300));
    let first = part(&mut ahead, &chain.block(0)).await;
    let error = ahead.next(&first.last, deadline()).await.unwrap_err();
    assert!(matches!(&error, ChainError::NoAnswer { .. }), "{error}");
    assert!(error.to_string().contains("out of order"), "{error}");
    node.mend();
    let mut last = first.last;
    while last.number < 4 * PART {
        last = part(&mut ahead, &last).await.last;
    }
    assert_eq!(last, chain.block(4 * PART));
}

#[tokio::test]
async fn a_node_that_takes_less_than_expected_makes_parts_shorter_without_gaps() {
    let chain = Generated::new(2_000);
    let node = TestNode::start(&chain, |calls, _| {
        let is_wide = |call: &Value| {
            let most = if first_block_of(call).is_some_and(|first| first > 700) { 110 } else { 500 };
            blocks_of(call).is_some_and(|blocks| blocks > most)
        };
        let error = json!({ "code": -32_005, "message": "query returned more than 10000 results" });
        let errors: Vec<_> = calls.iter().map(|call| is_wide(call).then(|| error.clone())).collect();
        errors.iter().any(Option::is_some).then_some(Reply::Calls(200, errors))
    });
    let node = node.await;
    let source = Source::new(ChainConfig { max_log_range: 300, ..config_of(&[&node]) }).unwrap();
    let mut ahead = events_to(&source, 2_000);
    let (mut last, mut found) = (chain.block(0), 0);
    while last.number < 2_000 {
        let next = part(&mut ahead, &last).await;
        assert_eq!((next.from, next.last), (last.number + 1, chain.block(next.last.number)));
        (last, found) = (next.last, found + next.blocks.len());
    }
    assert_eq!(found, Generated::epochs(1, 2_000).len());
}
