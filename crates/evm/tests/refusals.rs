//! Nodes that refuse, are slow, or limit what they answer at once. Another node is asked, or the same one for less.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/lines.rs"]
mod lines;
#[path = "support/node.rs"]
mod node;

use std::num::NonZeroU32;
use std::time::Duration;

use evm::{ChainError, FaultKind, Moment, Next, Source, Step};
use lines::Warnings;
use node::{BloomForm, Generated, Reply, TestNode, blocks_of, config_of};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The time limit of everything that must succeed, long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn refuse(calls: &[Value], method: &str, code: i64, message: &str) -> Option<Reply> {
    let error = json!({ "code": code, "message": message });
    let errors =
        calls.iter().map(|call| (call["method"] == method).then(|| error.clone())).collect::<Vec<_>>();
    errors.iter().any(Option::is_some).then_some(Reply::Calls(200, errors))
}

/// Reads the events of all blocks up to this one; returns the number of blocks with events.
async fn read_events(source: &Source, chain: &Generated, to: u64) -> usize {
    read_events_within(source, chain, to, PATIENCE).await
}

/// As [`read_events`], with less time for each call. As the service does, it repeats a call without an answer.
async fn read_events_within(source: &Source, chain: &Generated, to: u64, time: Duration) -> usize {
    let (mut last, mut found, mut failures) = (chain.block(0), 0, 0);
    while last.number < to {
        match source.range(to).events(&last, Instant::now() + time).await {
            Ok(Step::Part(part)) => {
                found += part.blocks.len();
                last = part.last;
            }
            Ok(step) => panic!("after {last:?}: {step:?}"),
            Err(error) => {
                failures += 1;
                assert!(failures <= 5, "after {last:?}: {error}");
            }
        }
    }
    found
}

/// Reads all blocks up to this one with their headers.
async fn read_blocks(source: &Source, chain: &Generated, to: u64) -> usize {
    let (mut last, mut found) = (chain.block(0), 0);
    while let Step::Part(blocks) = source.range(to).blocks(&last, deadline()).await.unwrap() {
        found += blocks.len();
        last = blocks.last().unwrap().at;
    }
    found
}

async fn follow(source: &Source, chain: &Generated, from: u64) {
    let mut last = chain.block(from);
    while last.number < chain.height {
        let next = source.next(&last, deadline()).await.unwrap();
        let Next::Block { block, .. } = next else { panic!("{next:?}") };
        last = block.at;
    }
}

#[tokio::test]
async fn only_a_revert_of_a_view_function_ends_its_question() {
    let chain = Generated::new(5);
    let market = "0x00000000000000000000000000000000000000bb".parse().unwrap();
    for (code, message) in [
        (-32_600, "Invalid Request"),
        (-32_601, "the method eth_call does not exist/is not available"),
        (-32_602, "Invalid params"),
        (-32_000, "execution aborted (timeout = 5s)"),
        (-39_001, "Unknown block"),
    ] {
        let first = TestNode::start(&chain, move |calls, _| refuse(calls, "eth_call", code, message)).await;
        let good = TestNode::good(&chain).await;
        let source = Source::new(config_of(&[&first, &good])).unwrap();
        let answer = source.views(Moment::Latest, deadline()).day_counter(market).await;
        assert_eq!(answer.unwrap(), 7, "{message}");
        assert_eq!(good.calls()["eth_call"], 1);
    }
    for (code, message) in
        [(3, "execution reverted"), (-32_015, "VM execution error."), (-32_000, "out of gas")]
    {
        let first = TestNode::start(&chain, move |calls, _| refuse(calls, "eth_call", code, message)).await;
        let good = TestNode::good(&chain).await;
        let source = Source::new(config_of(&[&first, &good])).unwrap();
        let error = source.views(Moment::Latest, deadline()).day_counter(market).await.unwrap_err();
        assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
        assert!(!good.calls().contains_key("eth_call"), "{message}");
    }
}

