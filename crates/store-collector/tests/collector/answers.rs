//! Every answer of Redis to every command of every step of the chain state: a refused step is an error or reports the key, and its
//! repeat does the same as if nothing had been refused.

use domain::collector::{Effect, FinalizedBatch, Transition};
use store_collector::{
    Basis, ChainKeys, FinalizedEpoch, Inputs, MarketTables, Outcome, Snapshot, finalized_epoch,
};
use store_redis::{ANSWERS, Answer, Consequence, Fault, Store, StoreError, UNKNOWN};
use testkit::FaultProxy;

use crate::{
    common,
    scene::{CHECKSUM, Chain, Closed, MARKET, OTHER, arranged, blocks, hash, market, released, submitted},
};

/// What a step did, and the keys that it could not read or write.
type Told = (String, Vec<Fault>);

/// Every row of the table, as a server words it.
fn answers() -> impl Iterator<Item = (&'static Answer, String)> {
    ANSWERS.iter().chain([&UNKNOWN]).map(|row| {
        let word = if row.word.contains(' ') { "STRANGE" } else { row.word };
        (row, format!("{word} {} by the test", row.text))
    })
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Outcome::Done { faults } => ("done".to_owned(), faults),
        Outcome::Changed => ("changed".to_owned(), Vec::new()),
        Outcome::HandedOverElsewhere => ("handed over elsewhere".to_owned(), Vec::new()),
        Outcome::Late => ("late".to_owned(), Vec::new()),
    }
}

/// A chain with a closed window with submissions, which is reached through the proxy.
struct Walk {
    chain: Chain,
    proxy: FaultProxy,
}

impl Walk {
    async fn new() -> Self {
        let mut chain = Chain::with("", true).await;
        let proxy = FaultProxy::start(chain.scene.redis.addr()).await.expect("a proxy");
        chain.store = Store::new(common::settings(proxy.addr())).expect("settings");
        Self { chain, proxy }
    }

    async fn begin<P>(&mut self, prepare: impl AsyncFn(&Chain) -> P) -> P {
        let chain = &mut self.chain;
        chain.scene.run::<()>("FLUSHALL", "SYNC").await;
        chain.submit(MARKET, 7, 6, 0, &[("a", 1), ("b", 2)]).await;
        chain.submit(MARKET, 1, 6, 0, &[("a", 1)]).await;
        chain.accept(17, 0, vec![released(MARKET, 7, 6), released(MARKET, 20, 7)]).await;
        prepare(chain).await
    }

    /// Refuses each command of a step in each way, and repeats the step. Returns how often it was refused as a whole.
    async fn through<P>(
        &mut self,
        is_atomic: bool,
        prepare: impl AsyncFn(&Chain) -> P,
        step: impl AsyncFn(&Chain, &P) -> Result<Told, StoreError>,
    ) -> u64 {
        // Once before anything is counted, so that the server knows the scripts.
        let prepared = self.begin(&prepare).await;
        step(&self.chain, &prepared).await.expect("done");
        let prepared = self.begin(&prepare).await;
        self.proxy.reset_counts();
        let (whole, faults) = step(&self.chain, &prepared).await.expect("done");
        let (commands, after) = (self.proxy.counts().commands, self.chain.contents().await);
        assert_eq!(faults, []);
        assert!(commands >= 3, "the check of the connection has two: {commands}");
        let mut errors = 0;
        for (row, line) in answers() {
            for skip in 0..commands {
                let prepared = self.begin(&prepare).await;
                let before = self.chain.dump().await;
                let refused = self.proxy.refused_commands();
                self.proxy.refuse_command(None, skip, &line);
                let answered = step(&self.chain, &prepared).await;
                self.proxy.stop_refusing_commands();
                assert_eq!(self.proxy.refused_commands(), refused + 1, "{line} at {skip}");
                match answered {
                    // A refused check of the connection, or a script that was loaded.
                    Ok((shown, faults)) if faults.is_empty() => {
                        assert_eq!(shown, whole, "{line} at {skip}");
                        assert!(self.chain.contents().await == after, "{line} at {skip}");
                        continue;
                    }
                    Ok((_, faults)) => {
                        assert_eq!(row.consequence, Consequence::Key, "{line} at {skip}: {faults:?}");
                    }
                    Err(_) => {
                        errors += 1;
                        assert!(!is_atomic || self.chain.dump().await == before, "{line} at {skip}");
                    }
                }
                let (_, faults) = step(&self.chain, &prepared).await.expect("done");
                assert_eq!(faults, [], "{line} at {skip}");
                assert!(self.chain.contents().await == after, "{line} at {skip}");
            }
        }
        errors
    }
}

async fn closed(chain: &Chain) -> Closed {
    chain.closed(MARKET).await.into_iter().next().expect("one is closed")
}

#[tokio::test]
async fn the_state_is_read_as_a_whole_whatever_redis_answers() {
    let load = async |chain: &Chain, (): &()| {
        let known = chain.chain.load(&mut chain.session().await).await?;
        Ok((format!("{:?}", known.state), Vec::new()))
    };
    assert!(Walk::new().await.through(true, async |_| (), load).await > 100);
}

