//! Changes of day, and the rewards that they and the ends of epochs make due.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::collector::{RewardPlan, RewardRules, Rollover};

pub(super) fn rewards() -> RewardRules {
    let (every, piece) = (10.try_into().unwrap(), 100.try_into().unwrap());
    RewardRules { every, piece, past_days: 5 }
}

fn day_started(market: ContractAddress, day: u64, block: u64) -> (u64, MarketEvent) {
    let event = ChainEvent::DayStarted { day, time: 1_000 + 2 * block };
    (block, MarketEvent { market, log_index: 0, event })
}

/// Accepts one block after the others, which releases this epoch in this day.
fn release_in(all: &mut ChainState, epoch: u64, day: Option<u64>) {
    let block = all.checkpoint.map_or(0, |at| at.number + 1);
    let mut segment = next(all, block, vec![released(MARKET, epoch, block)]);
    segment.releases = [((MARKET, block), AtRelease { length: Some(LENGTH), day })].into();
    apply(&segment, all, &rules()).unwrap();
}

/// Closes all windows, and hands this one over: the plans that it makes.
fn plans(all: &mut ChainState, epoch: u64, told: bool) -> Vec<RewardPlan> {
    let rules = rules();
    // As many as wait for each other.
    for _ in 0..3 {
        let to = all.checkpoint.unwrap().number + LENGTH;
        apply(&next(all, to, vec![]), all, &rules).unwrap();
    }
    let told = told.then(rewards);
    let market = &all.markets[&MARKET];
    let effects = market.hand_over(MARKET, epoch, &Arrangement::default(), Vec::new(), told.as_ref());
    assert!(!effects.is_empty(), "epoch {epoch} has no window");
    *all = stored(all, &effects);
    let plan = |effect| match effect {
        Effect::Plan { plan, .. } => Some(plan),
        _ => None,
    };
    effects.into_iter().filter_map(plan).collect()
}

fn rollovers(all: &ChainState) -> Vec<(u64, u64, u64)> {
    let all = all.markets[&MARKET].rollovers.iter();
    all.map(|(epoch, it)| (*epoch, it.last_day, it.buffer_epoch)).collect()
}

#[test]
fn a_release_in_a_later_day_is_a_change_of_day_whether_an_event_announced_it_or_not() {
    for announced in [false, true] {
        let mut all = chain_state();
        release_in(&mut all, 3, Some(7));
        assert_eq!(
            (all.markets[&MARKET].last_day, rollovers(&all)),
            (Some(7), vec![]),
            "the first day is no change"
        );
        if announced {
            apply(&next(&all, 1, vec![day_started(MARKET, 8, 1)]), &mut all, &rules()).unwrap();
            assert_eq!(all.markets[&MARKET].day, Some(Day { number: 8, since: 1_002 }));
            assert_eq!(rollovers(&all), [], "no epoch was released in it");
        }
        release_in(&mut all, 4, (!announced).then_some(8));
        assert_eq!(rollovers(&all), [(4, 7, 9)]);
        // It began with the event, or with the block that showed it.
        assert_eq!(all.markets[&MARKET].day, Some(Day { number: 8, since: 1_002 }));
        release_in(&mut all, 5, Some(8));
        assert_eq!((all.markets[&MARKET].last_day, rollovers(&all)), (Some(8), vec![(4, 7, 9)]));
    }
}

#[test]
fn a_day_that_can_not_be_is_set_aside_and_one_that_was_wrong_is_corrected_by_the_next_release() {
    let mut all = chain_state();
    release_in(&mut all, 3, Some(7));
    release_in(&mut all, 4, Some(u64::MAX));
    let market = &all.markets[&MARKET];
    assert_eq!((market.last_day, market.windows[&4].day, rollovers(&all)), (Some(7), Some(7), vec![]));
    // A lie that could be true ends day 7 early.
    release_in(&mut all, 5, Some(900));
    release_in(&mut all, 6, Some(7));
    assert_eq!((all.markets[&MARKET].last_day, rollovers(&all)), (Some(7), vec![(5, 7, 10)]));
    // Its true end is told too.
    release_in(&mut all, 7, Some(8));
    assert_eq!((all.markets[&MARKET].last_day, rollovers(&all)), (Some(8), vec![(5, 7, 10), (7, 7, 12)]));
}

