//! What a correct tracker shows, derived from what its producers did. For tests only.
//!
//! **Invariant:** it uses no crate of the workspace and knows nothing of how the tracker works: no entries, no merging, no
//! scripts. A reference that copied the tracker's rules would agree with its mistakes. It does no I/O and reads no clock.
//!
//! # Design
//!
//! **The producers** ([`Producers`]) act at random, from a seed. Each act changes the reference's own copy of the producers' keys
//! ([`Database`], with real expiry) and gives the commands that do the same to Redis.
//!
//! **The truth** ([`Truth`]) is the list of all moments at which the tracker has passed, each with everything that the keys said
//! then ([`View`]), and whether the pass took effect: certainly, perhaps (it was broken), or not at all. From that list alone
//! follows what must be known of each epoch ([`Account`]): what was visible at a pass and before the epoch was sealed counts; what
//! had expired before any pass does not, since it can't be known.
//!
//! **A look** ([`Truth::look`]) compares everything that readers see ([`Shown`]) with the truth, and returns the differences, each
//! under the name of a [`Check`]: all fields of the summary and the same in `stats:current`, participation, current epoch, every
//! hour of the last 48, the day, the gaps, `submissions_count`, the TTLs. Sums that two looks show must also fit each other: what
//! is sealed no longer moves.
//!
//! **Freedom.** Where the contract allows several values, the truth is a [`Range`], or a set of epochs or phases. The places:
//!
//! | the contract says | so this is free |
//! |---|---|
//! | "when it is finished it is sealed" | the pass that seals: from the end to [`GRACE`] seconds later; what comes between may count or be late |
//! | "looks again every minute" | whether a key that is younger than a minute is seen, where the market is not configured in checksum form |
//! | "opened" | whether an id counts that only `epochs:active`, a close or a batch tells of |
//! | "half-open intervals" | which of the two ends of a period belongs to it; an hour begins with its first second |
//! | "per second over the measurement window" | whether the pass that begins a window counts into it |
//! | "the most recent" | by opening, close or id |
//! | `unique_validators` | of the epochs opened in the hour, or of the batches made in it |
//! | `epochs_participated_24h` | own local batches, inclusions, or both |
//! | "what can't be known is never guessed" | submissions of an epoch that were never visible together: from the most at once to all |
//! | 24 h for `epochs:gaps`, 10 s for "all datasets" | the TTL of the gaps: either |

mod account;
mod check;
mod database;
mod keys;
mod producers;
mod random;
mod range;
mod shown;
mod truth;
mod view;

pub use account::{Account, Effect, GRACE};
pub use check::{Check, Difference};
pub use database::{Command, Database};
pub use keys::{CHECKSUM, DAY, HOUR, MARKET, OWN, PROTOCOL, VALIDATORS, full};
pub use producers::Producers;
pub use random::Random;
pub use range::Range;
pub use shown::Shown;
pub use truth::{Pass, Truth};
pub use view::View;
