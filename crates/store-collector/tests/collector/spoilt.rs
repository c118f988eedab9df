//! Single values of the chain's state are spoilt, at random and as they are kept in `corpus/values`. Loading, committing, handing over
//! and cleaning neither panic nor hang: they leave the value out, or refuse with an error that names its key.

use std::time::Duration;

use store_collector::{Outcome, finalized_epoch};
use store_redis::StoreError;
use testkit::{
    Dice,
    fuzz::{
        Corpus,
        cells::{Cells, Saved},
        inputs_or, seed,
    },
};
use tokio::time::timeout;

use crate::scene::{Chain, MARKET, blocks, market, released, submitted};

/// The time limit of a round, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that reads the state, each by itself.
async fn round(chain: &Chain) -> Vec<StoreError> {
    let mut errors = Vec::new();
    let mut session = chain.session().await;
    match chain.chain.load(&mut session).await {
        Ok(known) if known.state.checkpoint.is_some_and(|at| at.number < 1_000) => {
            // Only if the state is one that blocks can stand on.
            let segment = blocks(&known.state, 24, 0, vec![submitted(MARKET, 7, "cid", 22)]);
            if let Ok(after) = known.state.apply(&segment, &chain.rules) {
                errors.extend(chain.commit(&known.basis, &after.effects).await.err());
            }
        }
        Ok(_) => {}
        Err(error) => errors.push(error),
    }
    let of = market(MARKET);
    match chain.chain.market(&mut session, of).await {
        Ok(snapshot) => {
            for (epoch, window) in snapshot.known.closed() {
                errors.extend(chain.chain.inputs(&mut session, of, epoch, &window).await.err());
                let effects = snapshot.known.give_up(of, epoch);
                let outcome: Result<Outcome, _> =
                    chain.chain.commit(&mut session, &snapshot.basis, &effects, None).await;
                errors.extend(outcome.err());
            }
        }
        Err(error) => errors.push(error),
    }
    let keys = store_collector::ChainKeys::new("");
    errors.extend(finalized_epoch(&mut session, &keys, &of, 7).await.err());
    errors
}

async fn rounds_with_spoilt_values(count: u64) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/collector/corpus/values");
    let kept = Corpus::read(folder).expect("a corpus");
    let mut chain = Chain::with("", true).await;
    chain.submit(MARKET, 7, 6, 0, &[("a", 1), ("b", 2)]).await;
    chain.accept(17, 0, vec![released(MARKET, 7, 6), released(MARKET, 20, 7)]).await;
    chain.hand_over_all().await;
    chain.accept(21, 0, vec![released(MARKET, 21, 19), submitted(MARKET, 7, "cid", 20)]).await;
    let saved = Saved::take(&mut chain.scene.connection).await;
    let cells = Cells::read(&mut chain.scene.connection, kept.inputs()).await;
    assert!(cells.count() > 20, "{}", cells.count());

    let (seed, count) = (seed(), inputs_or(count));
    println!("SEED={seed} FUZZ_INPUTS={count}");
    let mut dice = Dice::new(seed);
    for at in 0..count {
        let spoilt = cells.spoil(&mut chain.scene.connection, &mut dice).await;
        let errors = timeout(PATIENCE, round(&chain)).await;
        let errors = errors.unwrap_or_else(|_| panic!("a round hangs: SEED={seed}, {at}: {spoilt}"));
        for error in errors {
            let text = error.to_string();
            assert!(
                !error.object.is_empty() && text.chars().count() < 1_000,
                "SEED={seed}, {at}: {spoilt}: {text}"
            );
            assert!(!text.chars().any(char::is_control), "SEED={seed}, {at}: {spoilt}: {text:?}");
        }
        saved.restore(&mut chain.scene.connection).await;
    }
    assert_eq!(round(&chain).await.len(), 0, "with the right values all goes well");
}

#[tokio::test]
async fn a_spoilt_value_makes_no_step_of_the_chain_panic_or_hang() {
    rounds_with_spoilt_values(800).await;
}

#[tokio::test]
#[ignore = "minutes"]
async fn a_spoilt_value_makes_no_step_of_the_chain_panic_or_hang_for_long() {
    rounds_with_spoilt_values(20_000).await;
}
