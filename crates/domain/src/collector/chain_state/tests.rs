mod days;
mod ends;
mod properties;

use std::collections::BTreeSet;

use super::*;
use crate::{
    chain::{ChainEvent, EpochSet, Hash, MarketEvent, Window, WindowState},
    collector::Arrangement,
};

const MARKET: ContractAddress = ContractAddress([7; 20]);
const OTHER: ContractAddress = ContractAddress([8; 20]);
const LENGTH: u64 = 20;

fn rules() -> Rules {
    Rules {
        windows: BTreeMap::from([(MARKET, LENGTH), (OTHER, 3 * LENGTH)]),
        day_lengths: BTreeMap::new(),
        past_days: 5,
        followed: Followed { attest: true },
        max_windows: 3,
        max_reorg_depth: 12,
        inputs_live: 1_200,
        silence: 30,
        block_time: 2.0,
    }
}

fn hash(number: u64, branch: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..16].copy_from_slice(&branch.to_be_bytes());
    Hash(bytes)
}

/// A block every two seconds.
fn block(number: u64, branch: u64, parent: Hash) -> BlockRef {
    BlockRef { number, hash: hash(number, branch), parent, time: 1_000 + 2 * number }
}

fn released(market: ContractAddress, epoch: u64, block: u64) -> (u64, MarketEvent) {
    let event = ChainEvent::EpochReleased { epoch, begin: 0, end: 0, time: 1_000 + 2 * block };
    (block, MarketEvent { market, log_index: 0, event })
}

fn submitted(block: u64) -> (u64, MarketEvent) {
    let event = ChainEvent::SnapshotBatchSubmitted { epoch: 1, batch_cid: "cid".to_owned(), time: 0 };
    (block, MarketEvent { market: MARKET, log_index: 1, event })
}

fn chain_state() -> ChainState {
    let markets = [MARKET, OTHER].map(|market| (market, Market::default()));
    ChainState { markets: markets.into(), ..ChainState::default() }
}

/// The blocks after the last accepted one, up to this number.
fn next(chain: &ChainState, to: u64, events: Vec<(u64, MarketEvent)>) -> Segment {
    let mut blocks = Vec::new();
    let (mut number, mut parent) = match chain.checkpoint {
        Some(checkpoint) => (checkpoint.number + 1, checkpoint.hash),
        None => (0, hash(0, 99)),
    };
    while number <= to {
        let block = block(number, 0, parent);
        parent = block.hash;
        blocks.push(block);
        number += 1;
    }
    Segment { blocks, events, ..Segment::default() }
}

/// What is stored after these effects, by what each of them says.
fn stored(before: &ChainState, effects: &[Effect]) -> ChainState {
    let mut all = before.clone();
    for effect in effects {
        match effect.clone() {
            Effect::Checkpoint(block) => all.checkpoint = Some(block),
            Effect::Logged(entry) => {
                all.undo_log.retain(|known| known.block.number != entry.block.number);
                all.undo_log.push(entry);
                all.undo_log.sort_unstable_by_key(|entry| entry.block.number);
            }
            Effect::Unlogged(number) | Effect::Dropped(number) => {
                let known = all.undo_log.len();
                all.undo_log.retain(|entry| entry.block.number != number);
                assert_eq!(all.undo_log.len(), known - 1, "the entry of block {number} was stored");
            }
            Effect::Orphaned(orphaned) => all.orphaned = orphaned,
            Effect::Followed(followed) => all.followed = followed,
            Effect::Window { market, epoch, window, was_marked } => {
                let windows = &mut all.markets.entry(market).or_default().windows;
                let was = match window {
                    Some(window) => windows.insert(epoch, window),
                    None => windows.remove(&epoch),
                };
                assert_eq!(was_marked, was.is_some_and(|was| was.is_marked()));
                assert_ne!(was, window, "a write without need");
            }
            Effect::Ended { market, epoch, window, .. } => {
                assert_eq!(all.markets.entry(market).or_default().windows.remove(&epoch), Some(window));
            }
            Effect::Done { market, done } => all.markets.entry(market).or_default().done = done,
            Effect::Current { market, epoch } => all.markets.entry(market).or_default().current = epoch,
            Effect::Day { market, day, last_day, .. } => {
                let known = all.markets.entry(market).or_default();
                (known.day, known.last_day) = (day, last_day);
            }
            Effect::Rollover { market, epoch, rollover } => {
                let rollovers = &mut all.markets.entry(market).or_default().rollovers;
                let was = match rollover {
                    Some(rollover) => rollovers.insert(epoch, rollover),
                    None => rollovers.remove(&epoch),
                };
                assert_ne!(was, rollover, "a write without need");
            }
            Effect::RolledOver { market, epoch, rollover } => {
                assert_eq!(all.markets.entry(market).or_default().rollovers.remove(&epoch), Some(rollover));
            }
            Effect::BlockHash(_) | Effect::Attest(_) | Effect::Batches { .. } => {}
            Effect::Finalized(_) | Effect::NotFinalized(_) => {}
            Effect::SlotCounts { .. } | Effect::Removed { .. } => {}
            Effect::Relay { .. } | Effect::Plan { .. } => {}
        }
    }
    all
}

