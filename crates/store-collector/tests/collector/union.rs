//! Trackers with different markets on one chain state: each accepts blocks for the markets of all of them.

use domain::chain::WindowState;

use crate::scene::{Chain, IDENTITY, MARKET, OTHER, market, released, store_of, submitted};

/// Two trackers, each with its own market; the first one follows the chain already.
async fn two() -> [Chain; 2] {
    let both = Chain::new().await;
    let one = both.beside(&[MARKET], false).await;
    one.accept(3, 0, vec![]).await;
    let two = both.beside(&[OTHER], true).await;
    [one, two]
}

#[tokio::test]
async fn whoever_accepts_a_block_applies_it_for_the_markets_of_all() {
    let [mut one, two] = two().await;
    assert_eq!(two.load().await.state.newcomers().collect::<Vec<_>>(), [market(OTHER)]);
    two.accept(4, 0, vec![released(MARKET, 1, 4), released(OTHER, 2, 4)]).await;
    // The first one reads of the other market without having been told of it.
    assert_eq!(one.load().await.state, two.load().await.state);
    let events = vec![released(MARKET, 3, 5), released(OTHER, 4, 5)];
    one.accept(30, 0, events).await;
    for tracker in [&one, &two] {
        let all = tracker.load().await.state;
        for (of, epochs) in [(MARKET, [1, 3]), (OTHER, [2, 4])] {
            let windows = &all.markets[&market(of)].windows;
            assert!(windows.keys().eq(&epochs), "{windows:?}");
            let is_closed = |state| matches!(state, WindowState::Closed { .. });
            assert!(windows.values().all(|window| is_closed(window.state)), "{windows:?}");
        }
    }
    for (of, epochs) in [(MARKET, ["1", "3"]), (OTHER, ["2", "4"])] {
        let marked: Vec<String> = one.scene.run("SORT", format!("EpochMarkerSetKey.{of}")).await;
        assert_eq!(marked, epochs);
    }
    // Each prepares its own.
    let closed = one.closed(MARKET).await;
    assert_eq!(closed.iter().map(|closed| closed.epoch).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn batches_go_to_the_attestor_if_the_tracker_of_their_market_wants_it() {
    let [mut one, two] = two().await;
    two.accept(4, 0, vec![]).await;
    let events = |block| vec![submitted(MARKET, 1, "mine", block), submitted(OTHER, 1, "theirs", block)];
    one.accept(5, 0, events(5)).await;
    two.accept(6, 0, events(6)).await;
    let queue: Vec<String> = one.scene.run("LRANGE", &["attestorQueue", "0", "-1"]).await;
    assert_eq!(queue.len(), 2);
    assert!(queue.iter().all(|job| job.contains("theirs")), "{queue:?}");
}

#[tokio::test]
async fn a_market_is_followed_until_it_is_removed_and_its_finished_epochs_stay() {
    let [mut one, two] = two().await;
    two.accept(4, 0, vec![released(OTHER, 2, 4), released(OTHER, 3, 4), released(MARKET, 1, 4)]).await;
    two.accept(30, 0, vec![]).await;
    let closed = two.closed(OTHER).await.into_iter().next().expect("one");
    let _ = two.give_up(&closed).await.expect("ended");
    let keys = async |one: &mut Chain| -> Vec<String> {
        one.scene.run::<Vec<String>>("KEYS", format!("*{OTHER}*")).await
    };
    assert!(keys(&mut one).await.len() > 3);
    // The second tracker has gone; the id of the chain is not known to a command.
    let command = store_of(&[MARKET], "", IDENTITY, false);
    let mut session = one.session().await;
    let removed = async |session: &mut _| command.remove(session, market(OTHER)).await.expect("answered");
    assert_eq!(removed(&mut session).await, Some(true));
    assert_eq!(removed(&mut session).await, Some(false));
    let mut left = keys(&mut one).await;
    left.sort_unstable();
    // The details of a finished epoch expire by themselves.
    let kept = ["market", "version"].map(|what| format!("tracker:chain:{OTHER}:{what}"));
    assert_eq!(left, [&[format!("EpochMarkerDetailsKey.{OTHER}.2")][..], &kept].concat());
    let all = one.load().await.state;
    assert!(all.markets.keys().eq([&market(MARKET)]), "{all:?}");
    assert_eq!(all.markets[&market(MARKET)].windows.len(), 1);
    // It comes back: it has to be taken over, and its finished epoch gets no second window.
    let all = two.load().await.state;
    assert_eq!(all.newcomers().collect::<Vec<_>>(), [market(OTHER)]);
    two.accept(31, 0, vec![released(OTHER, 2, 31)]).await;
    assert!(two.load().await.state.markets[&market(OTHER)].windows.is_empty());
}

#[tokio::test]
async fn with_a_market_goes_what_the_cleaner_would_need_of_its_epochs() {
    let [mut one, two] = two().await;
    one.submit(OTHER, 2, 4, 0, &[("a", 1)]).await;
    two.accept(4, 0, vec![released(OTHER, 2, 4)]).await;
    two.accept(30, 0, vec![]).await;
    two.hand_over_all().await;
    let ended = format!("tracker:chain:{OTHER}:ended");
    assert_eq!(one.scene.run::<u64>("HLEN", &[&ended]).await, 1);
    let command = store_of(&[MARKET], "", IDENTITY, false);
    let removed = command.remove(&mut one.session().await, market(OTHER)).await.expect("answered");
    assert_eq!(removed, Some(true));
    assert_eq!(one.scene.run::<u64>("EXISTS", &[&ended]).await, 0);
}
