//! A private server, and an invented chain whose state is kept there.

use std::{collections::BTreeMap, num::NonZeroUsize};

use domain::{
    chain::{BlockRef, ChainEvent, ContractAddress, Hash, MarketEvent},
    collector::{Arrangement, Beginning, Clocks, Followed, Following, Note, Releases, Rules, Stretch},
};
use store_collector::{Basis, ChainKeys, ChainStore, ClosedWindow, Inputs, Known, Outcome};
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

/// The rules of the chain state.
pub struct Chain {
    pub scene: Scene,
    pub store: Store,
    pub chain: ChainStore,
    pub rules: Rules,
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
pub fn blocks(after: &Following, to: u64, branch: u64, events: Vec<(u64, MarketEvent)>) -> Stretch {
    let (first, mut parent) = after.checkpoint.map_or((1, hash(0, 0)), |at| (at.number + 1, at.hash));
    let mut blocks = Vec::new();
    for number in first..=to {
        let block = BlockRef { number, hash: hash(number, branch), parent, time: time_of(number) };
        parent = block.hash;
        blocks.push(block);
    }
    // So late that no submission has expired.
    let now = Clocks { chain: 0, redis: 4_000_000_000 };
    Stretch { blocks, events, now, ..Stretch::default() }
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
        Self { scene, store, chain: store_of(markets, "", IDENTITY, attest), rules }
    }

    pub async fn with(prefix: &str, attest: bool) -> Self {
        let scene = Scene::new().await;
        let store = Store::new(common::settings(scene.redis.addr())).expect("settings");
        let rules = Rules { followed: Followed { attest }, ..rules() };
        Self { scene, store, chain: chain_store(prefix, IDENTITY, attest), rules }
    }

    pub async fn session(&self) -> Session {
        self.store.session(store_redis::Operation::new("test", "test")).await.expect("a session")
    }

    pub async fn load(&self) -> Known {
        self.chain.load(&mut self.session().await).await.expect("loaded")
    }

    /// Writes a change of the state, and checks that it is read as it was written.
    pub async fn change<T>(
        &self,
        change: impl FnOnce(&mut Following) -> (T, Option<Stretch>, Vec<Note>),
    ) -> T {
        let known = self.load().await;
        let mut after = known.following.clone();
        let (told, stretch, notes) = change(&mut after);
        let outcome = self.commit(&known, &after, stretch.as_ref(), &notes).await;
        assert_eq!(outcome.expect("written"), Outcome::Done { faults: vec![] });
        assert_eq!(self.load().await.following, after);
        told
    }

    pub async fn commit(
        &self,
        known: &Known,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: &[Note],
    ) -> Result<Outcome, StoreError> {
        self.chain.commit(&mut self.session().await, known, after, stretch, notes).await
    }

    /// Accepts the blocks up to this one, for the markets of this tracker and those that others follow.
    pub async fn accept(&self, to: u64, branch: u64, events: Vec<(u64, MarketEvent)>) -> Vec<Note> {
        self.change(|all| {
            let stretch = blocks(all, to, branch, events);
            for market in all.newcomers().collect::<Vec<_>>() {
                all.take_up(market, &Beginning::default(), &Releases::new(), stretch.now, &self.rules);
            }
            let notes = all.accept(&stretch, &self.rules).expect("they stand on the last one");
            (notes.clone(), Some(stretch), notes)
        })
        .await
    }

    pub async fn undo(&self, to: u64) -> Vec<Note> {
        self.change(|all| {
            let notes = all.undo_to(to, &self.rules).expect("not too deep");
            (notes.clone(), None, notes)
        })
        .await
    }

    pub async fn closed(&self, of: &str) -> Vec<ClosedWindow> {
        self.chain.closed(&mut self.session().await, market(of)).await.expect("read").0
    }

    pub async fn inputs(&self, closed: &ClosedWindow) -> Inputs {
        self.chain.inputs(&mut self.session().await, closed).await.expect("read")
    }

    pub async fn hand_over(
        &self,
        closed: &ClosedWindow,
        basis: &Basis,
        arrangement: &Arrangement,
    ) -> Result<Outcome, StoreError> {
        self.chain.hand_over(&mut self.session().await, closed, basis, arrangement).await
    }

    /// Hands over all closed windows in order. Reads them anew each time, since the end of one epoch changes what the
    /// next write is compared with.
    pub async fn hand_over_all(&self) {
        for of in [MARKET, OTHER] {
            while let Some(closed) = self.closed(of).await.into_iter().next() {
                let inputs = self.inputs(&closed).await;
                let (basis, arranged) = (inputs.basis.clone(), arranged(&closed, inputs, 2));
                let outcome = self.hand_over(&closed, &basis, &arranged).await.expect("handed over");
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

pub fn arranged(closed: &ClosedWindow, inputs: Inputs, size: usize) -> Arrangement {
    let size = NonZeroUsize::new(size).expect("not 0");
    Arrangement::of(inputs.submissions, &closed.market.lower(), closed.epoch, size)
}
