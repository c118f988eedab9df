//! What is true of every history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// One branch of a chain: which epochs each block releases.
fn branch() -> impl Strategy<Value = Vec<Vec<(bool, u64)>>> {
    let releases = proptest::collection::vec((any::<bool>(), 0_u64..30), 0..3);
    proptest::collection::vec(releases, 1..13)
}

/// Grows the chain from its last accepted block.
fn grow(all: &mut ChainState, branch: u64, blocks: &[Vec<(bool, u64)>], at_once: usize, rules: &Rules) {
    for several in blocks.chunks(at_once) {
        let (mut segment, mut parent) = (Segment::default(), all.checkpoint.unwrap());
        for releases in several {
            let number = parent.number + 1;
            parent = block(number, branch, parent.hash);
            segment.blocks.push(parent);
            let market = |is_other| if is_other { OTHER } else { MARKET };
            let events = releases.iter().map(|(other, epoch)| released(market(*other), *epoch, number));
            segment.events.extend(events);
        }
        apply(&segment, all, rules).unwrap();
    }
}

proptest! {
    #[test]
    fn after_any_reorganisation_all_is_as_if_the_dropped_blocks_had_never_been(
        trunk in branch(), dropped in branch(), kept in branch(),
        back in 0_u64..13, at_once in 1_usize..5, otherwise in 1_usize..5,
    ) {
        let rules = rules();
        let mut all = chain_state();
        apply(&next(&all, 3, vec![]), &mut all, &rules).unwrap();
        grow(&mut all, 1, &trunk, at_once, &rules);
        let mut straight = all.clone();
        let from = all.checkpoint.unwrap().number;
        grow(&mut all, 2, &dropped, at_once, &rules);
        let top = all.checkpoint.unwrap().number;
        // As deep as may be, and not below the first block.
        let to = top.saturating_sub(back).max(top.saturating_sub(12)).min(from);
        if top - to > rules.max_reorg_depth || all.undo_log.iter().all(|entry| entry.block.number != to) {
            prop_assert!(revert(&mut all, to, &rules).is_err());
            return Ok(());
        }
        revert(&mut all, to, &rules).unwrap();
        // What is undone of the trunk is grown again.
        revert(&mut straight, to, &rules).unwrap();
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
        let mut all = chain_state();
        apply(&next(&all, 3, vec![]), &mut all, &rules).unwrap();
        grow(&mut all, 1, &blocks, 4, &rules);
        let mut seen = BTreeSet::new();
        let mut parent = all.checkpoint.unwrap();
        // Until all are closed.
        for _ in 0..200 {
            let block = block(parent.number + 1, 1, parent.hash);
            parent = block;
            let segment = Segment { blocks: vec![block], ..Segment::default() };
            for note in apply(&segment, &mut all, &rules).unwrap() {
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