#[test]
fn there_is_no_day_before_the_first_one() {
    let mut all = chain_state();
    release_in(&mut all, 3, Some(0));
    release_in(&mut all, 4, Some(1));
    assert_eq!((all.markets[&MARKET].last_day, rollovers(&all)), (Some(1), vec![]));
}

#[test]
fn a_change_of_day_is_seen_with_an_epoch_that_is_released_again_after_its_hand_over() {
    let mut all = chain_state();
    release_in(&mut all, 3, Some(7));
    let before = all.checkpoint.unwrap().number;
    release_in(&mut all, 4, Some(7));
    let effects = all.markets[&MARKET].hand_over(MARKET, 4, &Arrangement::default(), Vec::new(), None);
    all = stored(&all, &effects);
    all = all.revert(before, 0, &rules()).unwrap().state;
    assert!(all.markets[&MARKET].knows(4) && !all.markets[&MARKET].windows.contains_key(&4));
    release_in(&mut all, 4, Some(8));
    assert_eq!((all.markets[&MARKET].last_day, rollovers(&all)), (Some(8), vec![(4, 7, 9)]));
}

#[test]
fn the_rewards_of_a_day_are_due_with_the_first_epoch_from_five_after_the_change_on_that_is_handed_over() {
    let mut all = chain_state();
    for (epoch, day) in [(16, 7), (17, 8), (21, 8), (23, 8), (24, 8)] {
        release_in(&mut all, epoch, Some(day));
    }
    assert_eq!(plans(&mut all, 16, true), []);
    assert_eq!(plans(&mut all, 21, true), []);
    let past = RewardPlan::PastDays { epoch: 23, today: 8, except: vec![7], started: None };
    assert_eq!(plans(&mut all, 23, true), [RewardPlan::Final { epoch: 23, day: 7 }, past]);
    assert_eq!(rollovers(&all), []);
    assert_eq!(plans(&mut all, 24, true), [], "once");
}

#[test]
fn every_some_epochs_the_numbers_of_the_day_of_the_epoch_are_told() {
    let mut all = chain_state();
    for (epoch, day) in [(9, Some(7)), (10, Some(7)), (11, Some(8))] {
        release_in(&mut all, epoch, day);
    }
    assert_eq!(plans(&mut all, 11, true), []);
    // Of its own day, which is not the present one.
    assert_eq!(plans(&mut all, 10, true), [RewardPlan::Periodic { epoch: 10, day: 7 }]);
    let mut all = chain_state();
    release_in(&mut all, 20, None);
    assert_eq!(plans(&mut all, 20, true), [], "its day is not known");
}

#[test]
fn without_a_relayer_a_change_of_day_ends_and_nothing_is_planned() {
    let mut all = chain_state();
    release_in(&mut all, 15, Some(7));
    release_in(&mut all, 20, Some(8));
    release_in(&mut all, 30, Some(8));
    assert_eq!(plans(&mut all, 30, false), []);
    assert_eq!(rollovers(&all), []);
}

#[test]
fn an_epoch_without_batches_makes_no_rewards_due() {
    let mut all = chain_state();
    release_in(&mut all, 15, Some(7));
    release_in(&mut all, 20, Some(8));
    release_in(&mut all, 30, Some(8));
    let effects = all.markets[&MARKET].give_up(MARKET, 30);
    all = stored(&all, &effects);
    assert_eq!(rollovers(&all), [(20, 7, 25)], "the next one that is handed over does");
}

