//! The table of all settings, joined from the sections of `settings`, and how to find a row of it. Pure.

use super::setting::{Section, Setting};
use super::settings::SECTIONS;

/// The section with a table for each market. It has no settings of its own.
pub(crate) const MARKETS: &str = "markets";

/// What such a table looks like.
pub(crate) const MARKET_TABLE: &str = "\
[markets.\"0x…\"]
compat = \"go\"
priority = { protocol = \"0x…\", market = \"0x…\" }
";

/// Every setting, in the order in which people read them.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// A section by its name, or by one that it had before.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name || section.former.contains(&name))
}

/// The setting of a key; the section may have the name that it had before.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    let (name, key) = key.split_once('.')?;
    section(name)?.settings.iter().find(|setting| setting.parts().1 == key)
}
