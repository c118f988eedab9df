//! `[migration]`: markets that replace others.

use store_collector::migration::Migration;

use super::super::checks::{MIGRATIONS, migrations};
use super::super::setting::{flag, integer, section, text};

section! {
    /// A market that replaces another one begins with what was counted for that one: see `state-tracker migrate-markets`. Nothing that the
    /// new market has is changed, so it can be repeated.
    pub struct MarketMigration in "migration" {
        /// Whether the service migrates the markets whenever it starts, before it follows the chain. The command does so in any case.
        at_start: bool = flag(false).variable("ENABLE_MARKET_MIGRATION"),
        /// The markets as pairs of addresses OLD:NEW, separated by commas.
        mappings: String = text("", MIGRATIONS).variable("MARKET_MIGRATION_MAPPINGS"),
        /// How many days are copied: the present one of the old market, and those before.
        days: u64 = integer(1, "a number of days", 1..=100).variable("MARKET_MIGRATION_DAYS"),
    }
}

impl MarketMigration {
    /// The migrations. None is left out: the text was checked.
    pub fn all(&self) -> Vec<Migration> {
        let days = self.days;
        migrations(&self.mappings).flatten().map(|(from, to)| Migration { from, to, days }).collect()
    }
}
