//! Joins the key families of all subsystems. The doctor judges keys by them, and the reference page lists them.

use store_redis::{Family, FamilyTable, Writer};

/// The tables of all subsystems.
#[must_use]
pub fn tables() -> Vec<FamilyTable> {
    [store_tracker::key_families(), store_collector::key_families()].concat()
}

/// The family of a market's key, by its name after `P:M:` or `{P:M}:`.
pub(crate) fn of_market(rest: &str) -> Option<&'static Family> {
    store_tracker::family_of(rest)
}

/// The family of a key of the collector. `prefix` is that of the keys that this program writes, with its colon.
pub(crate) fn of_collector(key: &str, prefix: &str) -> Option<&'static Family> {
    let own = key.strip_prefix(prefix).and_then(store_collector::family_of);
    // Other programs know no prefix: their keys are the same beside a shadow.
    own.or_else(|| store_collector::family_of(key).filter(|family| family.writer == Writer::Producers))
}
