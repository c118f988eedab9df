//! Where it stands what following the chain has come to: in Redis, or, for a trial, nowhere but here.

use domain::chain::{Following, Note, Stretch};
use store::{
    Fault, Session, Store, StoreError,
    chain::{ChainStore, Known, MarkedEpochs, Outcome},
};

/// What following the chain has come to, to be read and moved on.
pub(super) enum Book {
    /// Everybody's.
    Redis(Box<InRedis>),
    /// A trial's: it touches nothing of anybody's.
    Trial(Box<Following>),
}

/// The chain's side in Redis, and the way to it.
pub(super) struct InRedis {
    redis: Store,
    chain: ChainStore,
}

/// What was read, and the connection that it is moved on by.
pub(super) struct Page {
    pub(super) known: Known,
    session: Option<Session>,
}

impl Book {
    pub(super) fn in_redis(redis: Store, chain: ChainStore) -> Self {
        Self::Redis(Box::new(InRedis { redis, chain }))
    }

    /// Whether it touches nothing of anybody's.
    pub(super) fn is_trial(&self) -> bool {
        matches!(self, Self::Trial(_))
    }

    /// Whoever has told of which chain it is: what stands there of another one is refused from now on.
    pub(super) fn of_chain(&mut self, of: ChainStore) {
        if let Self::Redis(redis) = self {
            redis.chain = of;
        }
    }

    pub(super) async fn read(&self) -> Result<Page, StoreError> {
        match self {
            Self::Redis(there) => {
                let InRedis { redis, chain } = &**there;
                let mut session = redis.session("follow the chain").await?;
                Ok(Page { known: chain.load(&mut session).await?, session: Some(session) })
            }
            Self::Trial(following) => Ok(Page { known: Known::of((**following).clone()), session: None }),
        }
    }

    /// What another program has marked.
    pub(super) async fn marked(&self, page: &mut Page) -> Result<(MarkedEpochs, Vec<Fault>), StoreError> {
        match (self, &mut page.session) {
            (Self::Redis(there), Some(session)) => there.chain.marked(session).await,
            _ => Ok(Default::default()),
        }
    }

    /// Moves on from what was read, if that still stands; see [`ChainStore::commit`].
    pub(super) async fn write(
        &mut self,
        page: &mut Page,
        after: &Following,
        stretch: Option<&Stretch>,
        notes: &[Note],
    ) -> Result<Outcome, StoreError> {
        match (self, &mut page.session) {
            (Self::Redis(there), Some(session)) => {
                there.chain.commit(session, &page.known, after, stretch, notes).await
            }
            (book, _) => {
                *book = Self::Trial(Box::new(after.clone()));
                Ok(Outcome::Done { faults: Vec::new() })
            }
        }
    }
}
