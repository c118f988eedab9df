//! The key families of the tracker, joined: what the doctor and the reference page read.

use store_redis::{Family, FamilyTable};

use crate::{
    datasets::DATASETS,
    keys::{INDEX, INPUTS, LEDGER, PRIORITIES},
};

/// Every table of the tracker.
#[must_use]
pub fn key_families() -> Vec<FamilyTable> {
    let table = |title, space, rows| FamilyTable { title, space, rows };
    let datasets = DATASETS.iter().map(|dataset| &dataset.family).collect();
    vec![
        table("Keys of the producers", "P:M:", INPUTS.iter().collect()),
        table(
            "Keys of the producers about priorities (also behind the second namespace)",
            "P:M:",
            PRIORITIES.iter().collect(),
        ),
        table("Datasets", "P:M:", datasets),
        table("The epoch ledger", "{P:M}:", LEDGER.iter().collect()),
        table("The state index (`P:M:` only where it is namespaced)", "P:M:", INDEX.iter().collect()),
    ]
}

/// The family of a key by its name behind `P:M:`, or behind `{P:M}:` for a key of a ledger.
#[must_use]
pub fn family_of(rest: &str) -> Option<&'static Family> {
    let datasets = DATASETS.iter().map(|dataset| &dataset.family);
    let mut all = INPUTS.iter().chain(PRIORITIES).chain(datasets).chain(LEDGER).chain(INDEX);
    all.find(|family| family.matches(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_family_that_it_is_built_from() {
        for table in key_families() {
            for family in table.rows {
                let ids: [&dyn std::fmt::Display; 1] = [&"23"];
                let key = family.key("", &ids[..family.ids()]);
                let found = family_of(&key).expect("a family");
                // `metrics:batch:*:validators` and `metrics:batch:local:*` both fit some names, but not these.
                assert_eq!(found.name, family.name, "{key}");
            }
        }
        let name = |rest: &str| family_of(rest).map(|family| family.name);
        assert_eq!(name("metrics:batch:23:validators"), Some("metrics:batch:*:validators"));
        assert_eq!(name("metrics:batch:local:23"), Some("metrics:batch:local:*"));
        assert_eq!(name("validator:a:b:stats"), Some("validator:*:stats"));
        assert_eq!(name("epoch::state"), None);
    }
}
