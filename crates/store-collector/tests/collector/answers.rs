//! Every answer of Redis to every command with which the chain state moves: it is an error, and the repeat is done once.

use std::collections::BTreeSet;

use store_collector::Outcome;
use store_redis::{ANSWERS, Store, UNKNOWN};
use testkit::FaultProxy;

use crate::{
    common,
    scene::{Chain, MARKET, arranged, blocks, released, submitted},
};

/// One line for each pair of kind and consequence, by which alone code decides.
fn answers() -> Vec<String> {
    let mut pairs = BTreeSet::new();
    let rows = ANSWERS.iter().chain([&UNKNOWN]).filter(|row| pairs.insert((row.kind, row.consequence)));
    let line = |row: &store_redis::Answer| match row.word.contains(' ') {
        true => "STRANGE by the test".to_owned(),
        false => format!("{} {} by the test", row.word, row.text),
    };
    rows.map(line).collect()
}

/// A chain with a closed window with submissions, which is reached through the proxy.
async fn scene() -> (Chain, FaultProxy) {
    let mut chain = Chain::with("", true).await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1), ("b", 2)]).await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6)]).await;
    let proxy = FaultProxy::start(chain.scene.redis.addr()).await.expect("a proxy");
    chain.store = Store::new(common::settings(proxy.addr())).expect("settings");
    (chain, proxy)
}

#[tokio::test]
async fn blocks_are_accepted_once_whatever_redis_answers() {
    let (mut chain, proxy) = scene().await;
    for line in answers() {
        for skip in 0..6 {
            let known = chain.load().await;
            let mut after = known.following.clone();
            let (number, block) = (known.following.checkpoint.expect("one").number, known.following.clone());
            let events = vec![submitted(MARKET, 7, "cid", number + 1)];
            let stretch = blocks(&block, number + 1, 0, events);
            let notes = after.accept(&stretch, &chain.rules).expect("they stand on the last one");
            let queued = chain.scene.run::<u64>("LLEN", "attestorQueue").await;
            let before = chain.dump().await;
            proxy.refuse_command(None, skip, &line);
            let outcome = chain.commit(&known, &after, Some(&stretch), &notes).await;
            proxy.stop_refusing_commands();
            if outcome.is_err() {
                assert_eq!(chain.dump().await, before, "{line} at {skip}");
                let again = chain.commit(&known, &after, Some(&stretch), &notes).await;
                assert_eq!(again.expect("written"), Outcome::Done { faults: vec![] });
            }
            assert_eq!(chain.load().await.following, after, "{line} at {skip}");
            let now = chain.scene.run::<u64>("LLEN", "attestorQueue").await;
            assert_eq!(now, queued + 1, "{line} at {skip}");
        }
    }
    assert!(proxy.refused_commands() > 0);
}

#[tokio::test]
async fn a_window_is_handed_over_once_whatever_redis_answers() {
    for line in answers() {
        for skip in 0..4 {
            let (mut chain, proxy) = scene().await;
            let [closed] = chain.closed(MARKET).await.try_into().expect("one");
            let inputs = chain.inputs(&closed).await;
            let (basis, arranged) = (inputs.basis.clone(), arranged(&closed, inputs, 2));
            let before = chain.dump().await;
            proxy.refuse_command(None, skip, &line);
            let outcome = chain.hand_over(&closed, &basis, &arranged).await;
            proxy.stop_refusing_commands();
            if outcome.is_err() {
                assert_eq!(chain.dump().await, before, "{line} at {skip}");
                let again = chain.hand_over(&closed, &basis, &arranged).await.expect("written");
                assert_eq!(again, Outcome::Done { faults: vec![] });
            }
            assert_eq!(chain.scene.run::<u64>("LLEN", "finalizerQueue").await, 1, "{line} at {skip}");
            assert!(chain.closed(MARKET).await.is_empty());
        }
    }
}
