//! Each effect happens once: with two writers, with lost answers, with forgotten scripts.

use std::time::Duration;

use domain::collector::{Arrangement, Clocks, Following};
use store_collector::{Basis, Known, Outcome};
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

fn changed(outcome: Outcome) -> String {
    let Outcome::Changed { key } = outcome else { panic!("{outcome:?}") };
    key
}

#[tokio::test]
async fn of_two_who_have_read_the_same_one_writes_and_the_other_learns_it() {
    let mut chain = scene().await;
    let (first, second) = (chain.load().await, chain.load().await);
    let advance = |known: &Known, branch| {
        let mut after = known.following.clone();
        let stretch =
            blocks(&after, 19, branch, vec![submitted(MARKET, 7, "cid", 18), released(MARKET, 9, 19)]);
        let notes = after.accept(&stretch, &chain.rules).expect("they stand on the last one");
        (after, stretch, notes)
    };
    let [one, other] = [advance(&first, 0), advance(&second, 1)];
    let done = chain.commit(&first, &one.0, Some(&one.1), &one.2).await.expect("written");
    assert_eq!(done, Outcome::Done { faults: vec![] });
    let before = chain.dump().await;
    // Another branch, the same once more, a reorganisation, and the clock.
    for (after, stretch, notes) in [&other, &one] {
        let outcome = chain.commit(&second, after, Some(stretch), notes).await.expect("answered");
        assert_eq!(changed(outcome), "tracker:chain:version");
    }
    let mut undone = second.following.clone();
    let notes = undone.undo_to(10, &chain.rules).expect("not too deep");
    changed(chain.commit(&second, &undone, None, &notes).await.expect("answered"));
    let mut clock = second.following.clone();
    assert_eq!(clock.close_by_clock(Some(u64::MAX), 0, &chain.rules).len(), 1);
    changed(chain.commit(&second, &clock, None, &[]).await.expect("answered"));
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.load().await.following, one.0);
}

#[tokio::test]
async fn of_two_who_begin_at_the_same_time_one_does() {
    let mut chain = Chain::new().await;
    let known = chain.load().await;
    assert_eq!(known.following.checkpoint, None);
    let begin = |branch| {
        let mut after = known.following.clone();
        let stretch = blocks(&after, 3, branch, vec![]);
        after.accept(&stretch, &chain.rules).expect("the first ones");
        (after, stretch)
    };
    let [(one, its), (other, theirs)] = [begin(0), begin(1)];
    let done = chain.commit(&known, &one, Some(&its), &[]).await.expect("written");
    assert_eq!(done, Outcome::Done { faults: vec![] });
    let before = chain.dump().await;
    changed(chain.commit(&known, &other, Some(&theirs), &[]).await.expect("answered"));
    assert_eq!(chain.dump().await, before);
}

#[tokio::test]
async fn what_another_program_has_handed_over_is_not_handed_over_again() {
    let mut chain = scene().await;
    let count = format!("BatchCountKey.{MARKET}.7");
    chain.scene.run::<()>("SET", &[&count, "3"]).await;
    let before = chain.dump().await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let inputs = chain.inputs(&closed).await;
    let (basis, arranged) = (inputs.basis.clone(), arranged(&closed, inputs, 2));
    let outcome = chain.hand_over(&closed, &basis, &arranged).await.expect("answered");
    assert!(chain.chain.is_handed_over_elsewhere(&closed, &outcome), "{outcome:?}");
    assert_eq!(chain.dump().await, before, "nothing was written");
}

#[tokio::test]
async fn batches_are_handed_over_once_however_many_prepare_them() {
    let mut chain = scene().await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let inputs = chain.inputs(&closed).await;
    let (basis, arranged) = (inputs.basis.clone(), arranged(&closed, inputs, 2));
    assert_eq!(
        chain.hand_over(&closed, &basis, &arranged).await.expect("done"),
        Outcome::Done { faults: vec![] }
    );
    let before = chain.dump().await;
    let again = chain.hand_over(&closed, &basis, &arranged).await.expect("answered");
    assert_eq!(changed(again), format!("tracker:chain:{MARKET}:windows"));
    let given_up = chain.chain.give_up(&mut chain.session().await, &closed).await.expect("answered");
    changed(given_up);
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.closed(MARKET).await.len(), 0);
}

