//! Members of the timelines that producers keep. Whole members are compared: `close:2301` says nothing of
//! epoch 230.

use crate::{BadEpoch, EpochId};

/// A member with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed<T> {
    /// When it happened, in Unix seconds.
    pub at: f64,
    /// What happened.
    pub what: T,
}

/// A member of `metrics:epochs:timeline`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpochMember {
    /// `open:E`
    Opened(EpochId),
    /// `close:E`
    Closed(EpochId),
}

/// A member of `metrics:batches:timeline`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchMember {
    /// `local:E`
    Local(EpochId),
    /// `aggregated:E`
    Aggregated(EpochId),
    /// `validator:V:E`: the local batch of another validator.
    Validator(String, EpochId),
    /// `peer_discovery:N:TIME` and the like: no batch.
    Foreign,
}

/// The most bytes of a validator's id in a member: a longer one names none.
const LONGEST_VALIDATOR: usize = 128;

impl EpochMember {
    /// Reads a member.
    ///
    /// # Errors
    /// [`BadEpoch`] when it is of neither form.
    pub fn parse(member: &str) -> Result<Self, BadEpoch> {
        match member.split_once(':') {
            // The whole rest must be an id, so `open:1:2` is refused and `close:2301` never matches epoch 230.
            Some(("open", epoch)) => EpochId::parse(epoch).map(Self::Opened),
            Some(("close", epoch)) => EpochId::parse(epoch).map(Self::Closed),
            _ => Err(BadEpoch(member.chars().take(100).collect())),
        }
    }

    /// The epoch that it names.
    #[must_use]
    pub fn epoch(&self) -> &EpochId {
        match self {
            Self::Opened(epoch) | Self::Closed(epoch) => epoch,
        }
    }
}

impl BatchMember {
    /// Reads a member; everything but `local:`, `aggregated:` and `validator:` is foreign.
    ///
    /// # Errors
    /// [`BadEpoch`] when it is a batch that names no epoch or no validator.
    pub fn parse(member: &str) -> Result<Self, BadEpoch> {
        match member.split_once(':') {
            Some(("local", epoch)) => EpochId::parse(epoch).map(Self::Local),
            Some(("aggregated", epoch)) => EpochId::parse(epoch).map(Self::Aggregated),
            // A validator's id may hold colons, an epoch's doesn't.
            Some(("validator", rest)) => match rest.rsplit_once(':') {
                Some((validator, epoch)) if (1..=LONGEST_VALIDATOR).contains(&validator.len()) => {
                    Ok(Self::Validator(validator.to_owned(), EpochId::parse(epoch)?))
                }
                _ => Err(BadEpoch(member.chars().take(100).collect())),
            },
            _ => Ok(Self::Foreign),
        }
    }

    /// The epoch that it names, when it is a batch of ours.
    #[must_use]
    pub fn epoch(&self) -> Option<&EpochId> {
        match self {
            Self::Local(epoch) | Self::Aggregated(epoch) => Some(epoch),
            Self::Validator(..) | Self::Foreign => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EpochId {
        EpochId::parse(text).expect(text)
    }

    #[test]
    fn members_are_read_whole() {
        assert_eq!(EpochMember::parse("close:2301"), Ok(EpochMember::Closed(id("2301"))));
        assert_eq!(EpochMember::parse("open:2.3e+07"), Ok(EpochMember::Opened(id("23000000"))));
        assert!(EpochMember::parse("open:").is_err());
        assert!(EpochMember::parse("opened:1").is_err());
        assert!(EpochMember::parse("open:1:2").is_err());
        assert_eq!(BatchMember::parse("aggregated:7"), Ok(BatchMember::Aggregated(id("7"))));
        let of = |validator: &str| Ok(BatchMember::Validator(validator.to_owned(), id("7")));
        assert_eq!(
            (BatchMember::parse("validator:v-a:7"), BatchMember::parse("validator:v:a:7")),
            (of("v-a"), of("v:a"))
        );
        assert!(BatchMember::parse("validator::7").is_err() && BatchMember::parse("validator:v").is_err());
        let long = |length: usize| BatchMember::parse(&format!("validator:{}:7", "v".repeat(length)));
        assert!(long(128).is_ok() && long(129).is_err());
        assert_eq!(BatchMember::parse("peer_discovery:4:1795340104"), Ok(BatchMember::Foreign));
        assert!(BatchMember::parse("local:x").is_err());
    }
}
