//! The events of `state:change` that the index uses.

use serde::{Deserialize, Serialize};

use super::{
    EpochState, Machine, SubmissionState,
    quota::{LONGEST_EPOCH, LONGEST_ID, LONGEST_VALIDATOR},
};
use crate::EpochId;

/// An event that the index understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexEvent {
    /// An epoch reached a state.
    Epoch {
        /// The epoch.
        epoch: EpochId,
        /// The state.
        to: EpochState,
    },
    /// A submission reached a state.
    Submission {
        /// Its whole id.
        id: String,
        /// The state.
        to: SubmissionState,
    },
    /// A validator made a batch of an epoch.
    ValidatorBatch {
        /// The validator's id.
        validator: String,
        /// The epoch.
        epoch: EpochId,
    },
}

/// Why the index does not use an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unindexed {
    /// Another entity or action.
    Foreign,
    /// A known entity and action, without a valid epoch or id.
    Malformed,
    /// An id that is longer than any of its kind may be.
    TooLong,
}

impl IndexEvent {
    /// Reads a payload. An id that is too long is refused before it is copied.
    ///
    /// # Errors
    /// [`Unindexed`] for every other payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Unindexed> {
        let mut parts = payload.splitn(3, |&byte| byte == b':');
        let (Some(entity), Some(action), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Unindexed::Foreign);
        };
        let epoch_to = |to| Ok(Self::Epoch { epoch: epoch(id)?, to });
        match (entity, action) {
            (b"epoch", b"open") => epoch_to(EpochState::Processing),
            (b"epoch", b"closed") => epoch_to(EpochState::Finalizing),
            (b"part", b"created") => {
                // The part's number behind the epoch is not kept.
                let of_epoch = id.split(|&byte| byte == b':').next().unwrap_or(id);
                Ok(Self::Epoch { epoch: epoch(of_epoch)?, to: EpochState::Finalizing })
            }
            (b"batch", b"local") => epoch_to(EpochState::Aggregating),
            (b"batch", b"aggregated") => epoch_to(EpochState::Completed),
            (b"batch", b"validator") => {
                // The last colon: a validator's id may contain colons, an epoch's can't.
                let at = id.iter().rposition(|&byte| byte == b':').ok_or(Unindexed::Malformed)?;
                let validator = text(&id[..at], LONGEST_VALIDATOR)?.to_owned();
                let of_epoch = epoch(&id[at + 1..])?;
                Ok(Self::ValidatorBatch { validator, epoch: of_epoch })
            }
            (b"submission" | b"validation", action) => {
                let to = std::str::from_utf8(action).ok().and_then(SubmissionState::named);
                let to = to.ok_or(Unindexed::Foreign)?;
                Ok(Self::Submission { id: text(id, LONGEST_ID)?.to_owned(), to })
            }
            _ => Err(Unindexed::Foreign),
        }
    }

    /// Its size in memory, in bytes: mailboxes are limited by it.
    #[must_use]
    pub fn weight(&self) -> usize {
        let held = match self {
            Self::Epoch { epoch, .. } => epoch.as_str().len(),
            Self::Submission { id, .. } => id.len(),
            Self::ValidatorBatch { validator, epoch } => validator.len() + epoch.as_str().len(),
        };
        size_of::<Self>() + held
    }
}

fn text(id: &[u8], longest: usize) -> Result<&str, Unindexed> {
    // The length first: a payload of megabytes must not be read to its end for nothing.
    if id.len() > longest {
        return Err(Unindexed::TooLong);
    }
    let text = std::str::from_utf8(id).map_err(|_| Unindexed::Malformed)?;
    // Ids become parts of keys, which an operator must be able to type.
    let reads = !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    if reads { Ok(text) } else { Err(Unindexed::Malformed) }
}