#[tokio::test]
async fn nodes_that_take_no_block_hash_in_a_view_are_asked_by_number_and_are_not_at_fault() {
    let chain = Generated::new(5);
    let market = "0x00000000000000000000000000000000000000bb".parse().unwrap();
    for (code, message) in [
        (-32_602, "invalid argument 1: json: cannot unmarshal object into Go value of type string"),
        (-32_602, "Invalid params"),
        (-32_000, "entirely unknown"),
    ] {
        let rule = move |calls: &[Value], _| {
            let by_hash = calls.iter().any(|call| call["params"][1].is_object());
            if by_hash { refuse(calls, "eth_call", code, message) } else { None }
        };
        let (first, second) = (TestNode::start(&chain, rule).await, TestNode::start(&chain, rule).await);
        let source = Source::new(config_of(&[&first, &second])).unwrap();
        let at = Moment::Block { number: 3, hash: Some(chain.block(3).hash) };
        for _ in 0..3 {
            assert_eq!(source.views(at, deadline()).day_counter(market).await.unwrap(), 7, "{message}");
        }
        // Once by hash, and each time by number.
        assert_eq!((first.calls()["eth_call"], second.calls()["eth_call"]), (4, 1), "{message}");
        assert!(source.status().iter().all(|node| node.fault.is_none()), "{:?}", source.status());
        // One of them serves it: that one is asked.
        let good = TestNode::good(&chain).await;
        let source = Source::new(config_of(&[&first, &good])).unwrap();
        assert_eq!(source.views(at, deadline()).day_counter(market).await.unwrap(), 7);
        assert_eq!(good.calls()["eth_call"], 1);
    }
}

#[tokio::test]
async fn a_node_on_another_branch_gives_no_value_by_number_though_others_take_no_hash() {
    let chain = Generated::new(5);
    let market = "0x00000000000000000000000000000000000000bb".parse().unwrap();
    let at = Moment::Block { number: 3, hash: Some(chain.block(3).hash) };
    // The first one's words for a block that it does not have, or for a hash that it does not take.
    for (code, message) in [
        (-32_000, "header not found"),
        (-32_000, "block 0200000000000000000000000000000000000000000000000000000000000003 not found"),
        (-32_000, "entirely unknown"),
        (-32_602, "Invalid params"),
    ] {
        let other_branch = chain.branch(3, 1, 5);
        let stray = TestNode::start(&other_branch, move |calls, _| {
            let [call] = calls else { return None };
            let answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": format!("0x{:064x}", 9) });
            refuse(calls, "eth_call", code, message)
                .filter(|_| call["params"][1].is_object())
                .or_else(|| (call["method"] == "eth_call").then(|| Reply::Text(200, answer.to_string())))
        });
        let stray = stray.await;
        let by_number = TestNode::start(&chain, |calls, _| {
            let by_hash = calls.iter().any(|call| call["params"][1].is_object());
            if by_hash { refuse(calls, "eth_call", -32_602, "Invalid params") } else { None }
        });
        let by_number = by_number.await;
        for nodes in [[&stray, &by_number], [&by_number, &stray]] {
            let source = Source::new(config_of(&nodes)).unwrap();
            for _ in 0..2 {
                let day = source.views(at, deadline()).day_counter(market).await;
                assert_eq!(day.unwrap(), 7, "{message}");
            }
        }
        let alone = Source::new(config_of(&[&stray])).unwrap();
        let error = alone.views(at, deadline()).day_counter(market).await.unwrap_err();
        assert!(matches!(error, ChainError::BlockGone { .. }), "{message}: {error}");
    }
}

#[tokio::test]
async fn a_node_without_receipts_is_enough_though_another_one_lacks_the_blocks() {
    let chain = Generated { bloom: BloomForm::Saturated, ..Generated::new(30) };
    let rule = |calls: &[Value], _| refuse(calls, "eth_getBlockReceipts", -32_601, "Method not found");
    let good = TestNode::start(&chain, rule).await;
    let behind = TestNode::good(&Generated { height: 4, ..chain.clone() }).await;
    let source = Source::new(config_of(&[&good, &behind])).unwrap();
    let followed = tokio::time::timeout(PATIENCE / 4, follow(&source, &chain, 10));
    followed.await.expect("each block is accepted at once");
}

