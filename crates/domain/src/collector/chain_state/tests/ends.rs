//! Ends of epochs and markets, and what is not believed.

use super::*;
use crate::collector::RelayCall;

#[test]
fn a_hand_over_ends_its_epoch_for_the_store_and_the_finalizers_in_one_step() {
    let (mut all, rules) = (chain_state(), rules());
    let mut segment = next(&all, 5, vec![released(MARKET, 3, 5)]);
    segment.releases = [((MARKET, 5), AtRelease { length: Some(LENGTH), day: Some(7) })].into();
    apply(&segment, &mut all, &rules).unwrap();
    apply(&next(&all, 15, vec![]), &mut all, &rules).unwrap();
    let window = all.markets[&MARKET].windows[&3];
    assert_eq!(all.markets[&MARKET].closed(), [(3, window)]);
    let batch = BTreeMap::from([("project".to_owned(), BTreeSet::from(["key".to_owned()]))]);
    let arrangement =
        Arrangement { batches: vec![batch.clone()], slots: [(42, 1)].into(), ..Arrangement::default() };
    let (market, epoch) = (MARKET, 3);
    let mut done = EpochSet::default();
    done.insert(3);
    let ended = |submitted_at: &[String]| {
        let submitted_at = submitted_at.to_vec();
        [Effect::Ended { market, epoch, window, submitted_at }, Effect::Done { market, done: done.clone() }]
    };
    let at = ["0xab".to_owned()];
    let handed = [
        Effect::Batches { market, epoch, batches: vec![batch] },
        Effect::SlotCounts { market, day: 7, slots: [(42, 1)].into() },
    ];
    let of_market = &all.markets[&MARKET];
    let effects = of_market.hand_over(MARKET, 3, &arrangement, at.to_vec(), None);
    assert_eq!(effects, [&ended(&at)[..], &handed[..]].concat());
    let told = Effect::Relay { market, call: RelayCall::BatchSize { epoch, batches: 1 } };
    let effects = of_market.hand_over(MARKET, 3, &arrangement, at.to_vec(), Some(&super::days::rewards()));
    assert_eq!(effects, [&ended(&at)[..], &handed[..], &[told]].concat());
    assert_eq!(of_market.give_up(MARKET, 3), ended(&[]));
    assert_eq!(
        of_market.hand_over(MARKET, 4, &arrangement, Vec::new(), Some(&super::days::rewards())),
        [],
        "it has no window"
    );
}

#[test]
fn a_market_that_is_removed_keeps_its_finished_epochs_alone() {
    let (mut all, rules) = (chain_state(), rules());
    all.followed = [(MARKET, rules.followed)].into();
    apply(&next(&all, 20, vec![released(MARKET, 3, 5), released(MARKET, 4, 19)]), &mut all, &rules).unwrap();
    assert!(hand_over(&mut all, MARKET, 3));
    let after = all.clone().remove(MARKET);
    assert_eq!(take(&mut all, after), []);
    let done = all.markets[&MARKET].done.clone();
    assert!(done.contains(3) && !done.contains(4));
    assert_eq!(all.markets[&MARKET], Market { done, ..Market::default() });
    assert_eq!(all.followed, BTreeMap::new());
    assert_eq!(all.clone().remove(MARKET).effects, [], "there is nothing left to remove");
}

#[test]
fn a_batch_is_finalised_with_its_block_and_no_longer_when_that_is_dropped() {
    let (mut all, rules) = (chain_state(), rules());
    let event = (6, event_of_finalised(7));
    apply(&next(&all, 5, vec![]), &mut all, &rules).unwrap();
    let batch = FinalizedBatch { market: MARKET, epoch: 7, batch: hash(1, 1) };
    let after = all.clone().apply(&next(&all, 6, vec![event]), &rules).unwrap();
    assert!(after.effects.contains(&Effect::Finalized(batch)));
    assert_eq!(take(&mut all, after), [Note::Finalized { block: 6, batch }]);
    let after = all.clone().revert(5, 0, &rules).unwrap();
    assert!(after.effects.contains(&Effect::NotFinalized(batch)));
    // Finalised by two blocks, of which one stays.
    let again = (7, event_of_finalised(7));
    let after = all.clone().apply(&next(&all, 7, vec![again]), &rules).unwrap();
    take(&mut all, after);
    let after = all.clone().revert(6, 0, &rules).unwrap();
    assert!(!after.effects.contains(&Effect::NotFinalized(batch)));
}

