//! Applies the markets of another configuration to the running service, without an effect on the markets that stay. The table
//! of settings marks those that a SIGHUP applies; every other change needs a restart.
//!
//! A market whose own settings or spelling changed is replaced: new actors start, and read their state from Redis. Any change of
//! markets also replaces the actors of the collector, since the block fetcher serves all markets at once.

use std::collections::BTreeMap;

use actors::collector::COLLECTOR;
use color_eyre::eyre::{Result, WrapErr, bail};
use domain::Address;
use supervision::ChangeError;

use super::{
    InEffect, Service, collector, read_api,
    tracker::{expect_datasets, market},
};
use crate::config::{Config, MarketSettings};

/// The changes of a reload, by the markets' addresses in checksum form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Added markets.
    pub added: Vec<String>,
    /// Removed markets.
    pub removed: Vec<String>,
    /// Markets whose actors were replaced.
    pub replaced: Vec<String>,
}

impl Reloaded {
    /// The changes from one configuration to another.
    fn between(old: &Config, new: &Config) -> Self {
        // By checksum form: another spelling of an address is the same market with another description, and so a replacement.
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

/// Each market with its spelling and its own settings.
fn described(config: &Config) -> BTreeMap<String, (&String, MarketSettings)> {
    let name = |market: &String| Address::new(market).checksummed().to_owned();
    config.tracker.markets.iter().map(|market| (name(market), (market, config.market(market)))).collect()
}

impl Service {
    /// Reads tokens and certificates of the endpoints again, applies the markets of another configuration, and nothing else of it. The actors of unchanged markets continue; those of
    /// the collector are replaced.
    ///
    /// # Errors
    /// The state index that runs has room for one market only: nothing is changed. The tree can't add or remove a child, for example
    /// during a stop: the changes up to then stay, and the next reload continues from them.
    pub async fn reload(&self, new: &Config) -> Result<Reloaded> {
        self.secrets.0.refresh().await;
        if let Some(peers) = &self.peers {
            peers.refresh().await;
        }
        read_api::reload(self.api.as_ref(), new);
        let mut in_effect = self.in_effect.lock().await;
        let InEffect { config, collector_is_outdated } = &mut *in_effect;
        // The settings of the index take effect with a restart, so those of the start count.
        if config.index.enabled
            && !config.index.namespaced
            && described(config).keys().ne(described(new).keys())
        {
            bail!(
                "can't serve other markets: the state index that runs has no market in its keys, and would mix them; set \
                 index.namespaced and restart the service"
            );
        }
        let changes = Reloaded::between(config, new);
        // Removals first: a replaced market has the same path in the tree as its successor.
        for name in changes.removed.iter().chain(&changes.replaced) {
            // Before the first step that may fail, so that the next reload restarts the collector.
            *collector_is_outdated = true;
            // The registry first: listener, finder and pruner must not use a market whose actors are stopping.
            self.registry.remove(name);
            self.remove(&format!("markets/{name}")).await?;
            // Readiness and metrics must not wait for, or show, datasets that no actor writes any more.
            self.tracker.services.readiness.forget(name);
            self.tracker.metrics.market_removed(name);
            // Market by market, so that after a failure the configuration in effect is what the tree really runs.
            config.tracker.markets.retain(|market| Address::new(market).checksummed() != name);
        }
        for configured in &new.tracker.markets {
            let name = Address::new(configured).checksummed().to_owned();
            if !changes.added.contains(&name) && !changes.replaced.contains(&name) {
                continue;
            }
            *collector_is_outdated = true;
            config.markets.insert(configured.clone(), new.market(configured));
            let (edges, child) =
                market(config, configured, &self.tracker, [&self.listener, &self.finder], &self.clock);
            expect_datasets(config, &self.tracker.services, configured);
            let added = self.tree.add_child("markets", child);
            added.wrap_err_with(|| format!("market {name} could not be added"))?;
            // Only after the actors are in the tree: an event for them must find a mailbox with a reader.
            self.registry.add(edges);
            config.tracker.markets.push(configured.clone());
        }
        if *collector_is_outdated {
            self.restart_collector(config).await?;
            *collector_is_outdated = false;
        }
        if let Some(api) = &self.api {
            api.replace_markets(read_api::markets(config));
        }
        Ok(changes)
    }

    /// Replaces the actors of the collector, if it runs, by actors for the present markets. They read their state from Redis.
    async fn restart_collector(&self, config: &Config) -> Result<()> {
        let Some(followed) = &self.followed else { return Ok(()) };
        let (tracker, indexer) = (&self.tracker, self.indexer.as_ref());
        let alerts = self.alerts.as_ref();
        let children =
            collector::children(config, tracker, followed, &self.registry, indexer, alerts, &self.clock)?;
        // The new children were built first: if that fails, the running collector stays.
        for name in [COLLECTOR, "notifier"] {
            self.remove(name).await?;
        }
        // Metrics and demo show no windows of removed markets.
        followed.progress.reset();
        for child in children {
            self.tree.add_child("root", child).wrap_err("the collector could not be started again")?;
        }
        Ok(())
    }

    /// Removes a child of the tree, unless an earlier reload that failed has removed it.
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
