//! The batches of an epoch: which submissions belong together, and in which order.
//!
//! The same submissions always give the same batches, in whatever order they are read and however often they are
//! arranged.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

/// A submission, read from its key `MARKET.EPOCH.PROJECT.SLOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission<'a> {
    /// The project.
    pub project: &'a str,
    /// The slot of the node that submitted it.
    pub slot: u64,
}

/// Why a key is not a submission of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadSubmission {
    /// Not four parts with dots between, or an empty one.
    #[error("it does not have the four parts MARKET.EPOCH.PROJECT.SLOT")]
    Parts,
    /// The last part is not a number.
    #[error("its slot is not a number")]
    Slot,
    /// It belongs to another market or epoch.
    #[error("it belongs to another market or epoch")]
    Elsewhere,
}

impl<'a> Submission<'a> {
    /// Reads the key of a submission of this market and epoch.
    ///
    /// # Errors
    /// [`BadSubmission`] for any other key.
    pub fn parse(key: &'a str, market: &str, epoch: u64) -> Result<Self, BadSubmission> {
        let mut parts = key.split('.');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (Some(of_market), Some(of_epoch), Some(project), Some(slot)) = (next(), next(), next(), next())
        else {
            return Err(BadSubmission::Parts);
        };
        // A fifth part: with dots in projects, the slot would be ambiguous.
        if parts.next().is_some() {
            return Err(BadSubmission::Parts);
        }
        // `parse` accepts `+1` too: slot 1 must have one spelling.
        let is_number = slot.bytes().all(|byte| byte.is_ascii_digit());
        let slot = slot.parse().ok().filter(|_| is_number).ok_or(BadSubmission::Slot)?;
        // Keys spell the market in lower case; a checksum form is the same address.
        if !of_market.eq_ignore_ascii_case(market) || of_epoch.parse() != Ok(epoch) {
            return Err(BadSubmission::Elsewhere);
        }
        Ok(Self { project, slot })
    }
}

/// Projects with the keys of their submissions, both in ascending order.
pub type Batch = BTreeMap<String, BTreeSet<String>>;

/// The batches of an epoch, and what they are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrangement {
    /// The batches, the first one is number 1.
    pub batches: Vec<Batch>,
    /// How many submissions each slot has in them.
    pub slots: BTreeMap<u64, u64>,
    /// The keys that are in no batch, with the reason, in ascending order.
    pub bad: Vec<(String, BadSubmission)>,
}

impl Arrangement {
    /// Arranges the submissions of an epoch in batches of at most `size` projects.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = String>, market: &str, epoch: u64, size: NonZeroUsize) -> Self {
        let mut all = Self::default();
        let mut projects = Batch::new();
        // Redis returns the members of a set in no fixed order, and the original's batches differed from run to run.
        // Sorted keys give the same batches when an epoch is prepared again.
        for key in keys.into_iter().collect::<BTreeSet<_>>() {
            match Submission::parse(&key, market, epoch) {
                Ok(Submission { project, slot }) => {
                    *all.slots.entry(slot).or_default() += 1;
                    projects.entry(project.to_owned()).or_default().insert(key);
                }
                Err(why) => all.bad.push((key, why)),
            }
        }
        let mut projects = projects.into_iter().peekable();
        while projects.peek().is_some() {
            all.batches.push(projects.by_ref().take(size.get()).collect());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKET: &str = "0x21cb57c1f2352ad215a463dd867b838749cd3b8f";

    fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).unwrap()
    }

    #[test]
    fn each_key_that_is_no_submission_of_the_epoch_is_set_aside_with_its_reason() {
        let of = |rest: &str| format!("{MARKET}.7.{rest}");
        let keys = [
            of("project.1"),
            of("project"),
            of("a.b.1"),
            of(".1"),
            of("project.x"),
            of("project.-1"),
            of("project.+1"),
            of("project.99999999999999999999"),
            format!("{MARKET}.8.project.1"),
            "0x0000000000000000000000000000000000000000.7.project.1".to_owned(),
            String::new(),
        ];
        let arranged = Arrangement::of(keys, MARKET, 7, size(5));
        let mut why: Vec<BadSubmission> = arranged.bad.iter().map(|(_, why)| *why).collect();
        why.sort();
        let expected = [(BadSubmission::Parts, 4), (BadSubmission::Slot, 4), (BadSubmission::Elsewhere, 2)];
        let expected: Vec<_> =
            expected.into_iter().flat_map(|(why, times)| std::iter::repeat_n(why, times)).collect();
        assert_eq!(why, expected);
        assert_eq!(arranged.batches, [Batch::from([("project".to_owned(), [of("project.1")].into())])]);
        assert_eq!(arranged.slots, BTreeMap::from([(1, 1)]));
    }

    proptest! {
        #[test]
        fn batches_hold_each_submission_once_in_any_order_of_reading(
            submissions in proptest::collection::vec((0_u64..40, 0_u64..10), 0..200),
            most in 1_usize..12,
            seed in any::<u64>(),
        ) {
            let key = |(project, slot): &(u64, u64)| format!("{MARKET}.7.p{project}.{slot}");
            let keys: Vec<String> = submissions.iter().map(key).collect();
            let arranged = Arrangement::of(keys.clone(), MARKET, 7, size(most));
            let mut turned = keys.clone();
            if !turned.is_empty() {
                let by = usize::try_from(seed % turned.len() as u64).unwrap();
                turned.rotate_left(by);
                turned.reverse();
            }
            prop_assert_eq!(&Arrangement::of(turned, MARKET, 7, size(most)), &arranged);
            let distinct: BTreeSet<String> = keys.into_iter().collect();
            let batched: Vec<&String> = arranged.batches.iter().flat_map(|batch| batch.values().flatten()).collect();
            prop_assert_eq!(batched.len(), distinct.len());
            prop_assert_eq!(batched.into_iter().cloned().collect::<BTreeSet<_>>(), distinct.clone());
            prop_assert_eq!(arranged.slots.values().sum::<u64>(), distinct.len() as u64);
            // All batches but the last are full, and each project is in one batch.
            let sizes: Vec<usize> = arranged.batches.iter().map(BTreeMap::len).collect();
            if let Some((last, full)) = sizes.split_last() {
                prop_assert!(full.iter().all(|size| *size == most) && *last >= 1 && *last <= most);
            }
            let projects: Vec<&String> = arranged.batches.iter().flat_map(BTreeMap::keys).collect();
            prop_assert!(projects.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
