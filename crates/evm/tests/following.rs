//! Reading a real node's chain block by block.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use domain::chain::{ChainEvent, Hash};
use evm::{ChainError, Moment, Next};
use support::{Chain, blocks_to, deadline, epochs_of, next_block};
use testkit::{Emission, wait_until};
use tokio::time::Instant;

#[tokio::test]
async fn blocks_come_in_order_each_with_its_own_events() {
    let chain = Chain::start().await;
    for epoch in 1..=5 {
        chain.release(epoch).await;
        chain.anvil.mine().await.unwrap();
    }
    let source = chain.source(&[&chain.anvil.url()]);
    let blocks = blocks_to(&source, &chain.genesis().await, 11).await;
    for block in &blocks {
        assert_eq!(block.at, chain.at(block.at.number).await);
    }
    let with_events: Vec<u64> =
        blocks.iter().filter(|block| !block.events.is_empty()).map(|block| block.at.number).collect();
    assert_eq!(with_events, [2, 4, 6, 8, 10]);
    assert_eq!(epochs_of(&blocks), [1, 2, 3, 4, 5]);
    let head = blocks.last().unwrap().at;
    assert_eq!(source.next(&head, deadline()).await.unwrap(), Next::NotYet { head });
}

#[tokio::test]
async fn every_event_of_the_contract_arrives_in_the_order_of_the_block() {
    let chain = Chain::start().await;
    let cid = || "bafybatch".repeat(7);
    for emission in [
        Emission::EpochReleased { epoch: 7, begin: 70, end: 79 },
        Emission::Unknown { epoch: 7 },
        Emission::BatchSubmitted { epoch: 7, cid: cid() },
        Emission::BatchFinalized { epoch: 7, cid: "bafybatch".to_owned() },
        Emission::SubmissionsCompleted { epoch: 7 },
        Emission::DayStarted { day: 3 },
        Emission::PrioritiesAssigned { epoch: 7, seed: 255, validators: 4 },
    ] {
        chain.emit(&emission).await;
    }
    chain.anvil.mine_at(2_000_000_000).await.unwrap();
    let source = chain.source(&[&chain.anvil.url()]);
    let block = next_block(&source, &chain.at(1).await).await;
    let time = 2_000_000_000;
    let cid_hash: Hash =
        "0x12d08b8342ad5d1052de0a9f59230a192aa05a626735f733aa24756d2fdaaa52".parse().unwrap();
    let seed = format!("0x{:064x}", 255).parse().unwrap();
    let events: Vec<ChainEvent> = block.events.iter().map(|event| event.event.clone()).collect();
    assert_eq!(
        events,
        [
            ChainEvent::EpochReleased { epoch: 7, begin: 70, end: 79, time },
            ChainEvent::SnapshotBatchSubmitted { epoch: 7, batch_cid: cid(), time },
            ChainEvent::SnapshotBatchFinalized { epoch: 7, batch_cid_hash: cid_hash, time },
            ChainEvent::BatchSubmissionsCompleted { epoch: 7, time },
            ChainEvent::DayStarted { day: 3, time },
            ChainEvent::PrioritiesAssigned { epoch: 7, seed, time, validators: 4 },
        ]
    );
    let places: Vec<u64> = block.events.iter().map(|event| event.log_index).collect();
    assert_eq!(places, [0, 2, 3, 4, 5, 6]);
    assert!(block.events.iter().all(|event| event.market.lower() == chain.market()));
}

