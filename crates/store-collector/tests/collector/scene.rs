//! A private server, and an invented chain whose state is kept there.

use std::{collections::BTreeMap, num::NonZeroUsize};

use domain::{
    chain::{BlockRef, ChainEvent, ContractAddress, Hash, MarketEvent, Window},
    collector::{
        Arrangement, ChainState, Clocks, Effect, Followed, Note, Releases, RewardRules, Rules, Segment,
        TakeOver, Transition,
    },
};
use store_collector::{Basis, ChainKeys, ChainStore, Inputs, MarketSnapshot, Outcome, Snapshot};
use store_redis::{Session, Store, StoreError};
use testkit::contents::{Contents, Dump, contents, dumps};

use crate::common::{self, Scene};

/// The market as the contract's keys spell it, and as JSON and tables do.
pub const MARKET: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
pub const CHECKSUM: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
pub const OTHER: &str = "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359";
pub const IDENTITY: &str = "chain 1 contract 0xab";
/// How long a window is, in seconds; a block takes two.
pub const LENGTH: u64 = 20;

/// A closed window, as it was read.
#[derive(Clone, Debug)]
pub struct Closed {
    pub market: ContractAddress,
    pub epoch: u64,
    pub window: Window,
    pub snapshot: MarketSnapshot,
}

/// The rules of the chain state.
pub struct Chain {
    pub scene: Scene,
    pub store: Store,
    pub chain: ChainStore,
    pub rules: Rules,
    /// What the relayer is told of rewards, if it is told anything.
    pub told: Option<RewardRules>,
}

pub fn market(text: &str) -> ContractAddress {
    text.parse().expect("an address")
}

pub fn chain_store(prefix: &str, identity: &str, attest: bool) -> ChainStore {
    store_of(&[MARKET, OTHER], prefix, identity, attest)
}

pub fn store_of(markets: &[&str], prefix: &str, identity: &str, attest: bool) -> ChainStore {
    let markets = markets.iter().map(|of| market(of)).collect();
    ChainStore::new(ChainKeys::new(prefix), identity.to_owned(), markets, attest)
}

pub fn rules() -> Rules {
    Rules {
        windows: BTreeMap::from([(market(MARKET), LENGTH), (market(OTHER), 2 * LENGTH)]),
        day_lengths: BTreeMap::new(),
        past_days: 5,
        followed: Followed::default(),
        max_windows: 3,
        max_reorg_depth: 12,
        inputs_live: 1_200,
        silence: 30,
        block_time: 2.0,
    }
}

pub fn hash(number: u64, branch: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..16].copy_from_slice(&branch.to_be_bytes());
    Hash(bytes)
}

pub fn time_of(block: u64) -> u64 {
    4_000_000_000 + 2 * block
}

fn event(block: u64, of: &str, event: ChainEvent) -> (u64, MarketEvent) {
    (block, MarketEvent { market: market(of), log_index: 0, event })
}

pub fn released(of: &str, epoch: u64, block: u64) -> (u64, MarketEvent) {
    event(block, of, ChainEvent::EpochReleased { epoch, begin: 0, end: 0, time: time_of(block) })
}

pub fn day(of: &str, day: u64, block: u64) -> (u64, MarketEvent) {
    event(block, of, ChainEvent::DayStarted { day, time: time_of(block) })
}

pub fn submitted(of: &str, epoch: u64, cid: &str, block: u64) -> (u64, MarketEvent) {
    let batch_cid = cid.to_owned();
    event(block, of, ChainEvent::SnapshotBatchSubmitted { epoch, batch_cid, time: time_of(block) })
}

/// The blocks after the last accepted one (from 1 if there is none), up to this number, on this branch.
pub fn blocks(after: &ChainState, to: u64, branch: u64, events: Vec<(u64, MarketEvent)>) -> Segment {
    let (first, mut parent) = after.checkpoint.map_or((1, hash(0, 0)), |at| (at.number + 1, at.hash));
    let mut blocks = Vec::new();
    for number in first..=to {
        let block = BlockRef { number, hash: hash(number, branch), parent, time: time_of(number) };
        parent = block.hash;
        blocks.push(block);
    }
    // So late that no submission has expired.
    let now = Clocks { chain: 0, redis: 4_000_000_000 };
    Segment { blocks, events, now, ..Segment::default() }
}

impl Chain {
    pub async fn new() -> Self {
        Self::with("", false).await
    }

    /// Another tracker on the same server, with these markets.
    pub async fn beside(&self, markets: &[&str], attest: bool) -> Self {
        let scene = self.scene.again().await;
        let store = Store::new(common::settings(scene.redis.addr())).expect("settings");
        let rules = Rules { followed: Followed { attest }, ..rules() };
        Self { scene, store, chain: store_of(markets, "", IDENTITY, attest), rules, told: None }
    }

    pub async fn with(prefix: &str, attest: bool) -> Self {
        let scene = Scene::new().await;
        let store = Store::new(common::settings(scene.redis.addr())).expect("settings");
        let rules = Rules { followed: Followed { attest }, ..rules() };
        Self { scene, store, chain: chain_store(prefix, IDENTITY, attest), rules, told: None }
    }

