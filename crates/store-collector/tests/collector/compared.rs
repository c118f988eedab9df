//! Each effect happens once: with two writers, with lost answers, with forgotten scripts.

use std::time::Duration;

use domain::collector::{Arrangement, Clocks, Transition};
use store_collector::{Basis, Outcome, Snapshot};
use store_redis::{ErrorKind, Store};
use testkit::{FaultProxy, wait_until};

use crate::{
    common,
    scene::{Chain, IDENTITY, MARKET, OTHER, arranged, blocks, chain_store, released, submitted, time_of},
};

/// A chain with a closed window with submissions, and an open one.
async fn scene() -> Chain {
    let mut chain = Chain::with("", true).await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1), ("b", 2), ("c", 2)]).await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6), released(OTHER, 8, 12)]).await;
    chain
}

const DONE: Outcome = Outcome::Done { faults: vec![] };

#[tokio::test]
async fn of_two_who_have_read_the_same_one_writes_and_the_other_learns_it() {
    let mut chain = scene().await;
    let (first, second) = (chain.load().await, chain.load().await);
    let advance = |known: &Snapshot, branch| {
        let all = known.state.clone();
        let events = vec![submitted(MARKET, 7, "cid", 18), released(MARKET, 9, 19)];
        all.clone()
            .apply(&blocks(&all, 19, branch, events), &chain.rules)
            .expect("they stand on the last one")
    };
    let [one, other] = [advance(&first, 0), advance(&second, 1)];
    assert_eq!(chain.commit(&first.basis, &one.effects).await.expect("written"), DONE);
    let before = chain.dump().await;
    // Another branch, the same once more, a reorganisation, and the clock.
    let undone = second.state.clone().revert(10, 4_000_000_000, &chain.rules).expect("not too deep");
    let clock = second.state.clone().close(Some(u64::MAX), 0, &chain.rules);
    assert_eq!(clock.notes.len(), 1);
    for Transition { effects, .. } in [&other, &one, &undone, &clock] {
        let outcome = chain.commit(&second.basis, effects).await.expect("answered");
        assert_eq!(outcome, Outcome::Changed);
    }
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.load().await.state, one.state);
}

#[tokio::test]
async fn of_two_who_begin_at_the_same_time_one_does() {
    let mut chain = Chain::new().await;
    let known = chain.load().await;
    assert_eq!(known.state.checkpoint, None);
    let begin = |branch| {
        let all = known.state.clone();
        all.clone().apply(&blocks(&all, 3, branch, vec![]), &chain.rules).expect("the first ones")
    };
    let [one, other] = [begin(0), begin(1)];
    assert_eq!(chain.commit(&known.basis, &one.effects).await.expect("written"), DONE);
    let before = chain.dump().await;
    let outcome = chain.commit(&known.basis, &other.effects).await.expect("answered");
    assert_eq!(outcome, Outcome::Changed);
    assert_eq!(chain.dump().await, before);
}

#[tokio::test]
async fn what_another_program_has_handed_over_is_not_handed_over_again() {
    let mut chain = scene().await;
    let count = format!("BatchCountKey.{MARKET}.7");
    chain.scene.run::<()>("SET", &[&count, "3"]).await;
    let before = chain.dump().await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let arranged = arranged(&closed, chain.inputs(&closed).await, 2);
    let outcome = chain.hand_over(&closed, &arranged).await.expect("answered");
    assert_eq!(outcome, Outcome::HandedOverElsewhere);
    assert_eq!(chain.dump().await, before, "nothing was written");
}

#[tokio::test]
async fn batches_are_handed_over_once_however_many_prepare_them() {
    let mut chain = scene().await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let arranged = arranged(&closed, chain.inputs(&closed).await, 2);
    assert_eq!(chain.hand_over(&closed, &arranged).await.expect("done"), DONE);
    let before = chain.dump().await;
    let again = chain.hand_over(&closed, &arranged).await.expect("answered");
    assert_eq!(again, Outcome::Changed);
    let given_up = chain.give_up(&closed).await.expect("answered");
    assert_eq!(given_up, Outcome::Changed);
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.closed(MARKET).await.len(), 0);
}

#[tokio::test]
async fn two_epochs_of_a_market_that_are_handed_over_at_once_are_both_done_at_last() {
    let mut chain = Chain::new().await;
    chain.accept(18, 0, vec![released(MARKET, 7, 6), released(MARKET, 8, 7)]).await;
    let [seven, eight] = chain.closed(MARKET).await.try_into().expect("two");
    let none = Arrangement::default();
    assert_eq!(chain.hand_over(&seven, &none).await.expect("done"), DONE);
    // The set of finished epochs would lose the first one.
    let before = chain.dump().await;
    assert_eq!(chain.hand_over(&eight, &none).await.expect("answered"), Outcome::Changed);
    assert_eq!(chain.dump().await, before);
    chain.hand_over_all().await;
    let done = chain.load().await.state.markets[&eight.market].done.to_string();
    assert_eq!(done, "7-8");
}