#[tokio::test]
async fn a_reorganisation_up_to_twelve_deep_is_detected_and_its_fork_found() {
    let chain = Chain::start().await;
    chain.anvil.mine_many(20, 1).await.unwrap();
    let source = chain.source(&[&chain.anvil.url()]);
    let mut accepted: BTreeMap<u64, Hash> = BTreeMap::new();
    let mut checkpoint = chain.genesis().await;
    accepted.insert(0, checkpoint.hash);
    let mut reorganisations = 0;
    for depth in 1..=12 {
        let height = chain.anvil.height().await.unwrap();
        for block in blocks_to(&source, &checkpoint, height).await {
            accepted.insert(block.at.number, block.at.hash);
            checkpoint = block.at;
        }
        chain.anvil.reorganise(depth).await.unwrap();
        // Detected at equal height, and with a higher new branch.
        if depth % 2 == 0 {
            chain.anvil.mine().await.unwrap();
        }
        let next = source.next(&checkpoint, deadline()).await.unwrap();
        let Next::Reorganised { tip } = next else { panic!("depth {depth}: {next:?}") };
        reorganisations += 1;
        let fork = source.fork(&tip, &accepted, 12, deadline()).await.unwrap();
        assert_eq!((fork.depth, fork.ancestor.number), (depth, height - depth));
        assert_eq!(fork.ancestor, chain.at(fork.ancestor.number).await);
        let heights: Vec<u64> = fork.branch.iter().map(|block| block.number).collect();
        assert_eq!(heights, (height - depth + 1..=height).collect::<Vec<u64>>());
        accepted.retain(|number, _| *number <= fork.ancestor.number);
        checkpoint = fork.ancestor;
    }
    assert_eq!(source.counters().reorganisations(), reorganisations);
}

#[tokio::test]
async fn a_reorganisation_deeper_than_the_limit_is_an_error_that_says_so() {
    let chain = Chain::start().await;
    chain.anvil.mine_many(10, 1).await.unwrap();
    let source = chain.source(&[&chain.anvil.url()]);
    let mut accepted: BTreeMap<u64, Hash> = BTreeMap::new();
    let blocks = blocks_to(&source, &chain.genesis().await, 11).await;
    accepted.extend(blocks.iter().map(|block| (block.at.number, block.at.hash)));
    chain.anvil.reorganise(6).await.unwrap();
    let next = source.next(&blocks.last().unwrap().at, deadline()).await.unwrap();
    let Next::Reorganised { tip } = next else { panic!("{next:?}") };
    let error = source.fork(&tip, &accepted, 5, deadline()).await.unwrap_err();
    assert!(matches!(error, ChainError::ReorganisedTooDeep { .. }), "{error}");
    assert!(error.is_lasting() && error.to_string().contains("the last 5 accepted blocks"), "{error}");
    assert_eq!(source.fork(&tip, &accepted, 6, deadline()).await.unwrap().depth, 6);
}

#[tokio::test]
async fn a_shorter_chain_is_no_reorganisation_until_it_has_another_block() {
    let chain = Chain::start().await;
    chain.anvil.mine_many(5, 1).await.unwrap();
    let source = chain.source(&[&chain.anvil.url()]);
    let last = blocks_to(&source, &chain.genesis().await, 6).await.pop().unwrap().at;
    chain.anvil.roll_back(2).await.unwrap();
    let next = source.next(&last, deadline()).await.unwrap();
    assert!(matches!(next, Next::NotYet { head } if head.number == 4), "{next:?}");
    chain.release(1).await;
    chain.anvil.mine().await.unwrap();
    let next = source.next(&last, deadline()).await.unwrap();
    assert!(matches!(next, Next::Reorganised { tip } if tip.number == 6), "{next:?}");
}

#[tokio::test]
async fn a_websocket_serves_requests_and_its_heads_end_the_wait() {
    let chain = Chain::start().await;
    let mut config = chain.config(&[&chain.anvil.ws_url()]);
    config.poll_interval = Duration::from_secs(3_600);
    let source = evm::Source::new(config).unwrap();
    let mut last = blocks_to(&source, &chain.genesis().await, 1).await.pop().unwrap().at;
    for epoch in 1..=3 {
        let before = source.counters().wakes();
        chain.release(epoch).await;
        let woken = async {
            while source.head(deadline()).await.unwrap().number == last.number {
                source.wait().await;
            }
        };
        tokio::time::timeout(support::PATIENCE, woken).await.expect("a head must wake long before the poll");
        wait_until("the word of the head", support::PATIENCE, async || source.counters().wakes() > before)
            .await;
        let block = next_block(&source, &last).await;
        assert_eq!(epochs_of(std::slice::from_ref(&block)), [epoch]);
        last = block.at;
    }
}

