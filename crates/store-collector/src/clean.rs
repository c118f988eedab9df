//! Clean-up: removes the markers of finished epochs and the submissions of epochs long past, and nothing else.

use std::collections::{BTreeSet, HashMap};

use domain::chain::{ContractAddress, EpochSet};

use crate::{
    ChainStore,
    keys::{ChainKeys, DETAILS_TTL, EPOCHS_KEPT, SUBMITTED},
    operations,
    values::parse,
};
use store_redis::{Batch, Fault, Replies, Session, StoreError};

/// The result of one slice of the clean-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the clean-up continues at its cursor"]
pub struct Cleaned {
    /// The cursor of the next slice; 0 at the end.
    pub cursor: u64,
    /// How many markers were removed.
    pub markers: u64,
    /// How many sets of submissions were removed.
    pub submissions: u64,
    /// Keys that could not be read or written.
    pub faults: Vec<Fault>,
}

/// What a command of the clean-up removes.
enum Removal {
    Markers,
    Submissions,
    Nothing,
}

/// The state of a market, as far as the clean-up needs it.
struct MarketState {
    done: EpochSet,
    current: Option<u64>,
    /// Epochs with a waiting, open or closed window.
    windows: BTreeSet<u64>,
}

impl MarketState {
    fn needs_no_submissions(&self, epoch: u64) -> bool {
        let is_old = self.current.is_some_and(|current| current.saturating_sub(epoch) > EPOCHS_KEPT);
        is_old && !self.windows.contains(&epoch)
    }
}

impl ChainStore {
    /// Cleans up a slice of about `slice` keys, beginning with cursor 0: markers of finished epochs, and submissions of
    /// epochs that are long past and have no window. Only followed markets are cleaned. A shadow removes no
    /// submissions, since other programs still read them. Two round trips.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or when the chain state can't be read or belongs to another
    /// chain or contract.
    pub async fn clean(
        &self,
        session: &mut Session,
        cursor: u64,
        slice: usize,
    ) -> Result<Cleaned, StoreError> {
        let (operation, keys, begins) = (operations::CLEAN_UP, &self.keys, cursor == 0);
        let batch = self.ask_to_clean(cursor, slice);
        let mut replies = Replies::new(operation, session.run(operation, SUBMITTED, batch).await?);
        let identity = keys.identity();
        self.check_identity(operation, replies.required::<Option<String>>(&identity)?.as_deref())?;
        let mut removals = Removals::default();
        let mut states = HashMap::new();
        for market in &self.markets {
            let state = self.take_state(&mut replies, market)?;
            // Markers are few, so the first slice takes all of them.
            if begins {
                let marked = replies.take(&keys.marked(market))?.unwrap_or_default();
                removals.add_markers(keys, market, &state, marked);
            }
            states.insert(market.lower(), state);
        }
        let mut cleaned = Cleaned::default();
        if !keys.is_shadow() {
            let (next, found): (u64, Vec<Vec<u8>>) = replies.required(SUBMITTED)?;
            cleaned.cursor = next;
            // SCAN finds every key with the prefix; one that is not text is not a collector's.
            for key in found.into_iter().filter_map(|key| String::from_utf8(key).ok()) {
                let of = ChainKeys::read_submitted(&key);
                let state = of.and_then(|(market, epoch)| Some((states.get(market)?, epoch)));
                if state.is_some_and(|(state, epoch)| state.needs_no_submissions(epoch)) {
                    // UNLINK frees memory in the background: a set may be large.
                    removals.batch.cmd("UNLINK", &key);
                    removals.keys.push((key, Removal::Submissions));
                }
            }
        }
        cleaned.faults = replies.into_faults();
        if removals.keys.is_empty() {
            return Ok(cleaned);
        }
        let mut replies = Replies::new(operation, session.run(operation, SUBMITTED, removals.batch).await?);
        for (key, removal) in &removals.keys {
            let removed: u64 = replies.take(key)?.unwrap_or_default();
            match removal {
                Removal::Markers => cleaned.markers += removed,
                Removal::Submissions => cleaned.submissions += removed,
                Removal::Nothing => {}
            }
        }
        cleaned.faults.extend(replies.into_faults());
        Ok(cleaned)
    }

    fn ask_to_clean(&self, cursor: u64, slice: usize) -> Batch {
        let (keys, begins) = (&self.keys, cursor == 0);
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.cmd("GET", keys.identity());
            // One transaction: an epoch leaves `windows` and joins `done` in one step, and must be seen in one of
            // them.
            for market in &self.markets {
                batch.cmd("HKEYS", keys.windows(market));
                batch.cmd("HMGET", keys.market(market)).arg(&["done", "current"]);
                if begins {
                    batch.cmd("SMEMBERS", keys.marked(market));
                }
            }
        });
        if !keys.is_shadow() {
            let scan = batch.keyless("SCAN").arg(cursor);
            scan.arg("MATCH").arg(format!("{SUBMITTED}*")).arg("COUNT").arg(slice).arg("TYPE").arg("set");
        }
        batch
    }

    fn take_state(&self, replies: &mut Replies, market: &ContractAddress) -> Result<MarketState, StoreError> {
        let windows = replies.required(&self.keys.windows(market))?;
        let key = self.keys.market(market);
        let [done, current] = replies.required::<[Option<String>; 2]>(&key)?;
        let done = parse::<EpochSet>(&key, done.as_deref())?.unwrap_or_default();
        Ok(MarketState { done, current: parse(&key, current.as_deref())?, windows })
    }
}

/// The removals: the commands, and for each command its key and what it removes.
#[derive(Default)]
struct Removals {
    batch: Batch,
    keys: Vec<(String, Removal)>,
}

impl Removals {
    /// Removes the markers of finished epochs.
    fn add_markers(
        &mut self,
        keys: &ChainKeys,
        market: &ContractAddress,
        state: &MarketState,
        mut marked: Vec<Vec<u8>>,
    ) {
        let epoch = |member: &[u8]| std::str::from_utf8(member).ok()?.parse::<u64>().ok();
        marked.retain(|member| epoch(member).is_some_and(|epoch| state.done.contains(epoch)));
        // Our hand-over gives the details a TTL; another program's may not have.
        for details in marked.iter().filter_map(|member| Some(keys.details(market, epoch(member)?))) {
            self.batch.cmd("EXPIRE", &details).arg(DETAILS_TTL);
            self.keys.push((details, Removal::Nothing));
        }
        if !marked.is_empty() {
            let key = keys.marked(market);
            self.batch.cmd("SREM", &key).arg(marked);
            self.keys.push((key, Removal::Markers));
        }
    }
}
