//! The calls that tell the relayer of ended epochs and of rewards, and what its answers mean. Pure.

use serde::{Deserialize, Serialize};

/// A call that the relayer gets at least once, in the order of its market. It is kept in the outbox until then, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum RelayCall {
    /// `submitBatchSize`: the batches of an epoch are handed over.
    BatchSize {
        /// The epoch.
        epoch: u64,
        /// How many batches it has; 0 for an epoch without submissions.
        batches: u64,
    },
    /// `submitUpdateRewards`: what slots have done in a day, a piece of it.
    Rewards {
        /// The id of the plan that it is a piece of.
        plan: String,
        /// The epoch whose end made it due.
        epoch: u64,
        /// The day.
        day: u64,
        /// Its place among the pieces, from 0 on.
        piece: u64,
        /// The slots.
        slots: Vec<u64>,
        /// How many eligible submissions each of them has.
        submissions: Vec<u64>,
        /// How many nodes were eligible in the day; 0 while it is not over.
        eligible: u64,
    },
}

impl RelayCall {
    /// What it is called, at the end of the relayer's URL.
    #[must_use]
    pub fn path(&self) -> &'static str {
        match self {
            Self::BatchSize { .. } => "submitBatchSize",
            Self::Rewards { .. } => "submitUpdateRewards",
        }
    }

    /// Tells it from all other calls of its market, and is the same at each attempt: the last part of its idempotency key.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::BatchSize { epoch, .. } => format!("batch-size:{epoch}"),
            Self::Rewards { plan, day, piece, .. } => format!("rewards:{plan}:{day}:{piece}"),
        }
    }

    /// The epoch whose end it tells of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        match self {
            Self::BatchSize { epoch, .. } | Self::Rewards { epoch, .. } => *epoch,
        }
    }
}

/// What an answer of the relayer means for the call and for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200: the relayer has it.
    Delivered,
    /// The relayer can't take it now: it is called again, for ever.
    Later,
    /// The relayer does not let us in, or is not there: every call of the lane would fare like this one, so the lane is paused.
    Denied,
    /// Something is wrong with this call: after a while it goes to the dead calls, and the lane goes on.
    Refused,
}

impl Verdict {
    /// The meaning of a status of HTTP. Those without a meaning of their own count as a failure of the relayer; only 200 is success.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            200 => Self::Delivered,
            401 | 403 | 404 => Self::Denied,
            400 | 409 | 410 | 413 | 422 => Self::Refused,
            _ => Self::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_meaning() {
        for (verdict, statuses) in [
            (Verdict::Delivered, &[200][..]),
            (Verdict::Denied, &[401, 403, 404]),
            (Verdict::Refused, &[400, 409, 410, 413, 422]),
            (
                Verdict::Later,
                &[408, 429, 500, 502, 503, 504, 201, 202, 204, 301, 302, 307, 402, 405, 418, 451, 599],
            ),
        ] {
            statuses.iter().for_each(|status| assert_eq!(Verdict::of(*status), verdict, "{status}"));
        }
    }

    #[test]
    fn a_call_is_kept_without_a_token_and_named_by_its_epoch() {
        let call = RelayCall::BatchSize { epoch: 7, batches: 3 };
        let kept = serde_json::to_string(&call).unwrap();
        assert_eq!(kept, r#"{"call":"batch_size","epoch":7,"batches":3}"#);
        assert_eq!(serde_json::from_str::<RelayCall>(&kept).unwrap(), call);
        assert_eq!((call.path(), call.id().as_str(), call.epoch()), ("submitBatchSize", "batch-size:7", 7));
        let (plan, slots, submissions) = ("final:9:4".to_owned(), vec![1, 3], vec![20, 0]);
        let call = RelayCall::Rewards { plan, epoch: 9, day: 4, piece: 2, slots, submissions, eligible: 5 };
        let kept = serde_json::to_string(&call).unwrap();
        assert_eq!(
            kept,
            r#"{"call":"rewards","plan":"final:9:4","epoch":9,"day":4,"piece":2,"slots":[1,3],"submissions":[20,0],"eligible":5}"#
        );
        assert_eq!(serde_json::from_str::<RelayCall>(&kept).unwrap(), call);
        let named = (call.path(), call.id(), call.epoch());
        assert_eq!(named, ("submitUpdateRewards", "rewards:final:9:4:4:2".to_owned(), 9));
    }
}
