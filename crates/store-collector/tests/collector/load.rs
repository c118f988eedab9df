//! Large writes: no limit of Redis or of its scripts is reached.

use std::time::Instant;

use domain::{
    chain::ContractAddress,
    collector::{ChainState, Day, Market},
};
use store_collector::{ChainKeys, ChainStore, Outcome};

use crate::scene::{Chain, IDENTITY, arranged, blocks, collected, released};

const MARKETS: u8 = 10;
const PROJECTS: u64 = 500;
/// Submissions of each market, each of another slot.
const SUBMISSIONS: u64 = 10_000;

#[tokio::test]
async fn ten_markets_with_ten_thousand_submissions_each_are_handed_over_whole() {
    let mut chain = Chain::new().await;
    let markets: Vec<ContractAddress> = (1..=MARKETS).map(|number| ContractAddress([number; 20])).collect();
    chain.chain = ChainStore::new(ChainKeys::new(""), IDENTITY.to_owned(), markets.clone(), false);
    chain.rules.windows = markets.iter().map(|market| (*market, 20)).collect();
    let known = chain.load().await;
    let followed = markets
        .iter()
        .map(|market| (*market, Market { day: Some(Day { number: 3, since: 1 }), ..Market::default() }));
    let all = ChainState { markets: followed.collect(), ..known.state };
    let events = markets.iter().map(|market| released(&market.lower(), 7, 6)).collect();
    let segment = blocks(&all, 17, 0, events);
    let after = all.apply(&segment, &chain.rules).expect("the first ones");
    let outcome = chain.commit(&known.basis, &after.effects).await.expect("written");
    assert_eq!(outcome, Outcome::Done { faults: vec![] });
    for of in markets.iter().map(ContractAddress::lower) {
        let key = |number: u64| format!("{of}.7.p{}.{number}", number % PROJECTS);
        let mut words = vec![collected(&of, 7, 10, 0)];
        words.extend((0..SUBMISSIONS).map(key));
        chain.scene.run::<()>("SADD", &words).await;
    }
    let began = Instant::now();
    for of in markets.iter().map(ContractAddress::lower) {
        let [closed] = chain.closed(&of).await.try_into().expect("one");
        let arranged = arranged(&closed, chain.inputs(&closed).await, 20);
        assert_eq!(arranged.batches.len(), 25);
        let outcome = chain.hand_over(&closed, &arranged).await.expect("handed over");
        assert_eq!(outcome, Outcome::Done { faults: vec![] });
    }
    println!("{MARKETS} markets with {SUBMISSIONS} submissions each: {:?}", began.elapsed());
    assert_eq!(chain.scene.run::<u64>("LLEN", "finalizerQueue").await, 25 * u64::from(MARKETS));
    let slots: Vec<String> = chain.scene.run("KEYS", "SlotSubmissionsKey.*.3.*").await;
    assert_eq!(slots.len() as u64, SUBMISSIONS * u64::from(MARKETS));
}
