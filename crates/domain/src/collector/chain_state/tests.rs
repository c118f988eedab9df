use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::chain::Hash;

const MARKET: ContractAddress = ContractAddress([7; 20]);
const OTHER: ContractAddress = ContractAddress([8; 20]);
const LENGTH: u64 = 20;

fn rules() -> Rules {
    Rules {
        windows: BTreeMap::from([(MARKET, LENGTH), (OTHER, 3 * LENGTH)]),
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

fn following() -> Following {
    let markets = [MARKET, OTHER].map(|market| (market, Market::default()));
    Following { markets: markets.into(), ..Following::default() }
}

/// The blocks after the last accepted one, up to this number.
fn next(following: &Following, to: u64, events: Vec<(u64, MarketEvent)>) -> Stretch {
    let mut blocks = Vec::new();
    let (mut number, mut parent) = match following.checkpoint {
        Some(checkpoint) => (checkpoint.number + 1, checkpoint.hash),
        None => (0, hash(0, 99)),
    };
    while number <= to {
        let block = block(number, 0, parent);
        parent = block.hash;
        blocks.push(block);
        number += 1;
    }
    Stretch { blocks, events, ..Stretch::default() }
}

/// What a hand-over writes: it ends an epoch for good. Whether the epoch was not over before.
fn finish(following: &mut Following, market: ContractAddress, epoch: u64) -> bool {
    let known = following.markets.entry(market).or_default();
    known.windows.remove(&epoch);
    known.done.insert(epoch)
}

fn states(following: &Following, market: ContractAddress) -> Vec<(u64, WindowState)> {
    following.markets[&market].windows.iter().map(|(epoch, window)| (*epoch, window.state)).collect()
}

#[test]
fn a_market_that_is_not_followed_is_taken_over_with_what_its_predecessor_has_handed_over() {
    let (mut all, rules) = (following(), rules());
    assert_eq!(all.newcomers().collect::<Vec<_>>(), [MARKET, OTHER]);
    let beginning = Beginning {
        epochs: BTreeMap::from([(1, (3, 1_000)), (2, (4, 1_010)), (3, (5, 1_020))]),
        handed: [2].into(),
        ..Beginning::default()
    };
    // The submissions of the first one may be gone: they live 1,200 s from its release at the least, and 60 s are the margin.
    let now = Clocks { chain: 1_000 + 1_141, redis: 500 };
    let notes = all.take_up(MARKET, &beginning, &Releases::new(), now, &rules);
    let window = all.markets[&MARKET].windows[&3];
    assert_eq!(
        notes,
        [Note::Expired { market: MARKET, epoch: 1 }, Note::TakenUp { market: MARKET, epoch: 3, window }]
    );
    assert_eq!(states(&all, MARKET), [(3, WindowState::Open)]);
    assert!([1, 2].iter().all(|epoch| all.markets[&MARKET].done.contains(*epoch)));
    assert_eq!(all.newcomers().collect::<Vec<_>>(), [OTHER]);
    assert_eq!(all.take_up(MARKET, &beginning, &Releases::new(), now, &rules), [], "none is taken up twice");
    assert_eq!(window.expires, 500 + 19);
}

#[test]
fn a_segment_of_events_has_one_block_and_follows_the_last_one() {
    let (mut all, rules) = (following(), rules());
    all.accept(&next(&all, 5, vec![]), &rules).unwrap();
    let parent = all.checkpoint.unwrap().hash;
    let segment = |first, blocks: std::ops::RangeInclusive<u64>| {
        let mut stretch = next(&all, *blocks.end(), vec![]);
        stretch.blocks.retain(|block| blocks.contains(&block.number));
        Stretch { old: Some(Old { first, parent }), ..stretch }
    };
    for (first, blocks) in [(7, 9..=9), (5, 9..=9), (6, 8..=9)] {
        let refused = all.clone().accept(&segment(first, blocks), &rules);
        assert_eq!(refused, Err(Refused::Gap { expected: 6, found: Some(first) }));
    }
    assert_eq!(all.clone().accept(&segment(6, 6..=6), &rules), Ok(vec![]));
    assert_eq!(all.clone().accept(&segment(6, 9..=9), &rules), Ok(vec![]));
}

#[test]
fn a_window_closes_with_the_first_block_at_its_limit_or_after_it() {
    let (mut all, rules) = (following(), rules());
    let notes = all.accept(&next(&all, 5, vec![released(MARKET, 3, 5)]), &rules).unwrap();
    let window = all.markets[&MARKET].windows[&3];
    assert_eq!((window.release_block, window.released, window.limit), (5, 1_010, 1_010 + LENGTH));
    assert_eq!(window.limit_block, 15);
    assert_eq!(notes, [Note::Released { market: MARKET, epoch: 3, window }]);
    assert_eq!(all.accept(&next(&all, 14, vec![]), &rules).unwrap(), []);
    assert_eq!(states(&all, MARKET), [(3, WindowState::Open)]);
    let notes = all.accept(&next(&all, 17, vec![]), &rules).unwrap();
    assert_eq!(notes, [Note::Closed { market: MARKET, epoch: 3, block: 15, by_clock: false }]);
    assert!(finish(&mut all, MARKET, 3) && !finish(&mut all, MARKET, 3));
    let notes = all.accept(&next(&all, 18, vec![released(MARKET, 3, 18)]), &rules).unwrap();
    assert_eq!(notes, [Note::ReleasedAgain { market: MARKET, epoch: 3 }]);
    assert_eq!(states(&all, MARKET), []);
}

#[test]
fn more_windows_than_may_be_open_wait_their_turn_and_none_is_refused() {
    let (mut all, rules) = (following(), rules());
    let events = (0..8).map(|epoch| released(MARKET, epoch, 1)).collect();
    all.accept(&next(&all, 1, events), &rules).unwrap();
    let count =
        |all: &Following, state| states(all, MARKET).iter().filter(|(_, there)| *there == state).count();
    assert_eq!((count(&all, WindowState::Open), count(&all, WindowState::Waiting)), (3, 5));
    // Windows that waited beyond their limit close as soon as they open.
    all.accept(&next(&all, 11, vec![]), &rules).unwrap();
    assert_eq!(count(&all, WindowState::Closed { block: 11 }), 8);
}

#[test]
fn a_clock_closes_what_no_block_closes_and_not_before_the_silence_is_over() {
    let (mut all, rules) = (following(), rules());
    all.accept(&next(&all, 5, vec![released(MARKET, 3, 5)]), &rules).unwrap();
    assert_eq!(all.close_by_clock(Some(1_010 + LENGTH + 29), 0, &rules), []);
    let closed = Note::Closed { market: MARKET, epoch: 3, block: 5, by_clock: true };
    assert_eq!(all.close_by_clock(Some(1_010 + LENGTH + 30), 0, &rules), [closed]);
}

#[test]
fn a_clock_closes_a_window_that_a_block_may_still_close_only_before_its_submissions_expire() {
    let (mut all, rules) = (following(), rules());
    // OTHER has windows that are longer than its submissions live.
    let rules = Rules { windows: [(MARKET, LENGTH), (OTHER, 1_100)].into(), ..rules };
    let mut stretch = next(&all, 5, vec![released(MARKET, 3, 5), released(OTHER, 4, 5)]);
    stretch.now = Clocks { chain: 1_010, redis: 500 };
    all.accept(&stretch, &rules).unwrap();
    let expires = 500 + 1_140;
    assert_eq!(all.markets[&MARKET].windows[&3].expires, expires);
    assert_eq!(all.close_by_clock(None, expires - 61, &rules), []);
    let closed = |market, epoch| Note::Closed { market, epoch, block: 5, by_clock: true };
    assert_eq!(all.close_by_clock(None, expires - 60, &rules), [closed(MARKET, 3)]);
    assert_eq!(all.close_by_clock(None, 500 + 1_099, &rules), [], "its time is not over");
    assert_eq!(all.close_by_clock(None, 500 + 1_100, &rules), [closed(OTHER, 4)]);
}

#[test]
fn an_epoch_whose_submissions_are_gone_gets_no_window() {
    let (mut all, rules) = (following(), rules());
    let mut stretch = next(&all, 5, vec![released(MARKET, 3, 4), released(OTHER, 4, 5)]);
    // The first one was released 1,141 s ago.
    stretch.now = Clocks { chain: 1_008 + 1_141, redis: 500 };
    let notes = all.accept(&stretch, &rules).unwrap();
    assert_eq!(notes[0], Note::Expired { market: MARKET, epoch: 3 });
    assert!(matches!(notes[1], Note::Released { market: OTHER, epoch: 4, .. }));
    assert!(all.markets[&MARKET].done.contains(3));
}

#[test]
fn the_age_of_an_epoch_is_known_while_the_chain_halts() {
    let (mut all, rules) = (following(), rules());
    let mut stretch = next(&all, 5, vec![released(MARKET, 3, 5)]);
    // The newest block is the one that released it, and it came long ago.
    stretch.now = Clocks { chain: 1_010, redis: 1_010 + 1_141 };
    assert_eq!(all.releases(&stretch, &rules), []);
    assert_eq!(all.accept(&stretch, &rules), Ok(vec![Note::Expired { market: MARKET, epoch: 3 }]));
}

#[test]
fn blocks_that_do_not_stand_on_the_last_one_change_nothing() {
    let (mut all, rules) = (following(), rules());
    all.accept(&next(&all, 5, vec![]), &rules).unwrap();
    let before = all.clone();
    let mut other = next(&all, 6, vec![released(MARKET, 1, 6)]);
    other.blocks[0].parent = hash(5, 1);
    assert!(matches!(all.accept(&other, &rules), Err(Refused::Reorganised { .. })));
    let mut gap = next(&all, 8, vec![released(MARKET, 1, 8)]);
    gap.blocks.remove(1);
    assert_eq!(all.accept(&gap, &rules), Err(Refused::Gap { expected: 7, found: Some(8) }));
    assert_eq!(all.accept(&Stretch::default(), &rules), Err(Refused::Gap { expected: 6, found: None }));
    // Of old blocks only the last one and the parent of the first one need be known.
    let mut old = next(&all, 9, vec![released(MARKET, 1, 7)]);
    old.blocks.drain(..3);
    for (first, parent) in [(7, all.checkpoint.unwrap().hash), (6, hash(5, 1))] {
        old.old = Some(Old { first, parent });
        assert!(all.accept(&old, &rules).is_err());
    }
    assert_eq!(all, before);
    old.old = Some(Old { first: 6, parent: all.checkpoint.unwrap().hash });
    all.accept(&old, &rules).unwrap();
    assert_eq!(all.checkpoint.unwrap().number, 9);
    assert_eq!(all.markets[&MARKET].windows[&1].release_block, 7);
}

#[test]
fn deeper_than_the_limit_nothing_is_undone() {
    let (mut all, rules) = (following(), rules());
    all.accept(&next(&all, 30, vec![released(MARKET, 1, 10)]), &rules).unwrap();
    let before = all.clone();
    assert_eq!(all.undo_to(17, &rules), Err(TooDeep { from: 30, to: 17, depth: 12 }));
    assert_eq!(all.undo_to(31, &rules), Err(TooDeep { from: 30, to: 31, depth: 12 }));
    assert_eq!(all, before);
    assert_eq!(all.undo_to(18, &rules), Ok(vec![]));
    assert_eq!(all.checkpoint.unwrap().number, 18);
}

#[test]
fn what_was_handed_over_stays_when_its_blocks_go_and_is_not_done_again() {
    let (mut all, rules) = (following(), rules());
    let handed = Handed { market: MARKET, epoch: 1, batch_cid: "cid".to_owned() };
    let submitted = |block| {
        let event = ChainEvent::SnapshotBatchSubmitted { epoch: 1, batch_cid: "cid".to_owned(), time: 0 };
        (block, MarketEvent { market: MARKET, log_index: 1, event })
    };
    all.accept(&next(&all, 9, vec![]), &rules).unwrap();
    let notes = all.accept(&next(&all, 20, vec![released(MARKET, 1, 10), submitted(11)]), &rules).unwrap();
    assert!(notes.contains(&Note::Submitted(handed.clone())));
    assert_eq!(states(&all, MARKET), [(1, WindowState::Closed { block: 20 })]);
    assert!(finish(&mut all, MARKET, 1));
    let notes = all.undo_to(9, &rules).unwrap();
    // Once, though the blocks of its release and of its closing are both gone.
    assert_eq!(notes, [Note::StaysHandedOver { market: MARKET, epoch: 1 }, Note::StaysSubmitted(handed)]);
    assert_eq!(all.markets[&MARKET].current, None);
    let notes = all.accept(&next(&all, 20, vec![released(MARKET, 1, 12), submitted(13)]), &rules).unwrap();
    assert_eq!(notes, [Note::ReleasedAgain { market: MARKET, epoch: 1 }]);
    assert_eq!(all.kept, []);
    assert_eq!(all.markets[&MARKET].current, Some(1), "it is as if its first release had never been");
}

#[test]
fn a_window_that_the_clock_closed_at_a_block_that_is_dropped_is_open_again() {
    let (mut all, rules) = (following(), rules());
    all.accept(&next(&all, 8, vec![released(MARKET, 3, 5)]), &rules).unwrap();
    let open = all.markets[&MARKET].clone();
    assert_eq!(all.close_by_clock(Some(1_010 + LENGTH + 30), 0, &rules).len(), 1);
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 8 })]);
    assert_eq!(all.undo_to(8, &rules), Ok(vec![]));
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 8 })]);
    assert_eq!(all.undo_to(7, &rules), Ok(vec![]));
    assert_eq!(all.markets[&MARKET], open);
}

