//! Reading many old blocks of a real node at once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use domain::chain::BlockRef;
use evm::{Block, EventsPart, FaultKind, Range, Source, Step};
use support::{Chain, blocks_to, deadline, epochs, epochs_of};
use testkit::{Emission, RpcFault, RpcProxy};

/// A chain of 302 blocks: an epoch in every tenth block, two in every hundredth.
async fn long_chain() -> Chain {
    let chain = Chain::start().await;
    let mut epoch = 0;
    for block in 1..=30 {
        chain.anvil.mine_many(9, 1).await.unwrap();
        for _ in 0..if block % 10 == 0 { 2 } else { 1 } {
            epoch += 1;
            chain.emit(&Emission::EpochReleased { epoch, begin: 0, end: 1 }).await;
        }
        chain.anvil.mine().await.unwrap();
    }
    chain.anvil.mine().await.unwrap();
    chain
}

const HEIGHT: u64 = 302;

async fn events_of(range: &mut Range, after: &BlockRef) -> Vec<EventsPart> {
    let (mut parts, mut last) = (Vec::<EventsPart>::new(), *after);
    loop {
        match range.events(&last, deadline()).await.unwrap() {
            Step::Part(part) => {
                assert_eq!(part.from, last.number + 1);
                last = part.last;
                parts.push(part);
            }
            Step::Done => return parts,
            Step::Mismatch => panic!("after {last:?}"),
        }
    }
}

async fn blocks_of(range: &mut Range, after: &BlockRef) -> Vec<Block> {
    let (mut blocks, mut last) = (Vec::new(), *after);
    loop {
        match range.blocks(&last, deadline()).await.unwrap() {
            Step::Part(part) => {
                for block in part {
                    assert_eq!((block.at.number, block.at.parent), (last.number + 1, last.hash));
                    last = block.at;
                    blocks.push(block);
                }
            }
            Step::Done => return blocks,
            Step::Mismatch => panic!("after {last:?}"),
        }
    }
}

/// The expected result of a range without headers, from blocks that were read one by one.
fn places(blocks: &[Block]) -> Vec<(u64, Vec<u64>)> {
    let with_events = blocks.iter().filter(|block| !block.events.is_empty());
    with_events.map(|block| (block.at.number, epochs(&block.events))).collect()
}

fn places_of_parts(parts: &[EventsPart]) -> Vec<(u64, Vec<u64>)> {
    let blocks = parts.iter().flat_map(|part| &part.blocks);
    blocks.map(|block| (block.number, epochs(&block.events))).collect()
}

#[tokio::test]
async fn a_range_returns_the_same_as_block_by_block() {
    let chain = long_chain().await;
    let source = chain.source(&[&chain.anvil.url()]);
    let genesis = chain.genesis().await;
    let one_by_one = blocks_to(&source, &genesis, HEIGHT).await;
    assert_eq!(epochs_of(&one_by_one), (1..=33).collect::<Vec<u64>>());
    assert_eq!(blocks_of(&mut source.range(HEIGHT), &genesis).await, one_by_one);
    let parts = events_of(&mut source.range(HEIGHT), &genesis).await;
    assert_eq!(parts.len(), 1, "one query is enough");
    assert_eq!(parts[0].last, chain.at(HEIGHT).await);
    assert_eq!(places_of_parts(&parts), places(&one_by_one));
    for block in &parts[0].blocks {
        assert_eq!(block.hash, chain.at(block.number).await.hash);
    }
}

#[tokio::test]
async fn a_range_is_split_to_a_nodes_limit() {
    let chain = long_chain().await;
    let proxy = RpcProxy::start(chain.anvil.addr()).await.unwrap();
    proxy.set(RpcFault::LogRange(40));
    let source = chain.source(&[&proxy.url()]);
    let genesis = chain.genesis().await;
    let one_by_one = blocks_to(&source, &genesis, HEIGHT).await;
    let before = proxy.calls("eth_getLogs");
    let parts = events_of(&mut source.range(HEIGHT), &genesis).await;
    assert_eq!(places_of_parts(&parts), places(&one_by_one));
    let asked = proxy.calls("eth_getLogs") - before;
    assert!(asked <= 25, "{asked} queries for 302 blocks at a limit of 40");
    assert_eq!(blocks_of(&mut source.range(HEIGHT), &genesis).await, one_by_one);
    let faults: u64 = FaultKind::ALL.iter().map(|kind| source.counters().faults(*kind)).sum();
    assert_eq!(faults, 0, "a limit is no fault");
}