#[tokio::test]
async fn two_epochs_of_a_market_that_are_handed_over_at_once_are_both_done_at_last() {
    let mut chain = Chain::new().await;
    chain.accept(18, 0, vec![released(MARKET, 7, 6), released(MARKET, 8, 7)]).await;
    let [seven, eight] = chain.closed(MARKET).await.try_into().expect("two");
    let none = Arrangement::default();
    assert_eq!(
        chain.hand_over(&seven, &Basis::default(), &none).await.expect("done"),
        Outcome::Done { faults: vec![] }
    );
    // The set of finished epochs would lose the first one.
    let before = chain.dump().await;
    changed(chain.hand_over(&eight, &Basis::default(), &none).await.expect("answered"));
    assert_eq!(chain.dump().await, before);
    chain.hand_over_all().await;
    let done = chain.load().await.following.markets[&eight.market].done.to_string();
    assert_eq!(done, "7-8");
}

#[tokio::test]
async fn batches_of_a_window_that_a_reorganisation_has_undone_are_not_handed_over() {
    // The window is gone; it is open again.
    for to in [5, 15] {
        let mut chain = scene().await;
        let [closed] = chain.closed(MARKET).await.try_into().expect("one");
        let inputs = chain.inputs(&closed).await;
        let (basis, arranged) = (inputs.basis.clone(), arranged(&closed, inputs, 2));
        chain.undo(to).await;
        let before = chain.dump().await;
        let outcome = chain.hand_over(&closed, &basis, &arranged).await.expect("answered");
        assert_eq!(changed(outcome), format!("tracker:chain:{MARKET}:windows"));
        assert_eq!(chain.dump().await, before);
    }
}

#[tokio::test]
async fn inputs_of_a_reorged_block_are_not_delivered() {
    let mut chain = scene().await;
    chain.submit(MARKET, 7, 16, 0, &[("dropped", 3)]).await;
    chain.submit(MARKET, 7, 16, 1, &[("kept", 4)]).await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let inputs = chain.inputs(&closed).await;
    let (basis, stale) = (inputs.basis.clone(), arranged(&closed, inputs, 9));
    chain.undo(15).await;
    chain.accept(19, 1, vec![]).await;
    let [again] = chain.closed(MARKET).await.try_into().expect("one");
    assert_eq!(again.window, closed.window, "by its window nobody can tell");
    let before = chain.dump().await;
    let outcome = chain.hand_over(&closed, &basis, &stale).await.expect("answered");
    assert_eq!(changed(outcome), "BlockHashByNumberKey.16");
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
    let mut after: Following = known.following.clone();
    let stretch = blocks(&after, 19, 0, vec![submitted(MARKET, 7, "cid", 18), released(MARKET, 9, 19)]);
    let notes = after.accept(&stretch, &chain.rules).expect("they stand on the last one");
    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    // The answer is delayed this long after the server has written.
    proxy.delay(Duration::from_secs(2));
    let committing = chain.chain.commit(&mut session, &known, &after, Some(&stretch), &notes);
    let cut = async {
        let arrived = async || chain.load().await.following.checkpoint == after.checkpoint;
        wait_until("the commit", Duration::from_secs(30), arrived).await;
        proxy.cut();
    };
    let (outcome, ()) = tokio::join!(committing, cut);
    let error = outcome.expect_err("nobody knows");
    assert!(error.kind.is_outage(), "{error}");
    assert_eq!(chain.load().await.following, after);
    let before = chain.dump().await;
    changed(chain.commit(&known, &after, Some(&stretch), &notes).await.expect("answered"));
    assert_eq!(chain.dump().await, before);
    assert_eq!(chain.scene.run::<u64>("LLEN", "attestorQueue").await, 1);
}