#[test]
fn a_handed_over_batch_is_reported_when_its_closing_block_is_dropped() {
    let (mut all, rules) = (following(), rules());
    all.accept(&next(&all, 16, vec![released(MARKET, 3, 5)]), &rules).unwrap();
    assert!(finish(&mut all, MARKET, 3));
    assert_eq!(all.undo_to(15, &rules), Ok(vec![]));
    assert_eq!(all.undo_to(14, &rules), Ok(vec![Note::StaysHandedOver { market: MARKET, epoch: 3 }]));
}

#[test]
fn what_blocks_did_to_a_market_that_is_not_followed_any_more_is_not_undone() {
    let (mut all, rules) = (following(), rules());
    let events = vec![released(MARKET, 3, 5), released(OTHER, 4, 5)];
    all.accept(&next(&all, 4, vec![]), &rules).unwrap();
    all.accept(&next(&all, 8, events), &rules).unwrap();
    all.markets.remove(&OTHER);
    assert_eq!(all.undo_to(4, &rules), Ok(vec![]));
    assert_eq!(all.markets, BTreeMap::from([(MARKET, Market::default())]));
}

#[test]
fn a_window_has_the_length_and_the_day_at_the_block_that_released_its_epoch() {
    let (mut all, rules) = (following(), rules());
    let mut stretch =
        next(&all, 6, vec![released(MARKET, 3, 5), released(OTHER, 4, 6), released(MARKET, 5, 6)]);
    assert_eq!(all.releases(&stretch, &rules), [(MARKET, 5), (MARKET, 6), (OTHER, 6)]);
    // The length of the market became 50 with block 6, and its day 8. Of the other market nothing is known.
    let at = |length, day| AtRelease { length: Some(length), day: Some(day) };
    stretch.releases = [((MARKET, 5), at(40, 7)), ((MARKET, 6), at(50, 8))].into();
    all.accept(&stretch, &rules).unwrap();
    let length = |market, epoch: u64| all.markets[&market].windows[&epoch].length();
    assert_eq!(
        [length(MARKET, 3), length(MARKET, 5), length(OTHER, 4)],
        [Some(40), Some(50), Some(3 * LENGTH)]
    );
    let day = |market, epoch: u64| all.markets[&market].windows[&epoch].day;
    assert_eq!([day(MARKET, 3), day(MARKET, 5), day(OTHER, 4)], [Some(7), Some(8), None]);
    assert_eq!(all.releases(&stretch, &rules), [], "they are known");
    let mut late = next(&all, 8, vec![released(MARKET, 6, 7)]);
    late.now.chain = 1_014 + 1_141;
    assert_eq!(all.releases(&late, &rules), [], "it gets no window");
}

