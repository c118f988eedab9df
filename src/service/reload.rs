//! Applying another configuration while the service runs: markets come and go, and the datasets of those that stay do not
//! notice. The settings that a SIGHUP applies are marked in their table.
//!
//! A market whose own settings changed, or whose address is written otherwise, is replaced: its actors begin anew, and
//! find all that they know in Redis. Where a chain is followed, the actors that do so are replaced then, for they follow it
//! for all markets. Everything else that a configuration says is taken up by a restart only.

use std::collections::BTreeMap;

use actors::collector::COLLECTOR;
use color_eyre::eyre::{Result, WrapErr};
use domain::Address;
use supervision::ChangeError;

use super::{
    Present, Service, collector,
    tracker::{expect_datasets, market},
};
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
    /// Takes up the markets of another configuration, and nothing else of it. Actors of other markets go on as they are, but
    /// for those that follow the chain.
    ///
    /// # Errors
    /// When the tree can't take or let go a market, as while it stops. What was done until then stays done, and the next
    /// reload goes on from there.
    pub async fn reload(&self, new: &Config) -> Result<Reloaded> {
        let mut present = self.present.lock().await;
        let Present { config, chain_is_due } = &mut *present;
        let changes = Reloaded::between(config, new);
        for name in changes.removed.iter().chain(&changes.replaced) {
            *chain_is_due = true;
            self.registry.remove(name);
            self.remove(&format!("markets/{name}")).await?;
            self.tracker.services.readiness.forget(name);
            self.tracker.metrics.market_removed(name);
            config.tracker.markets.retain(|market| Address::new(market).checksummed() != name);
        }
        for configured in &new.tracker.markets {
            let name = Address::new(configured).checksummed().to_owned();
            if !changes.added.contains(&name) && !changes.replaced.contains(&name) {
                continue;
            }
            *chain_is_due = true;
            config.markets.insert(configured.clone(), new.market(configured));
            let (edges, child) = market(config, configured, &self.tracker, &self.clock);
            expect_datasets(config, &self.tracker.services, configured);
            let added = self.tree.add_child("markets", child);
            added.wrap_err_with(|| format!("market {name} could not be added"))?;
            self.registry.add(edges);
            config.tracker.markets.push(configured.clone());
        }
        if *chain_is_due {
            self.follow_anew(config).await?;
            *chain_is_due = false;
        }
        Ok(changes)
    }

    /// Follows the chain, where one is followed, for the markets that there are now: its actors are replaced, and find all
    /// that they know in Redis.
    async fn follow_anew(&self, config: &Config) -> Result<()> {
        let Some(followed) = &self.followed else { return Ok(()) };
        let services = &self.tracker.services;
        let children = collector::children(config, services, followed, &self.registry, &self.clock)?;
        for name in [COLLECTOR, "notifier"] {
            self.remove(name).await?;
        }
        // What is shown of markets that are gone goes with the actors that followed them.
        followed.progress.reset();
        for child in children {
            self.tree.add_child("root", child).wrap_err("the collector could not be started again")?;
        }
        Ok(())
    }

    /// Takes a member out of the tree, unless a reload before this one has done so already.
    async fn remove(&self, path: &str) -> Result<()> {
        match self.tree.remove_child(path).await {
            Ok(removed) if removed.killed.is_empty() => {}
            Ok(removed) => {
                tracing::warn!(killed = ?removed.killed, "actors of {path} did not stop in time and were killed");
            }
            Err(ChangeError::Unknown(_)) => {}
            Err(error) => return Err(error).wrap_err_with(|| format!("{path} could not be removed")),
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
