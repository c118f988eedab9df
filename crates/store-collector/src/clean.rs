//! Clean-up: removes the markers of finished epochs and the submissions of epochs long past, and nothing else. The submissions are
//! found by the hashes that the hand-over has left of each epoch, so no key is searched.

use std::collections::BTreeSet;

use domain::chain::{ContractAddress, EpochSet};

use crate::{
    ChainStore,
    keys::{ChainKeys, DETAILS_TTL, EPOCHS_KEPT},
    operations,
    values::parse,
};
use store_redis::{Batch, ErrorKind, Fault, Replies, Session, StoreError};

/// The most keys that one command removes.
const KEYS_A_COMMAND: usize = 500;
/// The most ended epochs of a market whose submissions are kept, whatever its current epoch is.
const MOST_ENDED: usize = 1_000;

/// The result of one clean-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// How many markers were removed.
    pub markers: u64,
    /// How many sets of submissions were removed.
    pub submissions: u64,
    /// Keys that could not be read or written.
    pub faults: Vec<Fault>,
}

/// What a command of the clean-up does.
enum Removal {
    /// It removes markers.
    Markers,
    /// It removes submissions of this epoch.
    Submissions(ContractAddress, u64),
    /// It removes nothing.
    Nothing,
}

impl ChainStore {
    /// Cleans up some markets: markers of finished epochs, and submissions of epochs that are long past. A shadow removes no
    /// submissions, since other programs still read them. At most three round trips.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or when the chain state can't be read or belongs to another
    /// chain or contract.
    pub async fn clean(
        &self,
        session: &mut Session,
        markets: &[ContractAddress],
    ) -> Result<Cleaned, StoreError> {
        let (operation, keys, route) = (operations::CLEAN_UP, &self.keys, self.keys.identity());
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.cmd("GET", &route);
            for market in markets {
                batch.cmd("HMGET", keys.market(market)).arg(&["done", "current"]);
                batch.cmd("SMEMBERS", keys.marked(market));
                batch.cmd("HGETALL", keys.ended(market));
            }
        });
        let mut replies = Replies::new(operation, session.run(operation, &route, batch).await?);
        self.check_identity(operation, replies.required::<Option<String>>(&route)?.as_deref())?;
        let mut removals = self.take_removals(&mut replies, markets)?;
        let mut cleaned = Cleaned { faults: replies.into_faults(), ..Cleaned::default() };
        let answers = match removals.keys.is_empty() {
            true => Vec::new(),
            false => session.run(operation, &route, removals.batch).await?,
        };
        let mut replies = Replies::new(operation, answers);
        for (key, removal) in removals.keys {
            let removed: Option<u64> = replies.take(&key)?;
            match removal {
                Removal::Markers => cleaned.markers += removed.unwrap_or_default(),
                Removal::Submissions(market, epoch) if removed.is_none() => {
                    // What was refused is removed by the next clean-up, which has to find it.
                    removals.ended.remove(&(market, epoch));
                }
                Removal::Submissions(..) => cleaned.submissions += removed.unwrap_or_default(),
                Removal::Nothing => {}
            }
        }
        cleaned.faults.extend(replies.into_faults());
        if removals.ended.is_empty() {
            return Ok(cleaned);
        }
        let mut batch = Batch::new();
        for (market, epoch) in &removals.ended {
            batch.cmd("HDEL", keys.ended(market)).arg(epoch);
        }
        let mut replies = Replies::new(operation, session.run(operation, &route, batch).await?);
        for (market, _) in &removals.ended {
            replies.take::<u64>(&keys.ended(market))?;
        }
        cleaned.faults.extend(replies.into_faults());
        Ok(cleaned)
    }

    /// What is to be removed of some markets.
    fn take_removals(
        &self,
        replies: &mut Replies,
        markets: &[ContractAddress],
    ) -> Result<Removals, StoreError> {
        let (keys, mut removals) = (&self.keys, Removals::default());
        for market in markets {
            let key = keys.market(market);
            let [done, current] = replies.required::<[Option<String>; 2]>(&key)?;
            let done = parse::<EpochSet>(&key, done.as_deref())?.unwrap_or_default();
            let current: Option<u64> = parse(&key, current.as_deref())?;
            let marked = replies.take(&keys.marked(market))?.unwrap_or_default();
            removals.add_markers(keys, market, &done, marked);
            let ended = keys.ended(market);
            let all: Vec<(u64, String)> = replies.take(&ended)?.unwrap_or_default();
            for (epoch, hashes) in old_ones(all, current) {
                // Its sets expire by themselves.
                let hashes: Vec<String> = serde_json::from_str(&hashes).unwrap_or_else(|error| {
                    let detail = format!("the hashes of epoch {epoch} can't be read: {error}");
                    replies.fault(&ended, ErrorKind::Malformed, detail);
                    Vec::new()
                });
                removals.add_submissions(*market, epoch, &hashes, keys.is_shadow());
            }
        }
        Ok(removals)
    }
}

/// The ended epochs that are long past, with what is known of them.
fn old_ones(mut ended: Vec<(u64, String)>, current: Option<u64>) -> impl Iterator<Item = (u64, String)> {
    ended.sort_unstable();
    let surplus = ended.len().saturating_sub(MOST_ENDED);
    let is_old = move |epoch: u64| current.is_some_and(|at| at.saturating_sub(epoch) > EPOCHS_KEPT);
    ended
        .into_iter()
        .enumerate()
        .filter(move |(at, (epoch, _))| *at < surplus || is_old(*epoch))
        .map(|(_, it)| it)
}

/// The removals: the commands, and for each command its key and what it removes.
#[derive(Default)]
struct Removals {
    batch: Batch,
    keys: Vec<(String, Removal)>,
    /// The epochs that are forgotten once their submissions are removed.
    ended: BTreeSet<(ContractAddress, u64)>,
}

impl Removals {
    /// Removes the markers of finished epochs.
    fn add_markers(
        &mut self,
        keys: &ChainKeys,
        market: &ContractAddress,
        done: &EpochSet,
        mut marked: Vec<Vec<u8>>,
    ) {
        let epoch = |member: &[u8]| std::str::from_utf8(member).ok()?.parse::<u64>().ok();
        marked.retain(|member| epoch(member).is_some_and(|epoch| done.contains(epoch)));
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

    /// Removes the submissions of an epoch at these blocks.
    fn add_submissions(&mut self, market: ContractAddress, epoch: u64, hashes: &[String], is_shadow: bool) {
        let sets: Vec<String> =
            hashes.iter().map(|hash| ChainKeys::submitted(&market, epoch, hash)).collect();
        // A shadow removes no submissions, since other programs still read them.
        let sets = if is_shadow { &[][..] } else { &sets[..] };
        for sets in sets.chunks(KEYS_A_COMMAND) {
            // UNLINK frees memory in the background: a set may be large.
            self.batch.cmd("UNLINK", &sets[0]).arg(&sets[1..]);
            self.keys.push((sets[0].clone(), Removal::Submissions(market, epoch)));
        }
        self.ended.insert((market, epoch));
    }
}