#[tokio::test]
async fn blocks_of_other_markets_hold_up_no_hand_over_and_are_told_of_it() {
    let chain = scene().await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let arranged = arranged(&closed, chain.inputs(&closed).await, 2);
    // Blocks come meanwhile, and one releases an epoch of the other market.
    let before = chain.load().await;
    chain.accept(19, 0, vec![released(OTHER, 9, 18)]).await;
    let stale = chain.load().await;
    assert_eq!(chain.hand_over(&closed, &arranged).await.expect("done"), DONE);
    // A fetcher that had read the epoch as a closed one writes nothing.
    for known in [before, stale] {
        let segment = blocks(&known.state, 20, 0, vec![]);
        let after = known.state.apply(&segment, &chain.rules).expect("they stand on the last one");
        let outcome = chain.commit(&known.basis, &after.effects).await.expect("answered");
        assert_eq!(outcome, Outcome::Changed);
    }
}

#[tokio::test]
async fn batches_of_a_window_that_a_reorganisation_has_undone_are_not_handed_over() {
    // The window is gone; it is open again.
    for to in [5, 15] {
        let mut chain = scene().await;
        let [closed] = chain.closed(MARKET).await.try_into().expect("one");
        let arranged = arranged(&closed, chain.inputs(&closed).await, 2);
        chain.undo(to).await;
        let before = chain.dump().await;
        let outcome = chain.hand_over(&closed, &arranged).await.expect("answered");
        assert_eq!(outcome, Outcome::Changed);
        assert_eq!(chain.dump().await, before);
    }
}

#[tokio::test]
async fn inputs_of_a_reorged_block_are_not_delivered() {
    let mut chain = scene().await;
    chain.submit(MARKET, 7, 16, 0, &[("dropped", 3)]).await;
    chain.submit(MARKET, 7, 16, 1, &[("kept", 4)]).await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let stale = arranged(&closed, chain.inputs(&closed).await, 9);
    chain.undo(15).await;
    chain.accept(19, 1, vec![]).await;
    let [again] = chain.closed(MARKET).await.try_into().expect("one");
    assert_eq!(again.window, closed.window, "by its window nobody can tell");
    let before = chain.dump().await;
    let outcome = chain.hand_over(&closed, &stale).await.expect("answered");
    assert_eq!(outcome, Outcome::Changed);
    assert_eq!(chain.dump().await, before);
    let inputs = chain.inputs(&again).await;
    let arranged = arranged(&again, inputs, 9);
    let projects: Vec<&String> = arranged.batches.iter().flat_map(|batch| batch.keys()).collect();
    assert_eq!(projects, ["a", "b", "c", "kept"]);
    chain.hand_over_all().await;
    assert_eq!(chain.closed(MARKET).await.len(), 0);
}

/// A proxy in front of the server, and a store that uses it.
async fn proxied(chain: &Chain) -> (FaultProxy, Store) {
    let proxy = FaultProxy::start(chain.scene.redis.addr()).await.expect("a proxy");
    let store = Store::new(common::settings(proxy.addr())).expect("settings");
    (proxy, store)
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_seen_as_done_and_is_not_done_again() {
    let mut chain = scene().await;
    let (proxy, store) = proxied(&chain).await;
    let known = chain.load().await;
    let events = vec![submitted(MARKET, 7, "cid", 18), released(MARKET, 9, 19)];
    let segment = blocks(&known.state, 19, 0, events);
    let after = known.state.apply(&segment, &chain.rules).expect("they stand on the last one");
    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    // The answer is delayed this long after the server has written.
    proxy.delay(Duration::from_secs(2));
    let committing = chain.chain.commit(&mut session, &known.basis, &after.effects, None);
    let cut = async {
        let arrived = async || chain.load().await.state.checkpoint == after.state.checkpoint;
        wait_until("the commit", Duration::from_secs(30), arrived).await;
        proxy.cut();
    };
    let (outcome, ()) = tokio::join!(committing, cut);
    let error = outcome.expect_err("nobody knows");
    assert!(error.kind.is_outage(), "{error}");
    assert_eq!(chain.load().await.state, after.state);
    let before = chain.dump().await;
    let again = chain.commit(&known.basis, &after.effects).await.expect("answered");
    assert_eq!(again, Outcome::Changed);
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.scene.run::<u64>("LLEN", "attestorQueue").await, 1);
}