#[tokio::test]
async fn view_functions_return_numbers_with_their_units() {
    let chain = Chain::start().await;
    let (contracts, market) = (&chain.contracts, chain.market());
    chain.anvil.set_market(contracts, market, [61, 86_400_000_000, 24, 5, 720]).await.unwrap();
    chain.anvil.set_total_nodes(contracts, 1234).await.unwrap();
    chain.anvil.mine().await.unwrap();
    let source = chain.source(&[&chain.anvil.url()]);
    let address = market.parse().unwrap();
    let views = source.views(Moment::Latest, deadline());
    assert_eq!(views.submission_window(address).await.unwrap(), Duration::from_secs(61));
    assert_eq!(views.day_size(address).await.unwrap(), Duration::from_secs(86_400));
    assert_eq!(views.daily_snapshot_quota(address).await.unwrap(), 24);
    assert_eq!(views.day_counter(address).await.unwrap(), 5);
    assert_eq!(views.epochs_in_a_day(address).await.unwrap(), 720);
    assert_eq!(views.total_node_count().await.unwrap(), 1234);
    let before = source.views(Moment::Block { number: 1, hash: None }, deadline());
    assert_eq!(before.day_counter(address).await.unwrap(), 0);
}

#[tokio::test]
async fn a_view_at_a_block_is_of_its_branch_whichever_node_answers_first() {
    let chain = Chain::start().await;
    let (contracts, market) = (&chain.contracts, chain.market());
    let stray = chain.anvil.copy().await.unwrap();
    for (node, day) in [(&chain.anvil, 5), (&stray, 7)] {
        node.set_market(contracts, market, [61, 86_400_000_000, 24, day, 720]).await.unwrap();
        node.mine_many(2, day).await.unwrap();
    }
    let block = chain.at(chain.anvil.height().await.unwrap()).await;
    assert_ne!(stray.block(block.number).await.unwrap().unwrap().0, block.hash.to_string());
    let at = Moment::Block { number: block.number, hash: Some(block.hash) };
    let address = market.parse().unwrap();
    let source = chain.source(&[&stray.url(), &chain.anvil.url()]);
    assert_eq!(source.views(at, deadline()).day_counter(address).await.unwrap(), 5);
    // The stray node alone gives no day rather than another branch's.
    let alone = chain.source(&[&stray.url()]);
    let error = alone.views(at, deadline()).day_counter(address).await.unwrap_err();
    assert!(matches!(error, ChainError::BlockGone { hash } if hash == block.hash), "{error}");
}

#[tokio::test]
async fn an_error_of_a_view_function_names_function_and_address() {
    let chain = Chain::start().await;
    let market = chain.market().parse().unwrap();
    let mut config = chain.config(&[&chain.anvil.url()]);
    config.contracts.protocol_state = "0x00000000000000000000000000000000000000cc".parse().unwrap();
    let source = evm::Source::new(config).unwrap();
    let error = source.views(Moment::Latest, deadline()).day_counter(market).await.unwrap_err();
    assert!(matches!(error, ChainError::View { .. }), "{error}");
    for part in ["dayCounter", "00cc", "answered nothing"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // A contract without this function reverts. No node is at fault, so no other node is asked.
    let mut config = chain.config(&[&chain.anvil.url()]);
    config.contracts.protocol_state = market;
    let source = evm::Source::new(config).unwrap();
    let error = source.views(Moment::Latest, deadline()).day_counter(market).await.unwrap_err();
    assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn every_call_ends_at_its_deadline() {
    let chain = Chain::start().await;
    let source = chain.source(&[&chain.anvil.url()]);
    let genesis = chain.genesis().await;
    next_block(&source, &genesis).await;
    chain.anvil.pause().unwrap();
    // The signal that pauses the node does not stop all of its threads at once.
    wait_until("the node to fall silent", support::PATIENCE, async || {
        let asked = chain.anvil.height();
        tokio::time::timeout(Duration::from_millis(500), asked).await.is_err()
    })
    .await;
    let started = Instant::now();
    let error = source.next(&genesis, started + Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ChainError::NoAnswer { .. }), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(250) && started.elapsed() < Duration::from_secs(15));
    chain.anvil.resume().unwrap();
    // A deadline shorter than the request's time limit is no fault of the node.
    assert_eq!(source.status()[0].fault, None);
    next_block(&source, &genesis).await;
}
