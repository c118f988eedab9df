//! The key families of all subsystems, joined: the doctor judges keys by them, and the reference page lists them.

use store_redis::{Family, FamilyTable, Writer};

/// Every table.
#[must_use]
pub fn tables() -> Vec<FamilyTable> {
    [store_tracker::key_families(), store_collector::key_families()].concat()
}

/// The family of a key of a market, by what stands behind `P:M:` or `{P:M}:`.
pub(crate) fn of_market(rest: &str) -> Option<&'static Family> {
    store_tracker::family_of(rest)
}

/// The family of a key of the collector; `prefix` stands before what this program writes, with its colon.
pub(crate) fn of_collector(key: &str, prefix: &str) -> Option<&'static Family> {
    let own = key.strip_prefix(prefix).and_then(store_collector::family_of);
    // What others write has no prefix in any case.
    own.or_else(|| store_collector::family_of(key).filter(|family| family.writer == Writer::Producers))
}