#[test]
fn a_market_whose_windows_have_no_known_length_holds_up_no_other_and_loses_no_epoch() {
    let (mut all, known) = (following(), rules());
    let unknown = Rules { windows: [(OTHER, LENGTH)].into(), ..known.clone() };
    let mut stretch = next(&all, 5, vec![released(MARKET, 3, 5), released(OTHER, 4, 5)]);
    stretch.now = Clocks { chain: 1_010, redis: 500 };
    all.accept(&stretch, &unknown).unwrap();
    all.accept(&next(&all, 30, vec![]), &unknown).unwrap();
    assert_eq!(states(&all, MARKET), [(3, WindowState::Unmeasured)]);
    assert_eq!(states(&all, OTHER), [(4, WindowState::Closed { block: 15 })]);
    let before = all.clone();
    assert_eq!(all.measurable(&unknown), []);
    let [measured] = all.measurable(&known).try_into().expect("one");
    assert_eq!((measured.0, measured.1, measured.2.limit), (MARKET, 3, 1_030));
    // It ends where it would have ended, however late its length becomes known; and with the next block if it has not ended.
    let closed = Note::Closed { market: MARKET, epoch: 3, block: 15, by_clock: false };
    let notes = all.measure(measured, Some(15));
    assert!(matches!(notes[0], Note::Measured { .. }) && notes[1..] == [closed]);
    all.undo_to(18, &known).unwrap();
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 15 })]);
    let mut all = before.clone();
    assert_eq!(all.measure(measured, None).len(), 1);
    assert_eq!(states(&all, MARKET), [(3, WindowState::Waiting)]);
    all.accept(&next(&all, 31, vec![]), &known).unwrap();
    assert_eq!(states(&all, MARKET), [(3, WindowState::Closed { block: 31 })]);
    let mut all = before;
    // Its submissions expire before anybody tells it.
    let expired = 500 + 1_140 + 1;
    assert_eq!(all.close_by_clock(None, expired - 1, &unknown), []);
    let note = Note::Expired { market: MARKET, epoch: 3 };
    assert_eq!(all.close_by_clock(None, expired, &unknown), [note]);
    assert!(all.markets[&MARKET].done.contains(3) && all.markets[&MARKET].windows.is_empty());
}

