//! Nodes that answer for few blocks at once: many queries are joined to one part.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/node.rs"]
mod node;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evm::{ChainConfig, ChainError, EventsPart, FaultKind, Source, Step};
use node::{Generated, Reply, TestNode, blocks_of, config_of, first_block_of};
use retry::{RetryPolicy, table};
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);
/// The blocks that a node of these tests answers for at once, and those of its chain.
const FEW: u64 = 10;
const HEIGHT: u64 = 1_000;

/// Refuses more than a few blocks in a query, and more than some calls in a batch.
fn limits(calls: &[Value], most_calls: usize) -> Option<Reply> {
    if calls.len() > most_calls {
        return Some(Reply::Whole(200, json!({ "code": -32_600, "message": "batch is too large" })));
    }
    let error = json!({ "code": -32_602, "message": "block range is too wide" });
    let is_wide = |call: &Value| blocks_of(call).is_some_and(|blocks| blocks > FEW);
    let errors: Vec<_> = calls.iter().map(|call| is_wide(call).then(|| error.clone())).collect();
    errors.iter().any(Option::is_some).then_some(Reply::Calls(200, errors))
}

/// The right answers of a chain, with these results changed.
fn answers(calls: &[Value], result: impl Fn(&Value) -> Value) -> Reply {
    let answer = |call: &Value| json!({ "jsonrpc": "2.0", "id": call["id"], "result": result(call) });
    let answers: Vec<Value> = calls.iter().map(answer).collect();
    let body = if answers.len() == 1 { answers[0].clone() } else { Value::Array(answers) };
    Reply::Text(200, body.to_string())
}

fn source_of(nodes: &[&TestNode]) -> Source {
    Source::new(ChainConfig { max_log_range: 2_000, ..config_of(nodes) }).unwrap()
}

/// Reads all events; returns the parts. A call without an answer is repeated, as the service does.
async fn read(source: &Source, chain: &Generated) -> Vec<EventsPart> {
    let (range, mut parts, mut last) = (source.range(HEIGHT), Vec::new(), chain.block(0));
    let deadline = Instant::now() + PATIENCE;
    while last.number < HEIGHT {
        match range.events(&last, deadline).await {
            Ok(Step::Part(part)) => {
                assert_eq!(part.from, last.number + 1);
                last = part.last;
                parts.push(part);
            }
            Err(ChainError::NoAnswer { .. }) if Instant::now() < deadline => {}
            other => panic!("after {last:?}: {other:?}"),
        }
    }
    parts
}

fn assert_complete(parts: &[EventsPart], chain: &Generated) {
    let blocks = parts.iter().flat_map(|part| &part.blocks);
    let found: Vec<_> = blocks.map(|block| (block.number, block.hash, block.events.len())).collect();
    let expected = Generated::epochs(1, HEIGHT).into_iter();
    let expected: Vec<_> = expected.map(|number| (number, chain.block(number).hash, 1)).collect();
    assert_eq!(found, expected);
    for part in parts {
        assert_eq!(part.last, chain.block(part.last.number));
    }
}

/// The queries that were not refused.
fn queries(node: &TestNode) -> usize {
    let seen = node.seen();
    let answered = seen.iter().filter(|seen| !seen.refused).flat_map(|seen| &seen.calls);
    answered.filter(|call| blocks_of(call).is_some()).count()
}

#[tokio::test]
async fn queries_are_joined_in_batches_if_the_node_takes_them() {
    for (most_calls, most_requests) in [(1, 160), (20, 50), (100, 35)] {
        let chain = Generated::new(HEIGHT);
        let node = TestNode::start(&chain, move |calls, _| limits(calls, most_calls)).await;
        let source = source_of(&[&node]);
        let parts = read(&source, &chain).await;
        assert_complete(&parts, &chain);
        assert!(parts.len() <= 6, "{most_calls}: {} parts", parts.len());
        let (queries, requests) = (queries(&node), node.seen().len());
        assert!((100..=115).contains(&queries), "{most_calls}: {queries} queries");
        assert!(requests <= most_requests, "{most_calls}: {requests} requests");
        // The ends of parts, and those of the queries that were too large.
        let headers = node.calls()["eth_getBlockByNumber"];
        assert!(headers <= 60, "{most_calls}: {headers} headers");
        assert_eq!(FaultKind::ALL.iter().map(|kind| source.counters().faults(*kind)).sum::<u64>(), 0);
    }
}