/// Makes a transition, and returns its notes. Its effects have to be those of its state.
fn take(all: &mut ChainState, Transition { state, effects, notes }: Transition) -> Vec<Note> {
    // Of a market of which nothing is known nothing is stored.
    let known = |mut all: ChainState| {
        all.markets.retain(|_, market| *market != Market::default());
        all
    };
    assert_eq!(known(stored(all, &effects)), known(state.clone()));
    *all = state;
    notes
}

fn apply(segment: &Segment, all: &mut ChainState, rules: &Rules) -> Result<Vec<Note>, Refused> {
    let after = all.clone().apply(segment, rules)?;
    Ok(take(all, after))
}

fn revert(all: &mut ChainState, number: u64, rules: &Rules) -> Result<Vec<Note>, TooDeep> {
    let after = all.clone().revert(number, 0, rules)?;
    Ok(take(all, after))
}

fn close(all: &mut ChainState, chain: Option<u64>, redis: u64, rules: &Rules) -> Vec<Note> {
    let after = all.clone().close(chain, redis, rules);
    take(all, after)
}

fn measure(all: &mut ChainState, measured: Measured, closed_at: Option<u64>) -> Vec<Note> {
    let after = all.clone().measure(&[(measured, closed_at)]);
    take(all, after)
}

/// Hands the batches of an epoch over; whether it had a window.
fn hand_over(all: &mut ChainState, market: ContractAddress, epoch: u64) -> bool {
    let effects = all.markets[&market].hand_over(market, epoch, &Arrangement::default(), Vec::new(), None);
    *all = stored(all, &effects);
    !effects.is_empty()
}

fn states(chain: &ChainState, market: ContractAddress) -> Vec<(u64, WindowState)> {
    chain.markets[&market].windows.iter().map(|(epoch, window)| (*epoch, window.state)).collect()
}

#[test]
fn a_market_that_is_not_followed_is_taken_over_with_what_its_predecessor_has_handed_over() {
    let (mut all, rules) = (chain_state(), rules());
    assert_eq!(all.newcomers().collect::<Vec<_>>(), [MARKET, OTHER]);
    let left = TakeOver {
        epochs: BTreeMap::from([(1, (3, 1_000)), (2, (4, 1_010)), (3, (5, 1_020))]),
        handed: [2].into(),
        ..TakeOver::default()
    };
    // The submissions of the first one may be gone: they live 1,200 s from its release at the least, and 60 s are the margin.
    let now = Clocks { chain: 1_000 + 1_141, redis: 500 };
    let left = BTreeMap::from([(MARKET, left)]);
    let after = all.clone().take_over(&left, &Releases::new(), now, &rules);
    let notes = take(&mut all, after);
    let window = all.markets[&MARKET].windows[&3];
    assert_eq!(
        notes,
        [Note::Expired { market: MARKET, epoch: 1 }, Note::TakenUp { market: MARKET, epoch: 3, window }]
    );
    assert_eq!(states(&all, MARKET), [(3, WindowState::Open)]);
    assert!([1, 2].iter().all(|epoch| all.markets[&MARKET].done.contains(*epoch)));
    assert_eq!(all.newcomers().collect::<Vec<_>>(), [OTHER]);
    let after = all.clone().take_over(&left, &Releases::new(), now, &rules);
    assert_eq!(take(&mut all, after), [], "none is taken up twice");
    assert_eq!(window.expires, 500 + 19);
}

