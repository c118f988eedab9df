//! The table of all settings, joined from the sections of `settings/`, and its look-ups. Pure.

use super::setting::{Section, Setting};
use super::settings::SECTIONS;

/// The section with a table for each market. It has no settings of its own.
pub(crate) const MARKETS: &str = "markets";

/// An example of such a table.
pub(crate) const MARKET_TABLE: &str = "\
[markets.\"0x…\"]
compat = \"go\"
priority = { protocol = \"0x…\", market = \"0x…\" }
";

/// Every setting, in the order of help and reference.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// The section with this name or former name.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name || section.former.contains(&name))
}

/// The setting of a key, which may use a former name of the section.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    let (name, key) = key.split_once('.')?;
    section(name)?.settings.iter().find(|setting| setting.parts().1 == key)
}