#[test]
fn the_windows_of_a_market_that_no_tracker_prepares_are_given_up_long_after_they_expired() {
    let (mut all, rules) = (following(), rules());
    let mut stretch = next(&all, 5, vec![released(MARKET, 3, 5)]);
    stretch.now = Clocks { chain: 1_010, redis: 500 };
    all.accept(&stretch, &rules).unwrap();
    all.accept(&next(&all, 30, vec![]), &rules).unwrap();
    let given_up = 500 + 1_140 + 1_200;
    let mut later = next(&all, 31, vec![]);
    later.now.redis = given_up;
    assert_eq!(all.accept(&later, &rules), Ok(vec![]), "its own preparer tells of it");
    let mut later = next(&all, 32, vec![]);
    later.now.redis = given_up + 1;
    assert_eq!(all.accept(&later, &rules), Ok(vec![Note::Abandoned { market: MARKET, epoch: 3 }]));
    assert!(all.markets[&MARKET].done.contains(3));
}

/// One branch of a chain: which epochs each block releases.
fn branch() -> impl Strategy<Value = Vec<Vec<(bool, u64)>>> {
    let releases = proptest::collection::vec((any::<bool>(), 0_u64..30), 0..3);
    proptest::collection::vec(releases, 1..13)
}

/// Grows the chain from its last accepted block.
fn grow(all: &mut Following, branch: u64, blocks: &[Vec<(bool, u64)>], at_once: usize, rules: &Rules) {
    for several in blocks.chunks(at_once) {
        let (mut stretch, mut parent) = (Stretch::default(), all.checkpoint.unwrap());
        for releases in several {
            let number = parent.number + 1;
            parent = block(number, branch, parent.hash);
            stretch.blocks.push(parent);
            let market = |is_other| if is_other { OTHER } else { MARKET };
            let events = releases.iter().map(|(other, epoch)| released(market(*other), *epoch, number));
            stretch.events.extend(events);
        }
        all.accept(&stretch, rules).unwrap();
    }
}