#[test]
fn a_segment_of_events_has_one_block_and_follows_the_last_one() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 5, vec![]), &mut all, &rules).unwrap();
    let parent = all.checkpoint.unwrap().hash;
    let segment = |first, blocks: std::ops::RangeInclusive<u64>| {
        let mut segment = next(&all, *blocks.end(), vec![]);
        segment.blocks.retain(|block| blocks.contains(&block.number));
        Segment { events_only: Some(EventsOnly { first, parent }), ..segment }
    };
    for (first, blocks) in [(7, 9..=9), (5, 9..=9), (6, 8..=9)] {
        let refused = apply(&segment(first, blocks), &mut all.clone(), &rules);
        assert_eq!(refused, Err(Refused::Gap { expected: 6, found: Some(first) }));
    }
    assert_eq!(apply(&segment(6, 6..=6), &mut all.clone(), &rules), Ok(vec![]));
    assert_eq!(apply(&segment(6, 9..=9), &mut all.clone(), &rules), Ok(vec![]));
}

#[test]
fn a_window_closes_with_the_first_block_at_its_limit_or_after_it() {
    let (mut all, rules) = (chain_state(), rules());
    let notes = apply(&next(&all, 5, vec![released(MARKET, 3, 5)]), &mut all, &rules).unwrap();
    let window = all.markets[&MARKET].windows[&3];
    assert_eq!((window.release_block, window.released, window.limit), (5, 1_010, 1_010 + LENGTH));
    assert_eq!(window.limit_block, 15);
    assert_eq!(notes, [Note::Released { market: MARKET, epoch: 3, window }]);
    assert_eq!(apply(&next(&all, 14, vec![]), &mut all, &rules).unwrap(), []);
    assert_eq!(states(&all, MARKET), [(3, WindowState::Open)]);
    let notes = apply(&next(&all, 17, vec![]), &mut all, &rules).unwrap();
    assert_eq!(notes, [Note::Closed { market: MARKET, epoch: 3, block: 15, by_clock: false }]);
    assert!(hand_over(&mut all, MARKET, 3) && !hand_over(&mut all, MARKET, 3));
    let notes = apply(&next(&all, 18, vec![released(MARKET, 3, 18)]), &mut all, &rules).unwrap();
    assert_eq!(notes, [Note::ReleasedAgain { market: MARKET, epoch: 3 }]);
    assert_eq!(states(&all, MARKET), []);
}

#[test]
fn more_windows_than_may_be_open_wait_their_turn_and_none_is_refused() {
    let (mut all, rules) = (chain_state(), rules());
    let events = (0..8).map(|epoch| released(MARKET, epoch, 1)).collect();
    apply(&next(&all, 1, events), &mut all, &rules).unwrap();
    let count =
        |all: &ChainState, state| states(all, MARKET).iter().filter(|(_, there)| *there == state).count();
    assert_eq!((count(&all, WindowState::Open), count(&all, WindowState::Waiting)), (3, 5));
    // Windows that waited beyond their limit close as soon as they open.
    apply(&next(&all, 11, vec![]), &mut all, &rules).unwrap();
    assert_eq!(count(&all, WindowState::Closed { block: 11 }), 8);
}

#[test]
fn after_a_reorganisation_a_new_window_waits_behind_those_that_waited_before() {
    let (mut all, mut rules) = (chain_state(), rules());
    rules.max_windows = 1;
    apply(&next(&all, 9, vec![]), &mut all, &rules).unwrap();
    apply(&next(&all, 12, vec![released(MARKET, 1, 10), released(MARKET, 2, 12)]), &mut all, &rules).unwrap();
    apply(&next(&all, 20, vec![]), &mut all, &rules).unwrap();
    assert!(hand_over(&mut all, MARKET, 1));
    // Block 20, with which the first window closed and the second opened, is dropped; the first one stays handed over.
    revert(&mut all, 19, &rules).unwrap();
    assert_eq!(states(&all, MARKET), [(2, WindowState::Waiting)]);
    apply(&next(&all, 20, vec![released(MARKET, 3, 20)]), &mut all, &rules).unwrap();
    assert_eq!(states(&all, MARKET), [(2, WindowState::Open), (3, WindowState::Waiting)]);
}

#[test]
fn a_clock_closes_what_no_block_closes_and_not_before_the_silence_is_over() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 5, vec![released(MARKET, 3, 5)]), &mut all, &rules).unwrap();
    assert_eq!(close(&mut all, Some(1_010 + LENGTH + 29), 0, &rules), []);
    let closed = Note::Closed { market: MARKET, epoch: 3, block: 5, by_clock: true };
    assert_eq!(close(&mut all, Some(1_010 + LENGTH + 30), 0, &rules), [closed]);
}

