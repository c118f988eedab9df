//! Joins the key families of all subsystems. The doctor judges keys by them, and the reference page lists them.

use store_redis::{Family, FamilyTable, Writer};

/// The tables of all subsystems.
#[must_use]
pub fn tables() -> Vec<FamilyTable> {
    [store_tracker::key_families(), store_collector::key_families(), store_campaign_log::key_families()]
        .concat()
}

/// The family of a market's key, by its name after `P:M:` or `{P:M}:`.
pub(crate) fn of_market(rest: &str) -> Option<&'static Family> {
    store_tracker::family_of(rest)
}

/// Whether a family is one of campaigns.
pub(crate) fn is_of_campaigns(family: &Family) -> bool {
    store_campaign_log::family_of(family.name).is_some()
}

/// The family of a key of the collector or of campaigns. `prefix` is that of the keys that this program writes, with its colon.
pub(crate) fn of_collector(key: &str, prefix: &str) -> Option<&'static Family> {
    let rest = key.strip_prefix(prefix);
    let of_campaigns = || rest.and_then(store_campaign_log::family_of);
    let own = rest.and_then(store_collector::family_of).or_else(of_campaigns);
    // Other programs know no prefix: their keys are the same beside a shadow.
    own.or_else(|| store_collector::family_of(key).filter(|family| family.writer == Writer::Producers))
}