#[test]
fn a_reorganisation_undoes_a_change_of_day_and_tells_where_its_rewards_are_due_already() {
    let mut all = chain_state();
    release_in(&mut all, 15, Some(7));
    let before = all.clone();
    release_in(&mut all, 20, Some(8));
    assert_eq!(revert(&mut all, 0, &rules()), Ok(vec![]));
    assert_eq!(all.markets, before.markets);
    release_in(&mut all, 16, Some(7));
    release_in(&mut all, 20, Some(8));
    release_in(&mut all, 30, Some(8));
    let told = rewards();
    let effects =
        all.markets[&MARKET].hand_over(MARKET, 30, &Arrangement::default(), Vec::new(), Some(&told));
    all = stored(&all, &effects);
    let notes = revert(&mut all, 1, &rules()).unwrap();
    assert!(notes.contains(&Note::StaysRolledOver { market: MARKET, epoch: 20 }), "{notes:?}");
    assert_eq!((all.markets[&MARKET].last_day, rollovers(&all)), (Some(7), vec![]));
    // On the new branch the day ends later: its numbers are told again.
    release_in(&mut all, 22, Some(8));
    assert_eq!(rollovers(&all), [(22, 7, 27)]);
}

#[test]
fn a_market_that_is_taken_over_goes_on_with_the_days_of_its_predecessor() {
    let (mut all, rules) = (chain_state(), rules());
    let left = TakeOver {
        day: Some(Day { number: 9, since: 900 }),
        day_length: Some(500),
        last_day: Some(8),
        rollovers: [(40, Rollover::at(40, 7))].into(),
        ..TakeOver::default()
    };
    let now = Clocks { chain: 1_000, redis: 1_000 };
    let after = all.clone().take_over(&[(MARKET, left)].into(), &Releases::new(), now, &rules);
    let day = Effect::Day {
        market: MARKET,
        day: Some(Day { number: 9, since: 900 }),
        last_day: Some(8),
        lives: Some(400),
    };
    assert!(after.effects.contains(&day), "{:?}", after.effects);
    take(&mut all, after);
    assert_eq!(rollovers(&all), [(40, 7, 45)]);
    // The day had changed when nobody looked.
    release_in(&mut all, 43, Some(9));
    assert_eq!(rollovers(&all), [(40, 7, 45), (43, 8, 48)]);
    let mut all = chain_state();
    let left = TakeOver { day: Some(Day { number: 9, since: 900 }), ..TakeOver::default() };
    let after = all.clone().take_over(&[(MARKET, left)].into(), &Releases::new(), now, &rules);
    take(&mut all, after);
    assert_eq!(all.markets[&MARKET].last_day, Some(9), "nobody knew another one");
}

#[test]
fn changes_of_day_that_nobody_settles_are_forgotten_after_some_days() {
    let mut all = chain_state();
    for day in 1..60 {
        release_in(&mut all, day, Some(day));
        let days: Vec<u64> = rollovers(&all).into_iter().map(|(_, day, _)| day).collect();
        let first = day.saturating_sub(5).max(1);
        assert_eq!(days, (first..day).collect::<Vec<_>>());
    }
}

/// Blocks in their order: whether each begins a day, and whether it releases an epoch.
fn blocks() -> impl Strategy<Value = Vec<(bool, bool)>> {
    proptest::collection::vec((proptest::bool::weighted(0.2), any::<bool>()), 1..13)
}

/// A chain of the test's own: epochs by blocks, with their days.
#[derive(Clone, Default)]
struct Script(Vec<(u64, Option<u64>)>);

impl Script {
    fn day(&self) -> u64 {
        self.0.last().map_or(1, |(day, _)| *day)
    }

    fn epoch(&self) -> u64 {
        self.0.iter().filter_map(|(_, epoch)| *epoch).max().unwrap_or(0)
    }

    fn grow(&mut self, blocks: &[(bool, bool)], from: &mut u64, all: &mut ChainState, branch: u64) {
        for &(begins, releases) in blocks {
            let day = self.day() + u64::from(begins);
            *from += 1;
            // Never one that another branch has released.
            let epoch = releases.then_some(*from);
            self.0.push((day, epoch));
            let at = all.checkpoint.unwrap();
            let it = block(at.number + 1, branch, at.hash);
            let events = epoch.iter().map(|epoch| released(MARKET, *epoch, it.number)).collect();
            let releases = [((MARKET, it.number), AtRelease { length: Some(0), day: Some(day) })].into();
            let segment = Segment { blocks: vec![it], events, releases, ..Segment::default() };
            apply(&segment, all, &rules()).unwrap();
        }
    }