fn epoch(id: &[u8]) -> Result<EpochId, Unindexed> {
    let epoch = EpochId::parse(text(id, LONGEST_ID)?).map_err(|_| Unindexed::Malformed)?;
    // By its digits: a short id in scientific notation can be a long number.
    if epoch.as_str().len() > LONGEST_EPOCH { Err(Unindexed::TooLong) } else { Ok(epoch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> EpochId {
        EpochId::parse(text).expect("an epoch id")
    }

    #[test]
    fn an_event_weighs_its_own_size_and_that_of_its_texts() {
        for (payload, held) in [
            ("epoch:open:23000001", 8),
            ("submission:received:1:2:p:3:peer", 12),
            ("batch:validator:v-a:23000001", 11),
        ] {
            let event = IndexEvent::parse(payload.as_bytes()).expect(payload);
            assert_eq!(event.weight(), size_of::<IndexEvent>() + held, "{payload}");
        }
    }

    #[test]
    fn every_known_event_is_read_for_what_it_moves() {
        let epoch = |text: &str, to| Ok(IndexEvent::Epoch { epoch: id(text), to });
        let submission = |text: &str, to| Ok(IndexEvent::Submission { id: text.to_owned(), to });
        let batch =
            |v: &str, e: &str| Ok(IndexEvent::ValidatorBatch { validator: v.to_owned(), epoch: id(e) });
        let digits = "9".repeat(LONGEST_EPOCH);
        let (longer, longest) = ("9".repeat(LONGEST_EPOCH + 1), "v".repeat(LONGEST_VALIDATOR));
        for (payload, read) in [
            ("epoch:open:23000001", epoch("23000001", EpochState::Processing)),
            ("epoch:open:2.3e+07", epoch("23000000", EpochState::Processing)),
            (&format!("epoch:closed:{digits}"), epoch(&digits, EpochState::Finalizing)),
            (&format!("epoch:closed:{longer}"), Err(Unindexed::TooLong)),
            ("epoch:closed:1e20", Err(Unindexed::TooLong)),
            (&format!("batch:validator:{longest}:7"), batch(&longest, "7")),
            (&format!("batch:validator:{longest}v:7"), Err(Unindexed::TooLong)),
            ("part:created:7:0", epoch("7", EpochState::Finalizing)),
            ("part:created:7", epoch("7", EpochState::Finalizing)),
            ("batch:local:7", epoch("7", EpochState::Aggregating)),
            ("batch:aggregated:7", epoch("7", EpochState::Completed)),
            ("batch:validator:v-a:7", batch("v-a", "7")),
            ("batch:validator:a:b::c:2.3e7", batch("a:b::c", "23000000")),
            ("submission:received:1:2:p:3:peer", submission("1:2:p:3:peer", SubmissionState::Received)),
            ("submission:validated:x", submission("x", SubmissionState::Validated)),
            ("validation:rejected:x", submission("x", SubmissionState::Rejected)),
            ("peers:connected:4", Err(Unindexed::Foreign)),
            ("validation:done:x", Err(Unindexed::Foreign)),
            ("epoch:renamed:7", Err(Unindexed::Foreign)),
            ("epoch", Err(Unindexed::Foreign)),
            ("", Err(Unindexed::Foreign)),
            ("epoch:open:", Err(Unindexed::Malformed)),
            ("epoch:open:seven", Err(Unindexed::Malformed)),
            ("epoch:open:7:8", Err(Unindexed::Malformed)),
            ("batch:validator:7", Err(Unindexed::Malformed)),
            ("batch:validator::7", Err(Unindexed::Malformed)),
            ("submission:received:a b", Err(Unindexed::Malformed)),
            ("submission:received:a\u{0}", Err(Unindexed::Malformed)),
        ] {
            assert_eq!(IndexEvent::parse(payload.as_bytes()), read, "{payload}");
        }
        assert_eq!(IndexEvent::parse(b"submission:received:\xff\xfe"), Err(Unindexed::Malformed));
    }

    #[test]
    fn long_payloads_and_storms_of_colons_are_set_aside() {
        let long = format!("submission:received:{}", "x".repeat(1 << 20));
        assert_eq!(IndexEvent::parse(long.as_bytes()), Err(Unindexed::TooLong));
        let storm = format!("batch:validator:{}", ":".repeat(1 << 20));
        assert_eq!(IndexEvent::parse(storm.as_bytes()), Err(Unindexed::TooLong));
        assert_eq!(IndexEvent::parse(&vec![b':'; 1 << 20]), Err(Unindexed::Foreign));
        let longest = format!("submission:received:{}", "x".repeat(LONGEST_ID));
        assert!(IndexEvent::parse(longest.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_and_what_it_reads_is_bounded(
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            at in 0_usize..6,
        ) {
            let heads: [&[u8]; 6] =
                [b"", b"epoch:open:", b"batch:validator:", b"part:created:", b"submission:received:", b"::"];
            if let Ok(event) = IndexEvent::parse(&[heads[at], &payload].concat()) {
                prop_assert!(event.weight() <= size_of::<IndexEvent>() + 2 * LONGEST_ID);
            }
        }

        #[test]
        fn a_validator_is_whatever_stands_before_the_last_colon(validator in "[a-z0-9:_-]{1,40}", epoch: u64) {
            let payload = format!("batch:validator:{validator}:{epoch}");
            let read = IndexEvent::parse(payload.as_bytes());
            let epoch = id(&epoch.to_string());
            prop_assert_eq!(read, Ok(IndexEvent::ValidatorBatch { validator, epoch }));
        }
    }
}