#[tokio::test]
async fn what_was_answered_before_a_refusal_of_the_rate_is_kept() {
    for most_calls in [1, 20] {
        let chain = Generated::new(HEIGHT);
        let node = TestNode::start(&chain, move |calls, before| {
            let limited = json!({ "code": -32_005, "message": "too many requests" });
            let is_limited = before > 20 && before.is_multiple_of(if most_calls == 1 { 20 } else { 3 });
            if is_limited { Some(Reply::Whole(429, limited)) } else { limits(calls, most_calls) }
        });
        let node = node.await;
        let source = source_of(&[&node]);
        let parts = read(&source, &chain).await;
        assert_complete(&parts, &chain);
        assert!(source.counters().faults(FaultKind::RateLimited) >= 2, "{most_calls}");
        let queries = queries(&node);
        assert!((100..=125).contains(&queries), "{most_calls}: {queries} queries");
        assert_eq!(source.counters().set_aside(), 0);
    }
}

#[tokio::test]
async fn a_log_that_is_left_out_within_a_joined_part_comes_from_another_node() {
    for most_calls in [1, 20] {
        let chain = Generated::new(HEIGHT);
        let good = TestNode::start(&chain, move |calls, _| limits(calls, most_calls)).await;
        let leaving_out = {
            let chain = chain.clone();
            move |calls: &[Value], _| {
                limits(calls, most_calls).or_else(|| {
                    let lacks = |call: &Value| {
                        first_block_of(call).is_some_and(|first| (first..first + FEW).contains(&501))
                    };
                    let result = |call: &Value| {
                        let mut result = chain.result(call);
                        if lacks(call) && blocks_of(call).is_some() {
                            result.as_array_mut().unwrap().retain(|log| log["blockNumber"] != "0x1f5");
                        }
                        result
                    };
                    Some(answers(calls, result))
                })
            }
        };
        let bad = TestNode::start(&chain, leaving_out).await;
        for nodes in [[&bad, &good], [&good, &bad]] {
            let source = source_of(&nodes);
            let parts = read(&source, &chain).await;
            assert_complete(&parts, &chain);
            assert!(parts.len() <= 10, "{} parts", parts.len());
            assert_eq!(source.counters().faults(FaultKind::MissingLogs), 1);
            let faulty = source.status().into_iter().find(|node| node.fault.is_some());
            assert!(faulty.is_none_or(|node| bad.url().contains(&node.node.to_string())));
        }
    }
}

#[tokio::test]
async fn a_branch_that_changes_within_a_joined_part_is_never_mixed_with_another() {
    for most_calls in [1, 20] {
        let old = Generated::new(HEIGHT);
        let new = old.branch(150, 1, HEIGHT);
        // Both the queries of the joined part and the headers of its ends are of the branch of their moment.
        let queries = Arc::new(AtomicUsize::new(0));
        let rule = {
            let (old, new, queries) = (old.clone(), new.clone(), Arc::clone(&queries));
            move |calls: &[Value], _| {
                limits(calls, most_calls).or_else(|| {
                    let asked = calls.iter().filter(|call| blocks_of(call).is_some()).count();
                    let is_old = queries.fetch_add(asked, Ordering::Relaxed) < 40;
                    Some(answers(calls, |call| if is_old { old.result(call) } else { new.result(call) }))
                })
            }
        };
        let node = TestNode::start(&old, rule).await;
        let source = source_of(&[&node]);
        let parts = read(&source, &old).await;
        assert!(queries.load(Ordering::Relaxed) > 80);
        assert_complete(&parts, &new);
    }
}

#[tokio::test]
async fn a_node_that_lacks_the_end_of_joined_queries_is_asked_by_single_ones() {
    let chain = Generated::new(300);
    let node = TestNode::start(&chain, |calls, _| limits(calls, 1)).await;
    let source = source_of(&[&node]);
    // The range ends above the head.
    let range = source.range(HEIGHT);
    let mut last = chain.block(0);
    while let Ok(step) = range.events(&last, Instant::now() + PATIENCE).await {
        let Step::Part(part) = step else { panic!("{step:?}") };
        last = part.last;
    }
    // But for the query that reaches above it.
    assert!(last.number > 300 - FEW, "{last:?}");
}

