//! Faulty nodes, made by a proxy in front of a real one: nodes that fail, lag or answer wrongly. Each fault is counted by its
//! kind, the faulty node is set aside, and no block is skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use evm::{ChainConfig, ChainError, FaultKind, LogFaultKind, Next, Source};
use retry::table;
use support::{Chain, PATIENCE, blocks_to, deadline, epochs_of, next_block, next_or_error};
use testkit::{Emission, RpcFault, RpcProxy, wait_until};

const GENESIS_AND_DEPLOYMENT: u64 = 1;

/// A chain with `releases` epochs, one a block, behind a proxy.
async fn behind_a_proxy(releases: u64) -> (Chain, RpcProxy) {
    let chain = Chain::start().await;
    for epoch in 1..=releases {
        chain.release(epoch).await;
    }
    let proxy = RpcProxy::start(chain.anvil.addr()).await.unwrap();
    (chain, proxy)
}

/// Reads all blocks through a faulty node and a good one; returns the source.
async fn read_through(fault: RpcFault) -> Source {
    let (chain, bad) = behind_a_proxy(3).await;
    bad.set(fault.clone());
    let mut config = chain.config(&[&bad.url(), &chain.anvil.url()]);
    config.chain_id = Some(31_337);
    config.max_answer = 1 << 20;
    // Only a node that never answers reaches the limit; the others keep a long one, for a busy machine.
    if fault == RpcFault::Silent {
        config.request_timeout = Duration::from_millis(500);
    }
    let source = Source::new(config).unwrap();
    let blocks = blocks_to(&source, &chain.genesis().await, 3 + GENESIS_AND_DEPLOYMENT).await;
    assert_eq!(epochs_of(&blocks), [1, 2, 3], "{fault:?}");
    source
}

#[tokio::test]
async fn each_kind_of_bad_answer_is_counted_and_another_node_asked() {
    for (fault, kind) in [
        (RpcFault::MalformedJson, FaultKind::Malformed),
        (RpcFault::WrongForm, FaultKind::Malformed),
        (RpcFault::Huge(10 << 20), FaultKind::Oversized),
        (RpcFault::ChainId(5), FaultKind::WrongChain),
        (RpcFault::Status(500), FaultKind::Server),
        (RpcFault::Status(403), FaultKind::Refused),
        (RpcFault::TooManyRequests { retry_after: None }, FaultKind::RateLimited),
        (RpcFault::Silent, FaultKind::Timeout),
        (RpcFault::NoLogs, FaultKind::MissingLogs),
        (RpcFault::NoLogsNorReceipts, FaultKind::MissingLogs),
        (RpcFault::ShortLogs, FaultKind::Malformed),
    ] {
        let source = read_through(fault.clone()).await;
        let counters = source.counters();
        assert!(counters.faults(kind) >= 1, "{fault:?}: {counters:?}");
        let others = FaultKind::ALL.iter().filter(|other| **other != kind);
        let others: Vec<_> = others.filter(|other| counters.faults(**other) > 0).collect();
        assert!(others.is_empty(), "{fault:?} is counted as {others:?}, too");
        let is_wrong = !matches!(kind, FaultKind::Server | FaultKind::RateLimited | FaultKind::Timeout);
        assert_eq!(counters.set_aside() > 0, is_wrong, "{fault:?}");
        assert_eq!(LogFaultKind::ALL.iter().map(|kind| counters.log_faults(*kind)).sum::<u64>(), 0);
    }
}