#[test]
fn a_clock_closes_a_window_that_a_block_may_still_close_only_before_its_submissions_expire() {
    let (mut all, rules) = (chain_state(), rules());
    // OTHER has windows that are longer than its submissions live.
    let rules = Rules { windows: [(MARKET, LENGTH), (OTHER, 1_100)].into(), ..rules };
    let mut segment = next(&all, 5, vec![released(MARKET, 3, 5), released(OTHER, 4, 5)]);
    segment.now = Clocks { chain: 1_010, redis: 500 };
    apply(&segment, &mut all, &rules).unwrap();
    let expires = 500 + 1_140;
    assert_eq!(all.markets[&MARKET].windows[&3].expires, expires);
    assert_eq!(close(&mut all, None, expires - 61, &rules), []);
    let closed = |market, epoch| Note::Closed { market, epoch, block: 5, by_clock: true };
    assert_eq!(close(&mut all, None, expires - 60, &rules), [closed(MARKET, 3)]);
    assert_eq!(close(&mut all, None, 500 + 1_099, &rules), [], "its time is not over");
    assert_eq!(close(&mut all, None, 500 + 1_100, &rules), [closed(OTHER, 4)]);
}

#[test]
fn an_epoch_whose_submissions_are_gone_gets_no_window() {
    let (mut all, rules) = (chain_state(), rules());
    let mut segment = next(&all, 5, vec![released(MARKET, 3, 4), released(OTHER, 4, 5)]);
    // The first one was released 1,141 s ago.
    segment.now = Clocks { chain: 1_008 + 1_141, redis: 500 };
    let notes = apply(&segment, &mut all, &rules).unwrap();
    assert_eq!(notes[0], Note::Expired { market: MARKET, epoch: 3 });
    assert!(matches!(notes[1], Note::Released { market: OTHER, epoch: 4, .. }));
    assert!(all.markets[&MARKET].done.contains(3));
}

#[test]
fn the_age_of_an_epoch_is_known_while_the_chain_halts() {
    let (mut all, rules) = (chain_state(), rules());
    let mut segment = next(&all, 5, vec![released(MARKET, 3, 5)]);
    // The newest block is the one that released it, and it came long ago.
    segment.now = Clocks { chain: 1_010, redis: 1_010 + 1_141 };
    assert_eq!(all.releases(&segment, &rules), []);
    assert_eq!(apply(&segment, &mut all, &rules), Ok(vec![Note::Expired { market: MARKET, epoch: 3 }]));
}

#[test]
fn blocks_that_do_not_stand_on_the_last_one_change_nothing() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 5, vec![]), &mut all, &rules).unwrap();
    let before = all.clone();
    let mut other = next(&all, 6, vec![released(MARKET, 1, 6)]);
    other.blocks[0].parent = hash(5, 1);
    assert!(matches!(apply(&other, &mut all, &rules), Err(Refused::Reorganised { .. })));
    let mut gap = next(&all, 8, vec![released(MARKET, 1, 8)]);
    gap.blocks.remove(1);
    assert_eq!(apply(&gap, &mut all, &rules), Err(Refused::Gap { expected: 7, found: Some(8) }));
    assert_eq!(apply(&Segment::default(), &mut all, &rules), Err(Refused::Gap { expected: 6, found: None }));
    // Of old blocks only the last one and the parent of the first one need be known.
    let mut old = next(&all, 9, vec![released(MARKET, 1, 7)]);
    old.blocks.drain(..3);
    for (first, parent) in [(7, all.checkpoint.unwrap().hash), (6, hash(5, 1))] {
        old.events_only = Some(EventsOnly { first, parent });
        assert!(apply(&old, &mut all, &rules).is_err());
    }
    assert_eq!(all, before);
    old.events_only = Some(EventsOnly { first: 6, parent: all.checkpoint.unwrap().hash });
    apply(&old, &mut all, &rules).unwrap();
    assert_eq!(all.checkpoint.unwrap().number, 9);
    assert_eq!(all.markets[&MARKET].windows[&1].release_block, 7);
}

#[test]
fn deeper_than_the_limit_nothing_is_undone() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 30, vec![released(MARKET, 1, 10)]), &mut all, &rules).unwrap();
    let before = all.clone();
    assert_eq!(revert(&mut all, 17, &rules), Err(TooDeep { from: 30, to: 17, depth: 12 }));
    assert_eq!(revert(&mut all, 31, &rules), Err(TooDeep { from: 30, to: 31, depth: 12 }));
    assert_eq!(all, before);
    assert_eq!(revert(&mut all, 18, &rules), Ok(vec![]));
    assert_eq!(all.checkpoint.unwrap().number, 18);
}

