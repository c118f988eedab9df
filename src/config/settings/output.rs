//! `[output]`: where the datasets are written. The typed struct is that of the store.

use store_tracker::Output;

use super::super::checks::PREFIX;
use super::super::setting::{choice, section, text};

section! {
    /// Where the datasets are written, and how addresses are spelled there.
    impl "output" for Output {
        /// Prefix of every key that is written: `shadow` gives `shadow:P:M:dashboard:summary`. With a prefix the tracker is a
        /// shadow beside a running original: it changes and prunes no key of the producers.
        prefix = text("", PREFIX),
        /// Spelling of addresses in the keys of outputs: `checksum` is EIP-55, `configured` is as in tracker.protocol and
        /// tracker.markets, `both` writes each output twice.
        spelling = choice("checksum", &["checksum", "configured", "both"]),
    }
}