#[tokio::test]
async fn nothing_is_sent_in_the_pause_of_a_refusal_and_fewer_queries_are_joined_after_it() {
    let chain = Generated::new(HEIGHT);
    // A node that answers some calls, and then asks for a pause that outlasts the deadline.
    let allowed = Arc::new(AtomicUsize::new(40));
    let rule = {
        let allowed = Arc::clone(&allowed);
        move |calls: &[Value], _| {
            let limited = json!({ "code": -32_005, "message": "too many requests" });
            let take = |left: usize| left.checked_sub(calls.len());
            match allowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                Ok(_) => limits(calls, 1),
                Err(_) => Some(Reply::Whole(429, limited)),
            }
        }
    };
    let node = TestNode::start(&chain, rule).await;
    let mut config = ChainConfig { max_log_range: FEW, ..config_of(&[&node]) };
    let pause = Duration::from_millis(300);
    config.after_rate_limit = RetryPolicy { first: pause, longest: pause, ..table::NODE_RATE_LIMITED };
    let source = Source::new(config).unwrap();
    let (range, mut last) = (source.range(HEIGHT), chain.block(0));
    let mut refusals = 0;
    while last.number < HEIGHT {
        match range.events(&last, Instant::now() + pause / 2).await {
            Ok(Step::Part(part)) => last = part.last,
            Err(ChainError::NoAnswer { .. }) => {
                refusals += 1;
                assert!(refusals < 60, "no progress after {last:?}");
                let seen = node.seen().len();
                let left = source.status()[0].set_aside_for;
                assert!(left <= pause, "{left:?}");
                // A call within the pause sends nothing.
                if range.events(&last, Instant::now() + left / 2).await.is_err() && left > pause / 2 {
                    assert_eq!(node.seen().len(), seen);
                }
                wait_until("the end of the pause", PATIENCE, async || {
                    source.status()[0].set_aside_for.is_zero()
                })
                .await;
                allowed.store(40, Ordering::Relaxed);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refusals >= 2, "{refusals}");
}

#[tokio::test]
async fn requests_that_wait_for_their_turn_are_not_sent_in_a_pause_that_began_meanwhile() {
    let chain = Generated::new(HEIGHT);
    let refused = Arc::new(AtomicUsize::new(0));
    let rule = {
        let refused = Arc::clone(&refused);
        move |calls: &[Value], _| {
            // Once, within the joined queries.
            let is_joined = calls.iter().any(|call| first_block_of(call).is_some_and(|first| first > 120));
            let is_refused = is_joined && refused.fetch_add(1, Ordering::Relaxed) == 0;
            let limited = json!({ "code": -32_005, "message": "too many requests" });
            if is_refused { Some(Reply::Whole(429, limited)) } else { limits(calls, 1) }
        }
    };
    let node = TestNode::start(&chain, rule).await;
    let pause = Duration::from_secs(1);
    let mut config = ChainConfig { max_log_range: FEW, ..config_of(&[&node]) };
    config.rate_limit = NonZeroU32::new(40);
    config.after_rate_limit = RetryPolicy { first: pause, longest: pause, ..table::NODE_RATE_LIMITED };
    let source = Source::new(config).unwrap();
    let (range, mut last) = (source.range(300), chain.block(0));
    while let Step::Part(part) = range.events(&last, Instant::now() + PATIENCE).await.unwrap() {
        last = part.last;
    }
    assert_eq!(last, chain.block(300));
    let seen = node.seen();
    let limited = |calls: &[Value]| calls.iter().any(|call| first_block_of(call).is_some_and(|it| it > 120));
    let refusal = seen.iter().find(|seen| seen.refused && limited(&seen.calls)).unwrap().at;
    // The others wait for their turns of 25 ms each; one may have been on its way.
    let within = seen.iter().filter(|seen| seen.at > refusal && seen.at < refusal + pause / 2).count();
    assert!(within <= 1, "{within} requests in the pause");
}

#[tokio::test]
async fn requests_that_are_refused_together_begin_one_pause() {
    let chain = Generated::new(2_000);
    let node = TestNode::start(&chain, |calls, _| {
        let limited = json!({ "code": -32_005, "message": "too many requests" });
        let is_behind = calls.iter().any(|call| first_block_of(call).is_some_and(|first| first > 200));
        is_behind.then_some(Reply::Whole(429, limited))
    });
    let node = node.await;
    let mut config = ChainConfig { max_log_range: 200, ..config_of(&[&node]) };
    // A pause that outlasts the test, and would be doubled.
    config.after_rate_limit =
        RetryPolicy { first: PATIENCE, longest: 10 * PATIENCE, ..table::NODE_RATE_LIMITED };
    let source = Source::new(config).unwrap();
    let mut ahead = source.range(2_000).events_ahead(2 * PATIENCE);
    let first = ahead.next(&chain.block(0), Instant::now() + PATIENCE).await.unwrap();
    assert!(matches!(first, Step::Part(_)));
    // Two parts are read ahead now.
    let refused = || source.counters().faults(FaultKind::RateLimited);
    wait_until("both refusals", PATIENCE, async || refused() == 2).await;
    let left = source.status()[0].set_aside_for;
    assert!(left <= PATIENCE, "{left:?}");
}