#[tokio::test]
async fn a_node_that_was_set_aside_is_used_again_once_it_answers_correctly() {
    let (chain, first) = behind_a_proxy(2).await;
    first.set(RpcFault::ChainId(5));
    let mut config = chain.config(&[&first.url(), &chain.anvil.url()]);
    config.chain_id = Some(31_337);
    let source = Source::new(config).unwrap();
    let last = blocks_to(&source, &chain.genesis().await, 3).await.pop().unwrap().at;
    assert_eq!(first.calls("eth_getLogs"), 0, "a node of another chain is asked for nothing else");
    assert_eq!(source.status()[0].fault, Some(FaultKind::WrongChain));
    first.clear();
    wait_until("the node to be in use again", PATIENCE, async || {
        source.next(&last, deadline()).await.unwrap();
        source.status()[0].fault.is_none()
    })
    .await;
    chain.release(3).await;
    next_block(&source, &last).await;
    assert_eq!(first.calls("eth_getLogs"), 1);
}

#[tokio::test]
async fn receipts_show_that_a_single_node_left_out_logs() {
    let (chain, only) = behind_a_proxy(1).await;
    only.set(RpcFault::NoLogs);
    let source = chain.source(&[&only.url()]);
    let blocks = blocks_to(&source, &chain.genesis().await, 2).await;
    assert_eq!(epochs_of(&blocks), [1]);
    assert_eq!(source.counters().faults(FaultKind::MissingLogs), 1);
}

