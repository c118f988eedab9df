//! Clean-up: markers of epochs that are over, and what was submitted for epochs long past. Nothing else is deleted.

use std::collections::{BTreeSet, HashMap};

use domain::chain::{ContractAddress, EpochSet};

use crate::{
    ChainStore,
    keys::{ChainKeys, SUBMITTED},
    values::{DETAILS_TTL, parse},
};
use store_redis::{Batch, Fault, Replies, Session, StoreError};

/// What was submitted for an epoch stays until the market's current one is further ahead than this.
const EPOCHS_KEPT: u64 = 10;

/// What one slice of the clean-up came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it goes on at its cursor"]
pub struct Cleaned {
    /// The cursor to go on with; 0 at the end.
    pub cursor: u64,
    /// How many markers went.
    pub markers: u64,
    /// How many sets of submissions went.
    pub submissions: u64,
    /// Keys that could not be read or written.
    pub faults: Vec<Fault>,
}

/// What a command removes.
enum Went {
    Markers,
    Submissions,
    Nothing,
}

/// What is known of a market.
struct Standing {
    done: EpochSet,
    current: Option<u64>,
    /// Epochs whose windows wait, are open, or whose batches are to be prepared.
    windows: BTreeSet<u64>,
}

impl Standing {
    fn needs_no_submissions(&self, epoch: u64) -> bool {
        let is_old = self.current.is_some_and(|current| current.saturating_sub(epoch) > EPOCHS_KEPT);
        is_old && !self.windows.contains(&epoch)
    }
}

impl ChainStore {
    /// Cleans up a slice of about so many keys, beginning with cursor 0: markers of epochs that are over, and sets of
    /// submissions of epochs that are long past and have no window any more, of the followed markets alone. A shadow leaves
    /// the sets to others. Two round trips.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, when something of ours can't be read, or when it is of another
    /// chain or contract.
    pub async fn clean(
        &self,
        session: &mut Session,
        cursor: u64,
        slice: usize,
    ) -> Result<Cleaned, StoreError> {
        let (operation, keys, begins) = ("clean up", &self.keys, cursor == 0);
        let batch = self.ask_to_clean(cursor, slice);
        let mut replies = Replies::new(operation, session.run(operation, SUBMITTED, batch).await?);
        let identity = keys.identity();
        self.check_identity(operation, replies.own::<Option<String>>(&identity)?.as_deref())?;
        let mut removals = Removals::default();
        let mut standings = HashMap::new();
        for market in &self.markets {
            let standing = self.take_standing(&mut replies, market)?;
            if begins {
                let marked = replies.take(&keys.marked(market))?.unwrap_or_default();
                removals.add_markers(keys, market, &standing, marked);
            }
            standings.insert(market.lower(), standing);
        }
        let mut cleaned = Cleaned::default();
        if !keys.is_shadow() {
            let (next, found): (u64, Vec<Vec<u8>>) = replies.own(SUBMITTED)?;
            cleaned.cursor = next;
            for key in found.into_iter().filter_map(|key| String::from_utf8(key).ok()) {
                let of = ChainKeys::read_submitted(&key);
                let standing = of.and_then(|(market, epoch)| Some((standings.get(market)?, epoch)));
                if standing.is_some_and(|(standing, epoch)| standing.needs_no_submissions(epoch)) {
                    removals.batch.cmd("UNLINK", &key);
                    removals.keys.push((key, Went::Submissions));
                }
            }
        }
        cleaned.faults = replies.into_faults();
        if removals.keys.is_empty() {
            return Ok(cleaned);
        }
        let mut replies = Replies::new(operation, session.run(operation, SUBMITTED, removals.batch).await?);
        for (key, went) in &removals.keys {
            let removed: u64 = replies.take(key)?.unwrap_or_default();
            match went {
                Went::Markers => cleaned.markers += removed,
                Went::Submissions => cleaned.submissions += removed,
                Went::Nothing => {}
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

    fn take_standing(&self, replies: &mut Replies, market: &ContractAddress) -> Result<Standing, StoreError> {
        let windows = replies.own(&self.keys.windows(market))?;
        let key = self.keys.market(market);
        let [done, current] = replies.own::<[Option<String>; 2]>(&key)?;
        let done = parse::<EpochSet>(&key, done.as_deref())?.unwrap_or_default();
        Ok(Standing { done, current: parse(&key, current.as_deref())?, windows })
    }
}

/// What is removed: the commands, and for each the key and what goes with it.
#[derive(Default)]
struct Removals {
    batch: Batch,
    keys: Vec<(String, Went)>,
}

impl Removals {
    /// Removes the markers of epochs that are over.
    fn add_markers(
        &mut self,
        keys: &ChainKeys,
        market: &ContractAddress,
        standing: &Standing,
        mut marked: Vec<Vec<u8>>,
    ) {
        let epoch = |member: &[u8]| std::str::from_utf8(member).ok()?.parse::<u64>().ok();
        marked.retain(|member| epoch(member).is_some_and(|epoch| standing.done.contains(epoch)));
        // The end of an epoch gives its details a TTL, but not where another program has handed it over.
        for details in marked.iter().filter_map(|member| Some(keys.details(market, epoch(member)?))) {
            self.batch.cmd("EXPIRE", &details).arg(DETAILS_TTL);
            self.keys.push((details, Went::Nothing));
        }
        if !marked.is_empty() {
            let key = keys.marked(market);
            self.batch.cmd("SREM", &key).arg(marked);
            self.keys.push((key, Went::Markers));
        }
    }
}
