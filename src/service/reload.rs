//! Taking up another configuration while the service runs: markets come and go, and those that stay do not notice.
//!
//! A market whose own settings changed, or whose address is written otherwise, is replaced: its actors begin anew, and
//! find all that they know in Redis. Where a chain is followed, the actors that do so are replaced then, for they follow it
//! for all markets. Everything else that a configuration says is taken up by a restart only.

use std::collections::BTreeMap;

use color_eyre::eyre::{Result, WrapErr};
use domain::Address;
use supervision::ChangeError;

use super::{Service, chain, expect_datasets, market};
use crate::config::{Config, MarketSettings};

/// What a reload changed, by the addresses of the markets in checksum form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// New ones.
    pub added: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// Those whose actors began anew.
    pub replaced: Vec<String>,
}

impl Reloaded {
    /// What leads from one configuration to another.
    fn between(old: &Config, new: &Config) -> Self {
        let (before, after) = (described(old), described(new));
        let missing_in = |others: &BTreeMap<String, _>, name: &&String| !others.contains_key(*name);
        let differs = |name: &&String| before.get(*name).is_some_and(|known| after.get(*name) != Some(known));
        Self {
            added: after.keys().filter(|name| missing_in(&before, name)).cloned().collect(),
            removed: before.keys().filter(|name| missing_in(&after, name)).cloned().collect(),
            replaced: after.keys().filter(differs).cloned().collect(),
        }
    }
}

/// Each market as it is written, and its own settings.
fn described(config: &Config) -> BTreeMap<String, (&String, MarketSettings)> {
    let name = |market: &String| Address::new(market).checksummed().to_owned();
    config.tracker.markets.iter().map(|market| (name(market), (market, config.market(market)))).collect()
}

impl Service {
    /// Takes up the markets of another configuration, and nothing else of it. Actors of other markets go on as they are.
    ///
    /// # Errors
    /// When the tree can't take or let go a market, as while it stops. What was done until then stays done, and the next
    /// reload goes on from there.
    pub async fn reload(&self, new: &Config) -> Result<Reloaded> {
        let mut present = self.config.lock().await;
        let changes = Reloaded::between(&present, new);
        for name in changes.removed.iter().chain(&changes.replaced) {
            self.roster.remove(name);
            let removed = self.tree.remove_child(&format!("markets/{name}")).await;
            let removed = removed.wrap_err_with(|| format!("market {name} could not be removed"))?;
            if !removed.killed.is_empty() {
                tracing::warn!(killed = ?removed.killed, "actors of market {name} did not stop in time and were killed");
            }
            self.services.status.forget(name);
            self.services.telemetry.market_removed(name);
            present.tracker.markets.retain(|market| Address::new(market).checksummed() != name);
        }
        for configured in &new.tracker.markets {
            let name = Address::new(configured).checksummed().to_owned();
            if !changes.added.contains(&name) && !changes.replaced.contains(&name) {
                continue;
            }
            present.markets.insert(configured.clone(), new.market(configured));
            let (edges, child) = market(&present, configured, &self.services, &self.clock);
            expect_datasets(&present, &self.services, configured);
            let added = self.tree.add_child("markets", child);
            added.wrap_err_with(|| format!("market {name} could not be added"))?;
            self.roster.add(edges);
            present.tracker.markets.push(configured.clone());
        }
        if present.chain.is_followed() && changes != Reloaded::default() {
            self.follow_anew(&present).await?;
        }
        Ok(changes)
    }

    /// Follows the chain for the markets that there are now: its actors are replaced, and find all that they know in Redis.
    async fn follow_anew(&self, present: &Config) -> Result<()> {
        for name in ["chain", "notifier"] {
            let removed = self.tree.remove_child(name).await;
            // An attempt before this one may have come that far.
            if !matches!(removed, Err(ChangeError::Unknown(_))) {
                removed.wrap_err_with(|| format!("{name} could not be removed"))?;
            }
        }
        for child in chain::children(present, &self.services, &self.roster, &self.clock)? {
            self.tree.add_child("root", child).wrap_err("the chain could not be taken up again")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
    const OTHER: &str = "0x21cb57C1f2352ad215a463DD867b838749CD3b8f";

    fn config(markets: &str, more: &[(&str, &str)]) -> Config {
        let required = [("PROTOCOL_STATE_CONTRACT", "P"), ("DATA_MARKET_ADDRESSES", markets)];
        Config::load(None, required.into_iter().chain(more.iter().copied())).expect("allowed").config
    }

    fn changes(old: &Config, new: &Config) -> [Vec<String>; 3] {
        let Reloaded { added, removed, replaced } = Reloaded::between(old, new);
        [added, removed, replaced]
    }

    #[test]
    fn only_what_differs_is_changed() {
        let (one, both) = (config(ONE, &[]), config(&format!("{ONE},{OTHER}"), &[]));
        let other = || vec![OTHER.to_owned()];
        let nothing: [Vec<String>; 3] = Default::default();
        assert_eq!(changes(&one, &both), [other(), vec![], vec![]]);
        assert_eq!(changes(&both, &one), [vec![], other(), vec![]]);
        assert_eq!(changes(&both, &both), nothing);
        let reordered = config(&format!("{OTHER},{ONE}"), &[("LOG_LEVEL", "debug")]);
        assert_eq!(changes(&both, &reordered), nothing);
    }

    #[test]
    fn a_market_with_other_settings_or_another_spelling_is_replaced() {
        let one = config(ONE, &[]);
        let compatible = config(ONE, &[("STATE_TRACKER__TRACKER__COMPAT", "go")]);
        for new in [compatible, config(&ONE.to_lowercase(), &[])] {
            assert_eq!(changes(&one, &new), [vec![], vec![], vec![ONE.to_owned()]]);
        }
    }
}