    pub async fn session(&self) -> Session {
        self.store.session(store_redis::Operation::new("test", "test")).await.expect("a session")
    }

    pub async fn load(&self) -> Snapshot {
        self.chain.load(&mut self.session().await).await.expect("loaded")
    }

    /// Writes a transition, and checks that the state is read as it was written.
    pub async fn change(&self, change: impl FnOnce(ChainState) -> Transition) -> Vec<Note> {
        let known = self.load().await;
        let after = change(known.state);
        let outcome = self.commit(&known.basis, &after.effects).await;
        assert_eq!(outcome.expect("written"), Outcome::Done { faults: vec![] });
        assert_eq!(self.load().await.state, after.state);
        after.notes
    }

    pub async fn commit(&self, basis: &Basis, effects: &[Effect]) -> Result<Outcome, StoreError> {
        self.chain.commit(&mut self.session().await, basis, effects, None).await
    }

    /// Accepts the blocks up to this one, for the markets of this tracker and those that others follow.
    pub async fn accept(&self, to: u64, branch: u64, events: Vec<(u64, MarketEvent)>) -> Vec<Note> {
        self.change(|all| {
            let segment = blocks(&all, to, branch, events);
            let newcomers: BTreeMap<_, _> = all.newcomers().map(|it| (it, TakeOver::default())).collect();
            let all = if newcomers.is_empty() {
                Transition { state: all, ..Transition::default() }
            } else {
                all.take_over(&newcomers, &Releases::new(), segment.now, &self.rules)
            };
            all.then(|all| all.apply(&segment, &self.rules)).expect("they stand on the last one")
        })
        .await
    }

    pub async fn undo(&self, to: u64) -> Vec<Note> {
        self.change(|all| all.revert(to, 4_000_000_000, &self.rules).expect("not too deep")).await
    }

    pub async fn closed(&self, of: &str) -> Vec<Closed> {
        let market = market(of);
        let snapshot = self.chain.market(&mut self.session().await, market).await.expect("read");
        let closed = |(epoch, window)| Closed { market, epoch, window, snapshot: snapshot.clone() };
        snapshot.known.closed().into_iter().map(closed).collect()
    }

    pub async fn inputs(&self, closed: &Closed) -> Inputs {
        let Closed { market, epoch, window, .. } = closed;
        self.chain.inputs(&mut self.session().await, *market, *epoch, window).await.expect("read")
    }

    pub async fn hand_over(&self, closed: &Closed, arrangement: &Arrangement) -> Result<Outcome, StoreError> {
        self.hand_over_by(&mut self.session().await, closed, arrangement).await
    }

    pub async fn hand_over_by(
        &self,
        session: &mut Session,
        closed: &Closed,
        arrangement: &Arrangement,
    ) -> Result<Outcome, StoreError> {
        let Closed { market, epoch, window, snapshot } = closed;
        let submitted_at = self.inputs(closed).await.submitted_at;
        let effects =
            snapshot.known.hand_over(*market, *epoch, arrangement, submitted_at, self.told.as_ref());
        self.chain.commit(session, &snapshot.basis, &effects, Some(window.expires)).await
    }

    pub async fn give_up(&self, closed: &Closed) -> Result<Outcome, StoreError> {
        let effects = closed.snapshot.known.give_up(closed.market, closed.epoch);
        self.commit(&closed.snapshot.basis, &effects).await
    }

    /// Hands over all closed windows in order. Reads them anew each time, since the end of one epoch changes what the
    /// next write is compared with.
    pub async fn hand_over_all(&self) {
        for of in [MARKET, OTHER] {
            while let Some(closed) = self.closed(of).await.into_iter().next() {
                let arranged = arranged(&closed, self.inputs(&closed).await, 2);
                let outcome = self.hand_over(&closed, &arranged).await.expect("handed over");
                assert_eq!(outcome, Outcome::Done { faults: vec![] });
            }
        }
    }

    /// Writes submissions at a block as a collector does, each a project and a slot.
    pub async fn submit(&mut self, of: &str, epoch: u64, block: u64, branch: u64, what: &[(&str, u64)]) {
        let key = collected(of, epoch, block, branch);
        for (project, slot) in what {
            self.scene.run::<()>("SADD", &[key.clone(), format!("{of}.{epoch}.{project}.{slot}")]).await;
        }
    }

    /// Everything in Redis, byte by byte.
    pub async fn dump(&mut self) -> BTreeMap<String, Dump> {
        dumps(&mut self.scene.connection).await
    }

    /// Everything in Redis as readers see it.
    pub async fn contents(&mut self) -> Contents {
        contents(&mut self.scene.connection, |_| true).await
    }
}

/// The key of the submissions of an epoch at a block.
pub fn collected(of: &str, epoch: u64, block: u64, branch: u64) -> String {
    format!("SnapshotCollector.{of}.{epoch}.{}", hash(block, branch))
}

pub fn arranged(closed: &Closed, inputs: Inputs, size: usize) -> Arrangement {
    let size = NonZeroUsize::new(size).expect("not 0");
    Arrangement::of(inputs.submissions, &closed.market.lower(), closed.epoch, size)
}