#[tokio::test]
async fn a_hand_over_whose_answer_is_lost_is_seen_as_done_and_is_not_done_again() {
    let mut chain = scene().await;
    let (proxy, store) = proxied(&chain).await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let arranged = arranged(&closed, chain.inputs(&closed).await, 2);
    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    proxy.delay(Duration::from_secs(2));
    let handing = chain.hand_over_by(&mut session, &closed, &arranged);
    let cut = async {
        let arrived = async || chain.closed(MARKET).await.is_empty();
        wait_until("the hand-over", Duration::from_secs(30), arrived).await;
        proxy.cut();
    };
    let (outcome, ()) = tokio::join!(handing, cut);
    assert!(outcome.expect_err("nobody knows").kind.is_outage());
    let before = chain.dump().await;
    assert_eq!(chain.hand_over(&closed, &arranged).await.expect("answered"), Outcome::Changed);
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.scene.run::<u64>("LLEN", "finalizerQueue").await, 2);
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_script_is_given_it_in_the_same_call() {
    let mut chain = scene().await;
    for number in 18..=20 {
        chain.scene.run::<()>("SCRIPT", "FLUSH").await;
        chain.accept(number, 0, vec![]).await;
    }
    chain.scene.run::<()>("SCRIPT", "FLUSH").await;
    chain.hand_over_all().await;
    assert_eq!(chain.scene.run::<u64>("LLEN", "finalizerQueue").await, 2);
}

#[tokio::test]
async fn what_is_of_another_chain_or_contract_is_refused_and_not_touched() {
    let mut chain = scene().await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let before = chain.dump().await;
    let other = chain_store("", "chain 2 contract 0xab", false);
    let mut session = chain.session().await;
    let refused = [
        other.load(&mut session).await.map(drop),
        other.market(&mut session, closed.market).await.map(drop),
        other.clean(&mut session, &[closed.market]).await.map(drop),
    ];
    for refused in refused {
        let error = refused.expect_err("of another chain");
        assert_eq!((error.kind, error.object.as_str()), (ErrorKind::Foreign, "tracker:chain:identity"));
        let says = error.to_string();
        for word in [IDENTITY, "chain 2 contract 0xab"] {
            assert!(says.contains(word), "{says}");
        }
    }
    let effects = closed.snapshot.known.hand_over(closed.market, 7, &Arrangement::default(), vec![], None);
    let outcome = other.commit(&mut session, &closed.snapshot.basis, &effects, None).await;
    assert_eq!(outcome.expect("answered"), Outcome::Changed);
    // A writer that has read before there was anything is refused too.
    let outcome = other.commit(&mut session, &Basis::default(), &[], None).await;
    assert_eq!(outcome.expect("answered"), Outcome::Changed);
    assert_eq!(chain.dump().await, before);
    // Under a prefix another chain can be followed beside it.
    let beside = chain_store("beside", "chain 2 contract 0xab", false);
    assert_eq!(beside.load(&mut session).await.expect("loaded").state.checkpoint, None);
}

#[tokio::test]
async fn a_state_that_was_left_and_reached_again_is_another_one() {
    let chain = scene().await;
    let early = chain.load().await;
    // Another writer goes on, and a reorganisation leads back to the same blocks: every value is as it was.
    chain.accept(18, 0, vec![]).await;
    chain.undo(17).await;
    let later = chain.load().await;
    assert_eq!(later.state.checkpoint, early.state.checkpoint);
    assert_eq!(later.state.markets, early.state.markets);
    let segment = blocks(&early.state, 18, 1, vec![]);
    let after = early.state.apply(&segment, &chain.rules).expect("they stand on the last one");
    let outcome = chain.commit(&early.basis, &after.effects).await.expect("answered");
    assert_eq!(outcome, Outcome::Changed);
    let outcome = chain.commit(&later.basis, &after.effects).await.expect("answered");
    assert_eq!(outcome, DONE);
}

#[tokio::test]
async fn batches_are_handed_over_only_while_no_submission_can_have_expired() {
    let mut chain = Chain::new().await;
    let now = testkit::producers::unix_now() as u64;
    // The epochs are released at blocks 5 and 6, of which the first is exactly as old as all of its submissions certainly live.
    chain
        .change(|all| {
            let mut segment = blocks(&all, 17, 0, vec![released(MARKET, 7, 5), released(MARKET, 8, 6)]);
            segment.now = Clocks { chain: time_of(5) + 1_140, redis: now - 1 };
            all.apply(&segment, &chain.rules).expect("they stand on the last one")
        })
        .await;
    let [seven, eight] = chain.closed(MARKET).await.try_into().expect("two");
    assert_eq!([seven.window.expires, eight.window.expires], [now - 1, now + 1]);
    let before = chain.dump().await;
    let none = Arrangement::default();
    let late = chain.hand_over(&seven, &none).await.expect("answered");
    assert_eq!((late, chain.dump().await == before), (Outcome::Late, true));
    let given_up = chain.give_up(&seven).await.expect("answered");
    assert_eq!(given_up, DONE);
}