#[tokio::test]
async fn a_bad_log_on_every_node_is_reported_and_the_block_accepted() {
    let (chain, _) = behind_a_proxy(0).await;
    let market = format!("0x{:0>64}", chain.market().trim_start_matches("0x"));
    // keccak256("EpochReleased(address,uint256,uint256,uint256,uint256)")
    let released = "0xf7d2257d4a1c445138ab52bd3c22425bfed29da81d0173961c697dc14fcba60c";
    let epoch = format!("0x{:064x}", 8);
    let (contracts, anvil) = (&chain.contracts, &chain.anvil);
    anvil.emit_raw(contracts, &[released, &market], &[0; 96]).await.unwrap();
    anvil.emit_raw(contracts, &[released, &market, &epoch], &[0; 95]).await.unwrap();
    anvil.emit_raw(contracts, &[released, &market, &epoch], &[0; 4096]).await.unwrap();
    anvil.emit_raw(contracts, &[released, &market, &epoch], &[255; 96]).await.unwrap();
    anvil.emit_raw(contracts, &[released], &[0; 96]).await.unwrap();
    anvil.emit_raw(contracts, &[], &[1, 2, 3]).await.unwrap();
    chain.emit(&Emission::EpochReleased { epoch: 9, begin: 1, end: 2 }).await;
    anvil.mine().await.unwrap();
    let url = anvil.url();
    for urls in [vec![url.as_str()], vec![url.as_str(), url.as_str()]] {
        let source = chain.source(&urls);
        let block = next_block(&source, &chain.at(1).await).await;
        assert_eq!(epochs_of(std::slice::from_ref(&block)), [9]);
        let kinds: Vec<LogFaultKind> = block.bad_logs.iter().map(|bad| bad.kind).collect();
        use LogFaultKind::{OutOfRange, OversizedData, ShortData, TooFewTopics};
        assert_eq!(kinds, [TooFewTopics, ShortData, OversizedData, OutOfRange, TooFewTopics]);
        let counted = |kind| source.counters().log_faults(kind);
        assert_eq!((counted(TooFewTopics), counted(ShortData), counted(OversizedData)), (2, 1, 1));
        assert_eq!(source.counters().set_aside(), 0, "the nodes are not at fault");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let (chain, only) = behind_a_proxy(1).await;
    let source = chain.source(&[&only.url()]);
    let genesis = chain.genesis().await;
    blocks_to(&source, &genesis, 1).await;
    only.set(RpcFault::TooManyRequests { retry_after: Some(2) });
    let started = tokio::time::Instant::now();
    let limited = || source.counters().faults(FaultKind::RateLimited);
    let clearing = async {
        wait_until("the first refusal", PATIENCE, async || limited() > 0).await;
        only.clear();
    };
    let after = chain.at(1).await;
    let (_, ()) = tokio::join!(next_block(&source, &after), clearing);
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(limited() <= 2, "the request and the probe may both have been refused: {}", limited());
    // A pause beyond the deadline is an error at once: waiting would change nothing.
    only.set(RpcFault::TooManyRequests { retry_after: Some(3_600) });
    let started = tokio::time::Instant::now();
    let error = next_or_error(&source, &genesis, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ChainError::NoAnswer { .. }) && error.to_string().contains("429"), "{error}");
    assert!(started.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_retry_after_of_zero_or_in_the_past_makes_no_hot_loop() {
    let chain = Chain::start().await;
    chain.release(1).await;
    let genesis = chain.genesis().await;
    let ask = async |status, retry_after| {
        let only = RpcProxy::start(chain.anvil.addr()).await.unwrap();
        only.set(RpcFault::Later { status, retry_after });
        // The product's pauses, instead of the short ones of the tests.
        let config = ChainConfig { after_failure: table::NODE_FAILED, ..chain.config(&[&only.url()]) };
        let source = Source::new(config).unwrap();
        let error = next_or_error(&source, &genesis, Duration::from_secs(3)).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        // The request, the probe beside it, and their retries with growing backoff.
        let requests = only.requests();
        assert!((2..=12).contains(&requests), "{status} {retry_after}: {requests} requests");
        only.clear();
        next_block(&source, &genesis).await;
    };
    let past = "Wed, 21 Oct 2015 07:28:00 GMT";
    tokio::join!(ask(429, "0"), ask(429, past), ask(503, "0"), ask(503, past));
}

#[tokio::test]
async fn a_retry_after_pauses_a_node_for_minutes_at_most() {
    let chain = Chain::start().await;
    let genesis = chain.genesis().await;
    for retry_after in ["86400", "18446744073709551615", "Sun, 21 Oct 2085 07:28:00 GMT"] {
        let only = RpcProxy::start(chain.anvil.addr()).await.unwrap();
        // The proxy refuses the handshake of a WebSocket in the same way.
        for (status, url) in [(429, only.url()), (503, only.url()), (503, only.url().replace("http", "ws"))] {
            only.set(RpcFault::Later { status, retry_after });
            let source = chain.source(&[&url]);
            next_or_error(&source, &genesis, PATIENCE).await.unwrap_err();
            let left = source.status()[0].set_aside_for;
            let some_minutes = table::LONGEST_REQUESTED / 2..=table::LONGEST_REQUESTED;
            assert!(some_minutes.contains(&left), "{status} {retry_after} from {url}: {left:?}");
        }
    }
}

#[tokio::test]
async fn a_lagging_node_is_passed_over_and_is_no_reorganisation() {
    let (chain, lagging) = behind_a_proxy(10).await;
    let source = chain.source(&[&lagging.url(), &chain.anvil.url()]);
    let mut last = blocks_to(&source, &chain.genesis().await, 11).await.pop().unwrap().at;
    lagging.set(RpcFault::Frozen(4));
    for epoch in 11..=20 {
        chain.release(epoch).await;
        let block = next_block(&source, &last).await;
        assert_eq!(epochs_of(std::slice::from_ref(&block)), [epoch]);
        last = block.at;
    }
    assert!(source.counters().faults(FaultKind::Lagging) >= 1);
    assert_eq!(source.counters().reorganisations(), 0);
    assert_eq!(source.counters().set_aside(), 0, "a lagging node is not set aside");
    let status = source.status();
    assert!(status[0].lagging && !status[1].lagging, "{status:?}");
    // Without another node it has no new block, and still no reorganisation.
    let alone = chain.source(&[&lagging.url()]);
    let next = alone.next(&last, deadline()).await.unwrap();
    assert!(matches!(next, Next::NotYet { head } if head.number == 4), "{next:?}");
    // After it has caught up it is used again.
    lagging.clear();
    wait_until("the node to be seen caught up", PATIENCE, async || {
        source.head(deadline()).await.unwrap();
        !source.status()[0].lagging
    })
    .await;
}

#[tokio::test]
async fn a_node_on_its_own_branch_is_no_reorganisation_if_an_equally_high_node_has_ours() {
    let (chain, _) = behind_a_proxy(5).await;
    let stray = chain.anvil.copy().await.unwrap();
    let last = chain.at(6).await;
    chain.anvil.mine_at(last.time + 10).await.unwrap();
    stray.mine_at(last.time + 20).await.unwrap();
    let ours = chain.at(7).await;
    assert_eq!(ours.parent, last.hash, "both branches start at the same block");
    let source = chain.source(&[&stray.url(), &chain.anvil.url()]);
    let next = source.next(&ours, deadline()).await.unwrap();
    assert_eq!(next, Next::NotYet { head: ours });
    assert!(source.counters().faults(FaultKind::Inconsistent) >= 1);
    assert_eq!(source.counters().reorganisations(), 0);
    chain.release(6).await;
    let eighth = next_block(&source, &ours).await.at;
    // A longer branch is a reorganisation.
    stray.mine_at(last.time + 30).await.unwrap();
    stray.mine_at(last.time + 40).await.unwrap();
    let tip = wait_until("the longer branch to be followed", PATIENCE, async || {
        match source.next(&eighth, deadline()).await.unwrap() {
            Next::Reorganised { tip } => Some(tip),
            _ => None,
        }
    })
    .await;
    let accepted = BTreeMap::from([(6, last.hash), (7, ours.hash), (8, eighth.hash)]);
    let fork = source.fork(&tip, &accepted, 12, deadline()).await.unwrap();
    assert_eq!((fork.ancestor, fork.depth), (last, 2));
}

#[tokio::test]
async fn another_node_takes_over_when_one_dies_and_no_block_is_missed() {
    let (mut chain, dying) = behind_a_proxy(3).await;
    let source = chain.source(&[&dying.url(), &chain.anvil.url()]);
    let mut blocks = blocks_to(&source, &chain.genesis().await, 2).await;
    assert!(dying.requests() > 0);
    drop(dying);
    chain.release(4).await;
    blocks.extend(blocks_to(&source, &chain.at(2).await, 5).await);
    assert_eq!(epochs_of(&blocks), [1, 2, 3, 4]);
    assert!(source.counters().faults(FaultKind::Unreachable) >= 1);
    assert!(source.counters().retries() >= 1);
    // Without a node left, the call ends with an error.
    chain.anvil.kill().unwrap();
    let error = next_or_error(&source, &blocks[0].at, Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, ChainError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn an_error_names_method_and_node_and_never_the_nodes_credentials() {
    let chain = Chain::start().await;
    // The proxy is dropped at once, so nothing listens at its port.
    let gone = RpcProxy::start(chain.anvil.addr()).await.unwrap().url();
    for url in [
        gone.replace("http://", "http://user:hunter2@") + "/key-4711?token=4711",
        gone.replace("http://", "ws://user:hunter2@") + "/key-4711?token=4711",
    ] {
        let source = chain.source(&[&url]);
        let error = next_or_error(&source, &chain.genesis().await, Duration::from_secs(1)).await.unwrap_err();
        let shown = format!("{error} {error:?} {:?}", source.status());
        let host = gone.trim_start_matches("http://");
        assert!(shown.contains(host) && shown.contains("eth_getBlockByNumber"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
        let line = errors::one_line(&error);
        assert!(!line.contains("hunter2") && !line.contains("4711"), "{line}");
        // The chain of sources: our error, the node's fault, the client's error, the socket's error.
        let fault =
            error.source().and_then(|cause| cause.downcast_ref::<evm::NodeFault>()).expect("a node's");
        assert_eq!(fault.kind, FaultKind::Unreachable);
        let mut causes = std::iter::successors(fault.source(), |cause| (*cause).source());
        let refused = |cause: &(dyn std::error::Error + 'static)| {
            let cause = cause.downcast_ref::<std::io::Error>();
            cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        assert!(causes.any(refused), "{error:?}");
    }
}
