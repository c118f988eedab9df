//! Epochs that only the names of their keys show.
//!
//! A producer may write an epoch's info, state or batches and neither a timeline nor `epochs:active`. Only a scan of all keys finds
//! such an epoch. It reads names and the ledger, and writes nothing: the passes take up what it finds.

use std::collections::{BTreeSet, HashMap};

use domain::EpochId;
use store_redis::{Batch, Fault, Replies, Session, StoreError};

use crate::{
    keys::{MarketKeys, epoch_of},
    operations,
};

/// A pattern for `SCAN` that matches every name that [`EpochNames`] reads, and few others: names with `:epoch:` or `:batch:`.
pub const EPOCH_KEYS: &str = "*:[eb][pa][ot]ch:*";

/// Reads the names of epochs' keys.
#[derive(Clone, Debug, Default)]
pub struct EpochNames {
    /// The part before the name of a family (`P:M`), and the position of its market.
    spaces: HashMap<String, usize>,
}

impl EpochNames {
    /// A reader for the keys of these markets under all their spellings.
    pub fn of<'a>(markets: impl IntoIterator<Item = &'a MarketKeys>) -> Self {
        let spaces = markets.into_iter().enumerate().flat_map(|(at, keys)| {
            keys.inputs().map(|input| (input.space().to_owned(), at)).collect::<Vec<_>>()
        });
        Self { spaces: spaces.collect() }
    }

    /// The position of the market, and the epoch id in the name of a key, in the form in which the key has it; `None` for any other
    /// key.
    #[must_use]
    pub fn read<'a>(&self, key: &'a [u8]) -> Option<(usize, &'a str)> {
        let key = std::str::from_utf8(key).ok()?;
        let spaces = key.match_indices(':').filter_map(|(at, _)| Some((*self.spaces.get(&key[..at])?, at)));
        // The names of markets may hold colons, so one may be the beginning of another.
        let mut read = spaces.filter_map(|(market, at)| Some((market, epoch_of(&key[at + 1..])?)));
        read.find(|(_, epoch)| EpochId::parse(epoch).is_ok())
    }
}

/// The epochs that the ledgers of their markets do not have, in the form and order in which they are given: one round trip. Unsealed
/// ones in another form than the normal one are among them: no member that passes read may have this form, and the epoch's keys of
/// this form would not be read. None for a ledger that can't be read, which is a fault.
///
/// # Errors
/// [`StoreError`] when Redis as a whole fails.
pub async fn unknown_epochs(
    session: &mut Session,
    asked: &[(&MarketKeys, BTreeSet<String>)],
) -> Result<(Vec<BTreeSet<String>>, Vec<Fault>), StoreError> {
    let mut batch = Batch::new();
    for (keys, names) in asked {
        let ids: Vec<EpochId> = epochs(names).map(|(epoch, _)| epoch).collect();
        let ids: Vec<&str> = ids.iter().map(EpochId::as_str).collect();
        // Open before sealed: an epoch that is sealed in between is in the second answer.
        batch.cmd("HMGET", keys.open()).arg(&ids);
        batch.cmd("HMGET", keys.sealed()).arg(&ids);
        batch.cmd("HGET", keys.meta()).arg("floor");
    }
    let operation = operations::FIND_EPOCHS;
    let mut replies = Replies::new(operation, session.run(operation, "the ledgers", batch).await?);
    let mut unknown = Vec::with_capacity(asked.len());
    for (keys, names) in asked {
        let open = replies.take::<Vec<Option<Vec<u8>>>>(&keys.open())?;
        let sealed = replies.take::<Vec<Option<Vec<u8>>>>(&keys.sealed())?;
        let floor = replies.take::<Option<String>>(&keys.meta())?;
        let (Some(open), Some(sealed), Some(floor)) = (open, sealed, floor) else {
            unknown.push(BTreeSet::new());
            continue;
        };
        let floor = floor.and_then(|floor| EpochId::parse(&floor).ok());
        let entries = open.into_iter().zip(sealed);
        let mut new = BTreeSet::new();
        for ((epoch, name), (open, sealed)) in epochs(names).zip(entries) {
            let is_unread = match open {
                // Sealed in between, if it is in both.
                Some(_) => sealed.is_none() && name != epoch.as_str(),
                None => sealed.is_none() && floor.as_ref().is_none_or(|floor| epoch > *floor),
            };
            if is_unread {
                new.insert(name.clone());
            }
        }
        unknown.push(new);
    }
    Ok((unknown, replies.into_faults()))
}

fn epochs(names: &BTreeSet<String>) -> impl Iterator<Item = (EpochId, &String)> {
    names.iter().filter_map(|name| Some((EpochId::parse(name).ok()?, name)))
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;

    #[test]
    fn the_name_of_each_key_of_an_epoch_tells_of_it_and_no_other_name_does() {
        let markets = ["M", "M:N", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"];
        let keys = markets.map(|market| MarketKeys::new(&Address::new("P"), &Address::new(market)));
        let names = EpochNames::of(&keys);
        let checksum = keys[2].market().checksummed().to_owned();
        for (key, read) in [
            ("P:M:epoch:7:state", Some((0, "7"))),
            ("P:M:metrics:epoch:7:info", Some((0, "7"))),
            ("P:M:metrics:batch:local:2.3e+07", Some((0, "2.3e+07"))),
            ("P:M:N:metrics:batch:aggregated:7", Some((1, "7"))),
            ("P:M:metrics:batch:7:validators", Some((0, "7"))),
            ("P:M:epoch:7:submissions:ids", Some((0, "7"))),
            ("P:M:epoch:7:processed", Some((0, "7"))),
            (&format!("P:{checksum}:epoch:7:state"), Some((2, "7"))),
            (&format!("P:{}:epoch:7:state", markets[2]), Some((2, "7"))),
            // A state index may have keys of this name, and events name whatever epoch they like.
            ("P:M:epoch:7:validators", None),
            ("P:M:epoch:7:submissions", None),
            ("P:M:state:epoch:7", None),
            ("P:M:epoch:x:state", None),
            ("P:M:epoch::state", None),
            ("P:M:epoch:7:8:state", None),
            ("P:M:metrics:batch:local:validators", None),
            ("P:Other:epoch:7:state", None),
            ("epoch:7:state", None),
            ("P:M:epochs:active", None),
            ("", None),
        ] {
            assert_eq!(names.read(key.as_bytes()), read, "{key}");
        }
        assert_eq!(names.read(b"P:M:epoch:\xff:state"), None);
    }
}
