//! The largest size of a state index. Any client that may publish on the channel can name new entities, so each kind of entity has
//! a quota, and each id a limit of bytes. Together they bound the keys and the bytes of an index.

/// The longest id of a submission, in bytes. Those of producers have some 180.
pub const LONGEST_ID: usize = 256;
/// The longest id of a validator, in bytes: a peer id has 52.
pub const LONGEST_VALIDATOR: usize = 64;
/// The longest id of an epoch, in bytes: the digits of the largest number of 64 bits.
pub const LONGEST_EPOCH: usize = 20;
/// The most validators that are kept of one epoch. A batch of a further one counts for the validator and not for the epoch.
pub const VALIDATORS_AN_EPOCH: u64 = 64;

/// Keys of an index that belong to no entity: three zsets of times, two hashes of validators, nine sets of states.
const COMMON_KEYS: u64 = 14;
/// The keys of an epoch: its state, its submissions, its validators.
const KEYS_AN_EPOCH: u64 = 3;
/// The keys of a submission: its state, and at most a project and a slot that no other submission has.
const KEYS_A_SUBMISSION: u64 = 3;
/// The keys of a validator: state, statistics, epochs, batches.
const KEYS_A_VALIDATOR: u64 = 4;

/// Bytes that Redis takes for an entity at most, with the longest ids and no id twice. Measured on Redis with 64-bit pointers, and
/// rounded up; `crates/store-tracker/tests/index/quota.rs` checks them.
const BYTES_AN_EPOCH: u64 = 1_200;
/// Likewise, of a submission.
const BYTES_A_SUBMISSION: u64 = 4_500;
/// Likewise, of a validator, without its epochs.
const BYTES_A_VALIDATOR: u64 = 1_200;
/// Likewise, of a validator within an epoch: a field, and a member of three sets.
const BYTES_A_LINK: u64 = 500;

/// The most entities of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Epochs.
    pub epochs: u64,
    /// Submissions.
    pub submissions: u64,
    /// Validators.
    pub validators: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { epochs: 6_000, submissions: 50_000, validators: 500 }
    }
}

impl Quota {
    /// The most finalizations: a local and an aggregated batch of each epoch.
    #[must_use]
    pub const fn finalizations(self) -> u64 {
        2 * self.epochs
    }

    /// The most keys of an index.
    #[must_use]
    pub const fn most_keys(self) -> u64 {
        COMMON_KEYS
            + KEYS_AN_EPOCH * self.epochs
            + KEYS_A_SUBMISSION * self.submissions
            + KEYS_A_VALIDATOR * self.validators
    }

    /// The most bytes that an index takes in Redis, with keys that have `prefix` bytes before the names of the original.
    #[must_use]
    pub const fn most_bytes(self, prefix: u64) -> u64 {
        let validators_an_epoch =
            if self.validators < VALIDATORS_AN_EPOCH { self.validators } else { VALIDATORS_AN_EPOCH };
        self.epochs * (BYTES_AN_EPOCH + validators_an_epoch * BYTES_A_LINK)
            + self.submissions * BYTES_A_SUBMISSION
            + self.validators * BYTES_A_VALIDATOR
            + self.most_keys() * prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_bounds_keys_and_bytes() {
        let quota = Quota { epochs: 10, submissions: 100, validators: 2 };
        assert_eq!((quota.finalizations(), quota.most_keys()), (20, 14 + 30 + 300 + 8));
        assert_eq!(quota.most_bytes(0), 10 * (1_200 + 2 * 500) + 450_000 + 2_400);
        assert_eq!(quota.most_bytes(100) - quota.most_bytes(0), 100 * quota.most_keys());
        let many = Quota { validators: 1_000, ..quota };
        assert_eq!(many.most_bytes(0), 10 * (1_200 + 64 * 500) + 450_000 + 1_200_000);
    }
}