#[test]
fn what_was_handed_over_stays_when_its_blocks_go_and_is_not_done_again() {
    let (mut all, rules) = (chain_state(), rules());
    let handed = SubmittedBatch { market: MARKET, epoch: 1, batch_cid: "cid".to_owned() };
    all.followed = [(MARKET, rules.followed)].into();
    apply(&next(&all, 9, vec![]), &mut all, &rules).unwrap();
    let notes =
        apply(&next(&all, 20, vec![released(MARKET, 1, 10), submitted(11)]), &mut all, &rules).unwrap();
    assert!(notes.contains(&Note::Submitted(handed.clone())));
    assert_eq!(states(&all, MARKET), [(1, WindowState::Closed { block: 20 })]);
    assert!(hand_over(&mut all, MARKET, 1));
    let notes = revert(&mut all, 9, &rules).unwrap();
    // Once, though the blocks of its release and of its closing are both gone.
    assert_eq!(notes, [Note::StaysHandedOver { market: MARKET, epoch: 1 }, Note::StaysSubmitted(handed)]);
    assert_eq!(all.markets[&MARKET].current, None);
    let notes =
        apply(&next(&all, 20, vec![released(MARKET, 1, 12), submitted(13)]), &mut all, &rules).unwrap();
    assert_eq!(notes, [Note::ReleasedAgain { market: MARKET, epoch: 1 }]);
    assert_eq!(all.orphaned, []);
    assert_eq!(all.markets[&MARKET].current, Some(1), "it is as if its first release had never been");
}

#[test]
fn a_batch_that_was_not_delivered_before_its_block_was_dropped_is_delivered_once_it_is_wanted() {
    let (mut all, rules) = (chain_state(), rules());
    all.followed = [(MARKET, Followed { attest: false })].into();
    apply(&next(&all, 9, vec![]), &mut all, &rules).unwrap();
    apply(&next(&all, 12, vec![submitted(11)]), &mut all, &rules).unwrap();
    all.followed = [(MARKET, Followed { attest: true })].into();
    assert_eq!(revert(&mut all, 9, &rules), Ok(vec![]), "the attestor has nothing of it");
    let after = all.clone().apply(&next(&all, 12, vec![submitted(12)]), &rules).unwrap();
    assert!(after.effects.iter().any(|effect| matches!(effect, Effect::Attest(_))), "{after:?}");
}

#[test]
fn a_window_that_the_clock_closed_at_a_block_that_is_dropped_is_open_again() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 8, vec![released(MARKET, 3, 5)]), &mut all, &rules).unwrap();
    let open = all.markets[&MARKET].clone();
    assert_eq!(close(&mut all, Some(1_010 + LENGTH + 30), 0, &rules).len(), 1);
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 8 })]);
    assert_eq!(revert(&mut all, 8, &rules), Ok(vec![]));
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 8 })]);
    assert_eq!(revert(&mut all, 7, &rules), Ok(vec![]));
    assert_eq!(all.markets[&MARKET], open);
}

#[test]
fn a_handed_over_batch_is_reported_when_its_closing_block_is_dropped() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 16, vec![released(MARKET, 3, 5)]), &mut all, &rules).unwrap();
    assert!(hand_over(&mut all, MARKET, 3));
    assert_eq!(revert(&mut all, 15, &rules), Ok(vec![]));
    assert_eq!(revert(&mut all, 14, &rules), Ok(vec![Note::StaysHandedOver { market: MARKET, epoch: 3 }]));
}

#[test]
fn what_blocks_did_to_a_market_that_is_not_followed_any_more_is_not_undone() {
    let (mut all, rules) = (chain_state(), rules());
    let events = vec![released(MARKET, 3, 5), released(OTHER, 4, 5)];
    apply(&next(&all, 4, vec![]), &mut all, &rules).unwrap();
    apply(&next(&all, 8, events), &mut all, &rules).unwrap();
    all.markets.remove(&OTHER);
    assert_eq!(revert(&mut all, 4, &rules), Ok(vec![]));
    assert_eq!(all.markets, BTreeMap::from([(MARKET, Market::default())]));
}