#[tokio::test]
async fn blocks_are_accepted_once_whatever_redis_answers() {
    let prepare = async |chain: &Chain| {
        let Snapshot { state, basis, .. } = chain.load().await;
        let segment = blocks(&state, 18, 0, vec![submitted(MARKET, 7, "cid", 18)]);
        (basis, state.apply(&segment, &chain.rules).expect("they stand on the last one"))
    };
    let commit = async |chain: &Chain, (basis, after): &(Basis, Transition)| {
        Ok(told(chain.commit(basis, &after.effects).await?))
    };
    assert!(Walk::new().await.through(true, prepare, commit).await > 20);
}

#[tokio::test]
async fn closed_windows_are_found_whatever_redis_answers() {
    let find = async |chain: &Chain, (): &()| {
        let snapshot = chain.chain.market(&mut chain.session().await, market(MARKET)).await?;
        Ok((format!("{:?}", snapshot.known.closed()), Vec::new()))
    };
    assert!(Walk::new().await.through(true, async |_| (), find).await > 60);
}

#[tokio::test]
async fn submissions_are_read_or_the_key_is_reported_whatever_redis_answers() {
    let read = async |chain: &Chain, closed: &Closed| {
        let Closed { market, epoch, window, .. } = closed;
        let inputs = chain.chain.inputs(&mut chain.session().await, *market, *epoch, window).await?;
        let Inputs { submissions, missing, faults, .. } = inputs;
        Ok((format!("{submissions:?} {missing:?}"), faults))
    };
    assert!(Walk::new().await.through(true, closed, read).await > 100);
}

#[tokio::test]
async fn a_window_is_handed_over_once_whatever_redis_answers() {
    let prepare = async |chain: &Chain| {
        let closed = closed(chain).await;
        let inputs = chain.inputs(&closed).await;
        (closed, inputs)
    };
    let hand_over = async |chain: &Chain, (closed, inputs): &(Closed, Inputs)| {
        let arranged = arranged(closed, inputs.clone(), 2);
        let Closed { market, epoch, snapshot, .. } = closed;
        let submitted_at = inputs.submitted_at.clone();
        let effects = snapshot.known.hand_over(*market, *epoch, &arranged, submitted_at, None);
        Ok(told(chain.commit(&snapshot.basis, &effects).await?))
    };
    assert!(Walk::new().await.through(true, prepare, hand_over).await > 20);
}

#[tokio::test]
async fn an_epoch_without_batches_ends_once_whatever_redis_answers() {
    let give_up = async |chain: &Chain, closed: &Closed| Ok(told(chain.give_up(closed).await?));
    assert!(Walk::new().await.through(true, closed, give_up).await > 20);
}

#[tokio::test]
async fn a_refused_clean_up_removes_the_rest_in_its_next_run() {
    let prepare = async |chain: &Chain| chain.hand_over_all().await;
    let clean = async |chain: &Chain, (): &()| {
        let markets = [market(MARKET), market(OTHER)];
        let cleaned = chain.chain.clean(&mut chain.session().await, &markets).await?;
        Ok((format!("{} {}", cleaned.markers, cleaned.submissions), cleaned.faults))
    };
    assert!(Walk::new().await.through(false, prepare, clean).await > 100);
}

#[tokio::test]
async fn what_is_finalised_is_read_or_the_key_is_reported_whatever_redis_answers() {
    let prepare = async |chain: &Chain| {
        chain.hand_over_all().await;
        let batch = FinalizedBatch { market: market(MARKET), epoch: 7, batch: hash(1, 1) };
        let basis = chain.load().await.basis;
        let written = chain.commit(&basis, &[Effect::Finalized(batch)]).await;
        assert_eq!(written.expect("written"), Outcome::Done { faults: vec![] });
    };
    let read = async |chain: &Chain, (): &()| {
        let (mut session, keys) = (chain.session().await, ChainKeys::new(""));
        Ok(match finalized_epoch(&mut session, &keys, &market(MARKET), 7).await? {
            FinalizedEpoch::Whole(submissions, faults) => (format!("{submissions:?}"), faults),
            other => (format!("{other:?}"), Vec::new()),
        })
    };
    assert!(Walk::new().await.through(true, prepare, read).await > 60);
}

#[tokio::test]
async fn contract_values_are_written_or_the_key_is_reported_whatever_redis_answers() {
    let tables = MarketTables {
        configured: CHECKSUM.to_owned(),
        submission_window: Some(20),
        day_size: Some("86400".to_owned()),
        quota: Some("10".to_owned()),
        epochs_in_a_day: Some("7200".to_owned()),
    };
    let markets = vec![(market(MARKET), tables)];
    let write = async |chain: &Chain, (): &()| {
        let written = chain.chain.write_tables(&mut chain.session().await, &markets, Some("321")).await;
        Ok((String::new(), written?))
    };
    assert!(Walk::new().await.through(false, async |_| (), write).await > 60);
}

#[tokio::test]
async fn what_a_predecessor_left_is_read_or_the_key_is_reported_whatever_redis_answers() {
    let read = async |chain: &Chain, (): &()| {
        let (left, faults) = chain.chain.left(&mut chain.session().await).await?;
        Ok((format!("{left:?}"), faults))
    };
    assert!(Walk::new().await.through(true, async |_| (), read).await > 60);
}

#[tokio::test]
async fn stored_hashes_are_read_or_the_key_is_reported_whatever_redis_answers() {
    let read = async |chain: &Chain, (): &()| {
        let (hashes, faults) = chain.chain.stored_hashes(&mut chain.session().await, 10..=14).await?;
        Ok((format!("{hashes:?}"), faults))
    };
    assert!(Walk::new().await.through(true, async |_| (), read).await > 60);
}