#[tokio::test]
async fn a_hand_over_whose_answer_is_lost_is_seen_as_done_and_is_not_done_again() {
    let mut chain = scene().await;
    let (proxy, store) = proxied(&chain).await;
    let [closed] = chain.closed(MARKET).await.try_into().expect("one");
    let inputs = chain.inputs(&closed).await;
    let (basis, arranged) = (inputs.basis.clone(), arranged(&closed, inputs, 2));
    let mut session = store.session(store_redis::Operation::new("test", "test")).await.expect("a session");
    proxy.delay(Duration::from_secs(2));
    let handing = chain.chain.hand_over(&mut session, &closed, &basis, &arranged);
    let cut = async {
        let arrived = async || chain.closed(MARKET).await.is_empty();
        wait_until("the hand-over", Duration::from_secs(30), arrived).await;
        proxy.cut();
    };
    let (outcome, ()) = tokio::join!(handing, cut);
    assert!(outcome.expect_err("nobody knows").kind.is_outage());
    let before = chain.dump().await;
    changed(chain.hand_over(&closed, &basis, &arranged).await.expect("answered"));
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
        other.closed(&mut session, closed.market).await.map(drop),
        other.clean(&mut session, 0, 100).await.map(drop),
    ];
    for refused in refused {
        let error = refused.expect_err("of another chain");
        assert_eq!((error.kind, error.object.as_str()), (ErrorKind::Foreign, "tracker:chain:identity"));
        let says = error.to_string();
        for word in [IDENTITY, "chain 2 contract 0xab"] {
            assert!(says.contains(word), "{says}");
        }
    }
    let outcome = other.hand_over(&mut session, &closed, &Basis::default(), &Arrangement::default()).await;
    assert_eq!(changed(outcome.expect("answered")), "tracker:chain:identity");
    // A writer that has read before there was anything is refused too.
    let outcome = other.commit(&mut session, &Known::default(), &Following::default(), None, &[]).await;
    assert_eq!(changed(outcome.expect("answered")), "tracker:chain:identity");
    assert_eq!(chain.dump().await, before);
    // Under a prefix another chain can be followed beside it.
    let beside = chain_store("beside", "chain 2 contract 0xab", false);
    assert_eq!(beside.load(&mut session).await.expect("loaded").following.checkpoint, None);
}

#[tokio::test]
async fn a_state_that_was_left_and_reached_again_is_another_one() {
    let chain = scene().await;
    let early = chain.load().await;
    // Another writer goes on, and a reorganisation leads back to the same blocks: every value is as it was.
    chain.accept(18, 0, vec![]).await;
    chain.undo(17).await;
    let later = chain.load().await;
    assert_eq!(later.following.checkpoint, early.following.checkpoint);
    assert_eq!(later.following.markets, early.following.markets);
    let stretch = blocks(&early.following, 18, 1, vec![]);
    let mut after = early.following.clone();
    after.accept(&stretch, &chain.rules).expect("they stand on the last one");
    let outcome = chain.commit(&early, &after, Some(&stretch), &[]).await.expect("answered");
    assert_eq!(changed(outcome), "tracker:chain:version");
    let outcome = chain.commit(&later, &after, Some(&stretch), &[]).await.expect("answered");
    assert_eq!(outcome, Outcome::Done { faults: vec![] });
}

#[tokio::test]
async fn batches_are_handed_over_only_while_no_submission_can_have_expired() {
    let mut chain = Chain::new().await;
    let now = testkit::producers::unix_now() as u64;
    // The epochs are released at blocks 5 and 6, of which the first is exactly as old as all of its submissions certainly live.
    chain
        .change(|all| {
            let mut stretch = blocks(all, 17, 0, vec![released(MARKET, 7, 5), released(MARKET, 8, 6)]);
            stretch.now = Clocks { chain: time_of(5) + 1_140, redis: now - 1 };
            let notes = all.accept(&stretch, &chain.rules).expect("they stand on the last one");
            (notes.clone(), Some(stretch), notes)
        })
        .await;
    let [seven, eight] = chain.closed(MARKET).await.try_into().expect("two");
    assert_eq!([seven.window.expires, eight.window.expires], [now - 1, now + 1]);
    let before = chain.dump().await;
    let none = Arrangement::default();
    let late = chain.hand_over(&seven, &Basis::default(), &none).await.expect("answered");
    assert_eq!((late, chain.dump().await == before), (Outcome::Late, true));
    let given_up = chain.chain.give_up(&mut chain.session().await, &seven).await.expect("answered");
    assert_eq!(given_up, Outcome::Done { faults: vec![] });
}