#[test]
fn a_window_has_the_length_and_the_day_at_the_block_that_released_its_epoch() {
    let (mut all, rules) = (chain_state(), rules());
    let mut segment =
        next(&all, 6, vec![released(MARKET, 3, 5), released(OTHER, 4, 6), released(MARKET, 5, 6)]);
    assert_eq!(all.releases(&segment, &rules), [(MARKET, 5), (MARKET, 6), (OTHER, 6)]);
    // The length of the market became 50 with block 6, and its day 8. Of the other market nothing is known.
    let at = |length, day| AtRelease { length: Some(length), day: Some(day) };
    segment.releases = [((MARKET, 5), at(40, 7)), ((MARKET, 6), at(50, 8))].into();
    apply(&segment, &mut all, &rules).unwrap();
    let length = |market, epoch: u64| all.markets[&market].windows[&epoch].length();
    assert_eq!(
        [length(MARKET, 3), length(MARKET, 5), length(OTHER, 4)],
        [Some(40), Some(50), Some(3 * LENGTH)]
    );
    let day = |market, epoch: u64| all.markets[&market].windows[&epoch].day;
    assert_eq!([day(MARKET, 3), day(MARKET, 5), day(OTHER, 4)], [Some(7), Some(8), None]);
    assert_eq!(all.releases(&segment, &rules), [], "they are known");
    let mut late = next(&all, 8, vec![released(MARKET, 6, 7)]);
    late.now.chain = 1_014 + 1_141;
    assert_eq!(all.releases(&late, &rules), [], "it gets no window");
}

#[test]
fn a_market_whose_windows_have_no_known_length_holds_up_no_other_and_loses_no_epoch() {
    let (mut all, known) = (chain_state(), rules());
    let unknown = Rules { windows: [(OTHER, LENGTH)].into(), ..known.clone() };
    let mut segment = next(&all, 5, vec![released(MARKET, 3, 5), released(OTHER, 4, 5)]);
    segment.now = Clocks { chain: 1_010, redis: 500 };
    apply(&segment, &mut all, &unknown).unwrap();
    apply(&next(&all, 30, vec![]), &mut all, &unknown).unwrap();
    assert_eq!(states(&all, MARKET), [(3, WindowState::Unmeasured)]);
    assert_eq!(states(&all, OTHER), [(4, WindowState::Closed { block: 15 })]);
    let before = all.clone();
    assert_eq!(all.measurable(&unknown), []);
    let [measured] = all.measurable(&known).try_into().expect("one");
    assert_eq!((measured.market, measured.epoch, measured.window.limit), (MARKET, 3, 1_030));
    // It ends where it would have ended, however late its length becomes known; and with the next block if it has not ended.
    let closed = Note::Closed { market: MARKET, epoch: 3, block: 15, by_clock: false };
    let notes = measure(&mut all, measured, Some(15));
    assert!(matches!(notes[0], Note::Measured { .. }) && notes[1..] == [closed]);
    revert(&mut all, 18, &known).unwrap();
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 15 })]);
    let mut all = before.clone();
    assert_eq!(measure(&mut all, measured, None).len(), 1);
    assert_eq!(states(&all, MARKET), [(3, WindowState::Waiting)]);
    apply(&next(&all, 31, vec![]), &mut all, &known).unwrap();
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 31 })]);
    let mut all = before;
    // Its submissions expire before anybody tells it.
    let expired = 500 + 1_140 + 1;
    assert_eq!(close(&mut all, None, expired - 1, &unknown), []);
    let note = Note::Expired { market: MARKET, epoch: 3 };
    assert_eq!(close(&mut all, None, expired, &unknown), [note]);
    assert!(all.markets[&MARKET].done.contains(3) && all.markets[&MARKET].windows.is_empty());
}

#[test]
fn the_windows_of_a_market_that_no_tracker_prepares_are_given_up_long_after_they_expired() {
    let (mut all, rules) = (chain_state(), rules());
    let mut segment = next(&all, 5, vec![released(MARKET, 3, 5)]);
    segment.now = Clocks { chain: 1_010, redis: 500 };
    apply(&segment, &mut all, &rules).unwrap();
    apply(&next(&all, 30, vec![]), &mut all, &rules).unwrap();
    let given_up = 500 + 1_140 + 1_200;
    let mut later = next(&all, 31, vec![]);
    later.now.redis = given_up;
    assert_eq!(apply(&later, &mut all, &rules), Ok(vec![]), "its own preparer tells of it");
    let mut later = next(&all, 32, vec![]);
    later.now.redis = given_up + 1;
    assert_eq!(apply(&later, &mut all, &rules), Ok(vec![Note::Abandoned { market: MARKET, epoch: 3 }]));
    assert!(all.markets[&MARKET].done.contains(3));
}