proptest! {
    #[test]
    fn after_any_reorganisation_all_is_as_if_the_dropped_blocks_had_never_been(
        trunk in branch(), dropped in branch(), kept in branch(),
        back in 0_u64..13, at_once in 1_usize..5, otherwise in 1_usize..5,
    ) {
        let rules = rules();
        let mut all = following();
        all.accept(&next(&all, 3, vec![]), &rules).unwrap();
        grow(&mut all, 1, &trunk, at_once, &rules);
        let mut straight = all.clone();
        let from = all.checkpoint.unwrap().number;
        grow(&mut all, 2, &dropped, at_once, &rules);
        let top = all.checkpoint.unwrap().number;
        // As deep as may be, and not below the first block.
        let to = top.saturating_sub(back).max(top.saturating_sub(12)).min(from);
        if top - to > rules.max_reorg_depth || all.deeds.iter().all(|deeds| deeds.block.number != to) {
            prop_assert!(all.undo_to(to, &rules).is_err());
            return Ok(());
        }
        all.undo_to(to, &rules).unwrap();
        // What is undone of the trunk is grown again.
        straight.undo_to(to, &rules).unwrap();
        prop_assert_eq!(&all.markets, &straight.markets);
        prop_assert_eq!(all.checkpoint, straight.checkpoint);
        grow(&mut all, 3, &kept, at_once, &rules);
        grow(&mut straight, 3, &kept, otherwise, &rules);
        prop_assert_eq!(&all.markets, &straight.markets);
        prop_assert_eq!(all.checkpoint, straight.checkpoint);
    }

    #[test]
    fn each_epoch_is_released_once_and_closes_once(blocks in proptest::collection::vec(
        proptest::collection::vec((any::<bool>(), 0_u64..30), 0..3), 1..60)) {
        let rules = rules();
        let mut all = following();
        all.accept(&next(&all, 3, vec![]), &rules).unwrap();
        grow(&mut all, 1, &blocks, 4, &rules);
        let mut seen = BTreeSet::new();
        let mut parent = all.checkpoint.unwrap();
        // Until all are closed.
        for _ in 0..200 {
            let block = block(parent.number + 1, 1, parent.hash);
            parent = block;
            let stretch = Stretch { blocks: vec![block], ..Stretch::default() };
            for note in all.accept(&stretch, &rules).unwrap() {
                let Note::Closed { market, epoch, .. } = note else { panic!("{note:?}") };
                prop_assert!(seen.insert((market, epoch)));
            }
        }
        for known in all.markets.values() {
            let closed = |window: &Window| matches!(window.state, WindowState::Closed { .. });
            prop_assert!(known.windows.values().all(closed));
        }
    }
}

proptest! {
    #[test]
    fn a_window_has_time_left_for_batches_until_its_submissions_expire(
        length in 0_u64..2_000, inputs_live in 60_u64..2_000, silence in 1_u64..60,
    ) {
        let windows = BTreeMap::from([(MARKET, length)]);
        let rules = Rules { windows, inputs_live, silence, ..rules() };
        let left = rules.left_for_batches(length);
        let now = Clocks { chain: 9_000, redis: 9_000 };
        let at = AtRelease { length: rules.windows.get(&MARKET).copied(), day: None };
        let window = rules.window(at, (1, 9_000), 0, now).expect("it was released just now");
        // When the window has ended and all of this time has passed.
        prop_assert!(left == 0 || !window.has_expired(9_000 + length + left));
        prop_assert!(window.has_expired(9_000 + length + left + 1));
        prop_assert!(rules.needed_for_batches() > silence, "the clock closes it after that time only");
    }
}