#[tokio::test]
async fn a_range_with_too_large_an_answer_is_split() {
    let chain = Chain::start().await;
    for first in 0..20 {
        chain.emit(&Emission::ManyReleases { first: first * 50, count: 50 }).await;
        chain.anvil.mine().await.unwrap();
    }
    let mut config = chain.config(&[&chain.anvil.url()]);
    config.max_answer = 100_000;
    let source = Source::new(config).unwrap();
    let parts = events_of(&mut source.range(21), &chain.genesis().await).await;
    assert!(parts.len() > 4, "{} parts", parts.len());
    let found: Vec<u64> = places_of_parts(&parts).into_iter().flat_map(|(_, epochs)| epochs).collect();
    assert_eq!(found, (0..1000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn logs_that_one_node_leaves_out_of_a_range_come_from_another() {
    let chain = long_chain().await;
    let proxy = RpcProxy::start(chain.anvil.addr()).await.unwrap();
    proxy.set(RpcFault::NoLogs);
    let genesis = chain.genesis().await;
    let good = chain.source(&[&chain.anvil.url()]);
    let wanted = blocks_to(&good, &genesis, HEIGHT).await;
    for urls in [[proxy.url(), chain.anvil.url()], [chain.anvil.url(), proxy.url()]] {
        let source = chain.source(&[&urls[0], &urls[1]]);
        let parts = events_of(&mut source.range(HEIGHT), &genesis).await;
        assert_eq!(places_of_parts(&parts), places(&wanted));
        assert!(source.counters().faults(FaultKind::MissingLogs) >= 1);
    }
    // With headers, their bloom filters show it without another node.
    let alone = chain.source(&[&proxy.url()]);
    assert_eq!(blocks_of(&mut alone.range(12), &genesis).await, wanted[..12]);
    assert_eq!(alone.counters().faults(FaultKind::MissingLogs), 1);
}

#[tokio::test]
async fn a_range_that_does_not_continue_the_given_block_returns_nothing() {
    let chain = long_chain().await;
    let source = chain.source(&[&chain.anvil.url()]);
    let before = chain.at(300).await;
    chain.anvil.reorganise(5).await.unwrap();
    assert_eq!(source.range(HEIGHT).events(&before, deadline()).await.unwrap(), Step::Mismatch);
    assert_eq!(source.range(HEIGHT).blocks(&before, deadline()).await.unwrap(), Step::Mismatch);
    let after = chain.at(300).await;
    assert_ne!(before, after);
    assert!(matches!(source.range(HEIGHT).events(&after, deadline()).await.unwrap(), Step::Part(_)));
    assert_eq!(source.range(300).events(&after, deadline()).await.unwrap(), Step::Done);
}

#[tokio::test]
async fn pruned_data_come_from_an_archive_node_without_setting_the_node_aside() {
    let chain = long_chain().await;
    let (market, genesis) = (chain.market().parse().unwrap(), chain.genesis().await);
    let proxy = RpcProxy::start(chain.anvil.addr()).await.unwrap();
    proxy.set(RpcFault::Pruned(250));
    let mut config = chain.config(&[&proxy.url()]);
    let alone = Source::new(config.clone()).unwrap();
    config.archive_nodes = vec![chain.anvil.url().parse().unwrap()];
    let source = Source::new(config).unwrap();
    let parts = events_of(&mut source.range(HEIGHT), &genesis).await;
    let found: Vec<u64> = places_of_parts(&parts).into_iter().flat_map(|(_, epochs)| epochs).collect();
    assert_eq!(found, (1..=33).collect::<Vec<u64>>());
    let views = source.views(evm::Moment::Block { number: 2, hash: None }, deadline());
    assert_eq!(views.day_counter(market).await.unwrap(), 0);
    assert_eq!(source.counters().set_aside(), 0);
    // The node itself serves recent blocks.
    let before = proxy.calls("eth_getLogs");
    let young = chain.at(260).await;
    events_of(&mut source.range(HEIGHT), &young).await;
    assert!(proxy.calls("eth_getLogs") > before);
    // Without an archive node the call fails at once, and returns no block.
    let error = alone.range(HEIGHT).events(&genesis, deadline()).await.unwrap_err();
    assert!(error.to_string().contains("pruned"), "{error}");
}