fn event_of_finalised(epoch: u64) -> MarketEvent {
    let event = ChainEvent::SnapshotBatchFinalized { epoch, batch_cid_hash: hash(1, 1), time: 0 };
    MarketEvent { market: MARKET, log_index: 0, event }
}

#[test]
fn batches_that_old_blocks_finalised_leave_nothing() {
    let (mut all, rules) = (chain_state(), rules());
    apply(&next(&all, 0, vec![]), &mut all, &rules).unwrap();
    let segment = Segment {
        events_only: Some(EventsOnly { first: 1, parent: hash(0, 0) }),
        ..next(&all, 1, vec![(1, event_of_finalised(7))])
    };
    let after = all.apply(&segment, &rules).unwrap();
    assert!(!after.effects.iter().any(|effect| matches!(effect, Effect::Finalized(_))), "{after:?}");
    assert!(after.state.undo_log.iter().all(|entry| entry.finalized.is_empty()));
    assert!(matches!(after.notes[..], [Note::Other { block: 1, .. }]), "{:?}", after.notes);
}

#[test]
fn batches_are_due_in_the_order_in_which_their_epochs_were_released() {
    let (mut all, rules) = (chain_state(), rules());
    // A later epoch has the lower id, and two are of one block.
    let events = vec![released(MARKET, 9, 5), released(MARKET, 3, 6), released(MARKET, 2, 6)];
    apply(&next(&all, 40, events), &mut all, &rules).unwrap();
    let due: Vec<u64> = all.markets[&MARKET].closed().iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(due, [9, 2, 3]);
}

#[test]
fn an_epoch_whose_id_can_not_be_is_set_aside_and_the_next_one_is_the_current_one() {
    let (mut all, rules) = (chain_state(), rules());
    let released_at = |epoch, block| released(MARKET, epoch, block);
    let implausible = |epoch| Note::Implausible { market: MARKET, epoch };
    let notes =
        apply(&next(&all, 5, vec![released_at(u64::MAX, 5), released_at(1 << 53, 5)]), &mut all, &rules);
    assert_eq!(notes, Ok(vec![implausible(u64::MAX), implausible(1 << 53)]));
    assert_eq!(all.markets[&MARKET], Market::default());
    let events = vec![released_at(7, 6), released_at(1_000_000_008, 6), released_at(8, 6)];
    let segment = next(&all, 6, events);
    assert_eq!(all.releases(&segment, &rules).len(), 1, "of one block");
    let notes = apply(&segment, &mut all, &rules).unwrap();
    assert_eq!(notes[1], implausible(1_000_000_008));
    assert_eq!(all.markets[&MARKET].current, Some(8));
    assert!(states(&all, MARKET).iter().map(|(epoch, _)| *epoch).eq([7, 8]));
}

#[test]
fn a_reorganisation_brings_back_nothing_of_a_market_that_was_removed_and_is_followed_again() {
    let (mut all, rules) = (chain_state(), rules());
    all.followed = [(MARKET, rules.followed)].into();
    apply(&next(&all, 4, vec![]), &mut all, &rules).unwrap();
    apply(&next(&all, 8, vec![released(MARKET, 3, 5)]), &mut all, &rules).unwrap();
    apply(&next(&all, 20, vec![released(MARKET, 4, 19)]), &mut all, &rules).unwrap();
    let after = all.clone().remove(MARKET);
    take(&mut all, after);
    let taken = BTreeMap::from([(MARKET, TakeOver::default())]);
    let after = all.clone().take_over(&taken, &Releases::new(), Clocks::default(), &rules);
    take(&mut all, after);
    // Block 15 had closed the window of epoch 3, and before block 19 that epoch was the current one.
    assert_eq!(revert(&mut all, 10, &rules), Ok(vec![]));
    assert_eq!(all.markets[&MARKET], Market::default());
}
