//! Removal of a whole index, by the steps of its retention. Bounded steps: a large index never blocks Redis.

use store_redis::{Fault, Session, StoreError};

use super::{Index, IndexPart, round_trip::RoundTrip};
use crate::{keys::INDEX, operations};

/// How many entities one step removes.
const SLICE: usize = 100;
/// The most faults that are reported.
const MOST_FAULTS: usize = 20;
/// After any time that an entity can have.
const ALL: u64 = u64::MAX;

impl Index {
    /// Removes every entity, and then the keys without an id; returns how many entities there were, and the keys that could not be
    /// written. Keys of an entity that the index no longer finds expire.
    ///
    /// # Errors
    /// [`StoreError`] when Redis as a whole fails. The rest can be removed again.
    pub async fn remove(&self, session: &mut Session) -> Result<(u64, Vec<Fault>), StoreError> {
        let (mut removed, mut faults) = (0, Vec::new());
        for part in IndexPart::ALL {
            loop {
                let (more, new) = self.forget(session, part, ALL, SLICE).await?;
                note(&mut faults, new);
                removed += more;
                if more == 0 {
                    break;
                }
            }
        }
        let mut cursor = 0;
        loop {
            let (next, more, new) = self.forget_validators(session, cursor, ALL, SLICE).await?;
            note(&mut faults, new);
            removed += more;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // Only what is there is deleted: the rights for an index that this configuration does not have are none.
        let whole = INDEX.iter().filter(|family| family.ids() == 0);
        let mut left: Vec<String> = whole.map(|family| family.key(self.keys.space(), &[])).collect();
        let fill = |round: &mut RoundTrip| {
            for key in &left {
                round.cmd("EXISTS", key.clone());
            }
        };
        let mut answers = self.run(session, operations::PRUNE_INDEX, fill).await?;
        let mut there = Vec::with_capacity(left.len());
        for _ in &left {
            there.push(answers.take::<bool>()? == Some(true));
        }
        note(&mut faults, answers.finish()?);
        let mut there = there.into_iter();
        left.retain(|_| there.next() == Some(true));
        let fill = |round: &mut RoundTrip| {
            for key in &left {
                round.cmd("UNLINK", key.clone());
            }
        };
        note(&mut faults, self.run(session, operations::PRUNE_INDEX, fill).await?.finish()?);
        Ok((removed, faults))
    }
}

fn note(faults: &mut Vec<Fault>, new: Vec<Fault>) {
    faults.extend(new);
    faults.truncate(MOST_FAULTS);
}