#[tokio::test]
async fn a_state_that_all_nodes_have_discarded_is_reported_at_once() {
    let chain = Generated::new(5);
    let market = "0x00000000000000000000000000000000000000bb".parse().unwrap();
    for message in
        ["missing trie node 4711 (path )", "BlockOutOfRangeError: block height is 15 but requested was 5"]
    {
        let rule = move |calls: &[Value], _| refuse(calls, "eth_call", -32_000, message);
        let (first, second) = (TestNode::start(&chain, rule).await, TestNode::start(&chain, rule).await);
        let source = Source::new(config_of(&[&first, &second])).unwrap();
        let started = Instant::now();
        let error = source
            .views(Moment::Block { number: 2, hash: None }, deadline())
            .day_counter(market)
            .await
            .unwrap_err();
        assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
        assert!(started.elapsed() < PATIENCE / 4 && error.is_lasting());
        // The state of a block that no node knows may come.
        let rule = move |calls: &[Value], _| refuse(calls, "eth_call", -32_000, "header not found");
        let third = TestNode::start(&chain, rule).await;
        let source = Source::new(config_of(&[&first, &third])).unwrap();
        let error = source
            .views(Moment::Block { number: 2, hash: None }, deadline())
            .day_counter(market)
            .await
            .unwrap_err();
        assert!(matches!(error, ChainError::NoAnswer { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_node_that_lacks_the_newest_blocks_is_asked_again_after_a_pause() {
    let chain = Generated::new(60);
    let behind = TestNode::start(&chain, |calls, _| {
        refuse(calls, "eth_getLogs", -32_602, "block range extends beyond current head block")
    });
    let behind = behind.await;
    let source = Source::new(config_of(&[&behind])).unwrap();
    let soon = Instant::now() + Duration::from_secs(1);
    let error = source.range(60).events(&chain.block(0), soon).await.unwrap_err();
    assert!(matches!(error, ChainError::NoAnswer { .. }), "{error}");
    let requests = behind.seen().len();
    assert!((3..=12).contains(&requests), "{requests} requests in a second");
    behind.mend();
    assert_eq!(read_events(&source, &chain, 60).await, 20);
}

/// The time limit of a request to a node that never answers in time, and of a call: too short to find the node's size at once.
const LATE: Duration = Duration::from_millis(300);
const CALL: Duration = Duration::from_millis(900);

#[tokio::test]
async fn a_node_that_is_late_for_large_ranges_is_asked_for_less() {
    let chain = Generated::new(20);
    let slow = TestNode::start(&chain, |calls, _| {
        let large = calls.iter().any(|call| blocks_of(call).is_some_and(|blocks| blocks > 1));
        large.then_some(Reply::Late(PATIENCE))
    });
    let slow = slow.await;
    let config = evm::ChainConfig { request_timeout: LATE, ..config_of(&[&slow]) };
    let source = Source::new(config).unwrap();
    assert_eq!(read_events_within(&source, &chain, 20, CALL).await, 6);
}

#[tokio::test]
async fn a_late_node_does_not_slow_down_a_good_one() {
    let chain = Generated::new(200);
    let slow = TestNode::start(&chain, |calls, _| {
        calls.iter().any(|call| call["method"] == "eth_getLogs").then_some(Reply::Late(PATIENCE))
    });
    let (slow, good) = (slow.await, TestNode::good(&chain).await);
    let config = evm::ChainConfig { request_timeout: LATE, ..config_of(&[&slow, &good]) };
    let source = Source::new(config).unwrap();
    assert_eq!(read_events_within(&source, &chain, 200, CALL).await, 66);
    assert!(source.counters().faults(FaultKind::Timeout) >= 1);
    // The size that the slow node does not answer says nothing about the good one.
    let good_blocks =
        good.seen().iter().flat_map(|seen| &seen.calls).filter_map(blocks_of).collect::<Vec<_>>();
    assert!(good_blocks.iter().filter(|blocks| **blocks == 32).count() >= 5, "{good_blocks:?}");
}

#[tokio::test]
async fn a_silent_node_leaves_time_for_another_one() {
    let chain = Generated::new(3);
    let silent = TestNode::start(&chain, |_, _| Some(Reply::Late(PATIENCE))).await;
    let good = TestNode::good(&chain).await;
    // The limit of a request is longer than the time of the call.
    let source = Source::new(config_of(&[&silent, &good])).unwrap();
    let head = source.head(Instant::now() + Duration::from_secs(4)).await;
    assert_eq!(head.unwrap(), chain.block(3));
}

#[tokio::test]
async fn the_limits_of_a_node_are_found_once_and_remembered() {
    let chain = Generated::new(200);
    let rule = |calls: &[Value], _| {
        let error = json!({ "code": -32_602, "message": "no" });
        let errors =
            calls.iter().map(|call| blocks_of(call).is_some_and(|blocks| blocks > 8).then(|| error.clone()));
        let errors = errors.collect::<Vec<_>>();
        if calls.len() > 10 {
            return Some(Reply::Whole(200, error));
        }
        errors.iter().any(Option::is_some).then_some(Reply::Calls(200, errors))
    };
    let node = TestNode::start(&chain, rule).await;
    let source = Source::new(config_of(&[&node])).unwrap();
    for _ in 0..3 {
        assert_eq!(read_events(&source, &chain, 200).await, 66);
        assert_eq!(read_blocks(&source, &chain, 200).await, 200);
    }
    let seen = node.seen();
    let refused = seen.iter().filter(|request| request.refused).count();
    assert!(refused * 8 <= seen.len(), "{refused} of {} requests were refused", seen.len());
    let faults: u64 = FaultKind::ALL.iter().map(|kind| source.counters().faults(*kind)).sum();
    assert_eq!(faults, 0, "a limit is no fault");
}

#[tokio::test]
async fn a_suggested_range_is_asked_for_next() {
    let chain = Generated::new(60);
    let node = TestNode::start(&chain, |calls, _| {
        let call = calls.iter().find(|call| blocks_of(call).is_some_and(|blocks| blocks > 13))?;
        let from = node::first_block_of(call).unwrap();
        let message = format!("query exceeds max results 20000, retry with the range {}-{}", from, from + 12);
        refuse(calls, "eth_getLogs", -32_602, &message)
    });
    let node = node.await;
    let source = Source::new(config_of(&[&node])).unwrap();
    assert_eq!(read_events(&source, &chain, 60).await, 20);
    let asked: Vec<u64> = node.seen().iter().flat_map(|seen| &seen.calls).filter_map(blocks_of).collect();
    assert_eq!(asked[..2], [32, 13], "{asked:?}");
}

#[tokio::test]
async fn a_batch_whose_answer_is_too_large_is_halved() {
    let chain = Generated::new(200);
    let node = TestNode::good(&chain).await;
    // About ten headers, each with a filter of 256 bytes.
    let config = evm::ChainConfig { max_answer: 8_000, ..config_of(&[&node]) };
    let source = Source::new(config).unwrap();
    assert_eq!(read_blocks(&source, &chain, 200).await, 200);
    assert_eq!(source.counters().set_aside(), 0);
}

#[tokio::test]
async fn a_configured_rate_counts_calls_and_not_requests() {
    let chain = Generated::new(60);
    let node = TestNode::good(&chain).await;
    let config = evm::ChainConfig { rate_limit: NonZeroU32::new(20), ..config_of(&[&node]) };
    let source = Source::new(config).unwrap();
    let started = Instant::now();
    assert_eq!(read_blocks(&source, &chain, 60).await, 60);
    // A quarter of a second's calls and one batch may come at once.
    let calls = node.calls().values().sum::<usize>();
    let least = Duration::from_secs(1) / 20 * u32::try_from(calls - 5 - 20).unwrap();
    assert!(calls > 60 && started.elapsed() >= least, "{calls} calls within {:?}", started.elapsed());
}

#[tokio::test]
async fn bad_logs_without_end_cause_one_line_a_minute() {
    let chain = Generated { has_bad_logs: true, ..Generated::new(90) };
    let node = TestNode::good(&chain).await;
    let source = Source::new(config_of(&[&node])).unwrap();
    let warnings = Warnings::default();
    let _guard = warnings.collect();
    assert_eq!(read_events(&source, &chain, 90).await, 30);
    assert_eq!(source.counters().log_faults(evm::LogFaultKind::ShortData), 30);
    assert_eq!(warnings.count(), 1);
}

#[tokio::test]
async fn a_node_that_stays_wrong_causes_one_line_a_minute() {
    let chain = Generated::new(60);
    let wrong = TestNode::start(&chain, |calls, _| {
        let of_logs = calls.iter().any(|call| call["method"] == "eth_getLogs");
        of_logs.then(|| Reply::Text(200, "<html>".to_owned()))
    });
    let (wrong, good) = (wrong.await, TestNode::good(&chain).await);
    let config =
        evm::ChainConfig { probe_interval: Duration::from_millis(20), ..config_of(&[&wrong, &good]) };
    let source = Source::new(config).unwrap();
    let warnings = Warnings::default();
    let _guard = warnings.collect();
    while source.counters().faults(FaultKind::Malformed) < 4 {
        follow(&source, &chain, 50).await;
    }
    assert_eq!(warnings.count(), 1);
}

#[tokio::test]
async fn saturated_bloom_filters_cost_neither_seconds_nor_lines() {
    for (form, receipts) in [
        (BloomForm::Saturated, false),
        (BloomForm::Saturated, true),
        (BloomForm::Absent, false),
        (BloomForm::Empty, true),
    ] {
        for has_second in [false, true] {
            let chain = Generated { bloom: form, ..Generated::new(60) };
            let rule = move |calls: &[Value], _| {
                if receipts {
                    None
                } else {
                    refuse(calls, "eth_getBlockReceipts", -32_601, "Method not found")
                }
            };
            let (first, second) = (TestNode::start(&chain, rule).await, TestNode::start(&chain, rule).await);
            let nodes = if has_second { vec![&first, &second] } else { vec![&first] };
            let source = Source::new(config_of(&nodes)).unwrap();
            let warnings = Warnings::default();
            let guard = warnings.collect();
            follow(&source, &chain, 0).await;
            drop(guard);
            let calls = |method: &str| {
                nodes.iter().map(|node| node.calls().get(method).copied().unwrap_or(0)).sum::<usize>()
            };
            let name = format!("{form:?} {receipts} {has_second}");
            assert_eq!(warnings.count(), 0, "{name}");
            assert!(calls("eth_getLogs") <= 2 * 60, "{name}: {} queries", calls("eth_getLogs"));
            let most = if receipts { 60 } else { 2 };
            assert!(calls("eth_getBlockReceipts") <= most, "{name}: {}", calls("eth_getBlockReceipts"));
            assert_eq!(source.counters().set_aside(), 0, "{name}");
            assert_eq!(read_blocks(&source, &chain, 60).await, 60, "{name}");
        }
    }
}

#[tokio::test]
async fn a_node_that_repeats_its_request_reveals_no_credentials() {
    let chain = Generated::new(5);
    let node = TestNode::start(&chain, |_, _| {
        let message = "POST /v3/0123456789abcdef?token=hunter2 is not possible";
        Some(Reply::Whole(200, json!({ "code": -32_000, "message": message })))
    });
    let node = node.await;
    let mut config = config_of(&[&node]);
    config.nodes = vec![format!("{}/v3/0123456789abcdef?token=hunter2", node.url()).parse().unwrap()];
    let source = Source::new(config).unwrap();
    let error = source.head(Instant::now() + Duration::from_secs(1)).await.unwrap_err();
    let text = format!("{} {error:?}", errors::one_line(&error));
    assert!(text.contains("is not possible"), "{text}");
    assert!(!text.contains("0123456789abcdef") && !text.contains("hunter2"), "{text}");
}