    /// The days that are over, with the epochs that show it: by the contract, a day is over when an epoch is released in a later one.
    fn over(&self) -> BTreeMap<u64, u64> {
        let epochs: Vec<(u64, u64)> =
            self.0.iter().filter_map(|(day, epoch)| Some((*day, (*epoch)?))).collect();
        epochs.windows(2).filter(|two| two[0].0 < two[1].0).map(|two| (two[0].0, two[1].1)).collect()
    }
}

/// Hands all closed windows over: the plans.
fn hand_all_over(all: &mut ChainState) -> Vec<RewardPlan> {
    let (mut plans, told) = (Vec::new(), rewards());
    while let Some((epoch, _)) = all.markets[&MARKET].closed().first().copied() {
        let market = &all.markets[&MARKET];
        let effects = market.hand_over(MARKET, epoch, &Arrangement::default(), Vec::new(), Some(&told));
        *all = stored(all, &effects);
        plans.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Plan { plan, .. } => Some(plan),
            _ => None,
        }));
    }
    plans
}

proptest! {
    #[test]
    fn each_day_that_is_over_is_told_once_unless_a_reorganisation_drops_its_end(
        trunk in blocks(), dropped in blocks(), kept in blocks(), back in 0_usize..13, early in any::<bool>(),
    ) {
        let (mut all, mut script, mut number) = (chain_state(), Script::default(), 0);
        apply(&next(&all, 0, vec![]), &mut all, &rules()).unwrap();
        let mut plans = Vec::new();
        script.grow(&trunk, &mut number, &mut all, 0);
        if early { plans.extend(hand_all_over(&mut all)); }
        script.grow(&dropped, &mut number, &mut all, 0);
        if early { plans.extend(hand_all_over(&mut all)); }
        let top = all.checkpoint.unwrap().number;
        let to = top - (back as u64).min(top).min(12);
        let gone = script.over();
        script.0.truncate(usize::try_from(to).unwrap());
        revert(&mut all, to, &rules()).unwrap();
        script.grow(&kept, &mut number, &mut all, 1);
        // Some epochs more, so that each change is settled.
        let more = [(false, true); BUFFER as usize + 1];
        script.grow(&more, &mut number, &mut all, 1);
        plans.extend(hand_all_over(&mut all));
        let mut finals: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for plan in &plans {
            match plan {
                RewardPlan::Final { epoch, day } => finals.entry(*day).or_default().push(*epoch),
                RewardPlan::Periodic { epoch, .. } => prop_assert_eq!(epoch % 10, 0),
                RewardPlan::PastDays { today, except, .. } => prop_assert!(except.iter().all(|day| day < today)),
            }
        }
        let over = script.over();
        for (day, shown) in &over {
            // Of a day long ago nobody is told.
            if day + 5 < script.day() { continue; }
            let told = finals.get(day).cloned().unwrap_or_default();
            let stayed = gone.get(day) == Some(shown);
            prop_assert!(!told.is_empty(), "day {day} is over: {plans:?}");
            prop_assert!(told.len() == 1 || !stayed && told.len() == 2, "day {day}: {told:?}");
            prop_assert!(*told.last().unwrap() >= shown + BUFFER, "day {day}: {told:?}, shown by {shown}");
        }
        for day in finals.keys() {
            prop_assert!(over.contains_key(day) || gone.contains_key(day), "day {day} was never over");
        }
        let ids: BTreeSet<_> = plans.iter().map(RewardPlan::id).collect();
        prop_assert_eq!(ids.len(), plans.len());
        let last = script.0.iter().rev().find_map(|(day, epoch)| epoch.map(|_| *day));
        prop_assert_eq!(all.markets[&MARKET].last_day, last);
        prop_assert!(script.epoch() > 0);
    }
}

/// The contract's "5 epochs after a day change".
const BUFFER: u64 = 5;
