//! What the block fetcher has seen of the chain state.

use std::collections::BTreeMap;

use domain::{
    chain::{ContractAddress, Window, WindowState},
    collector::ChainState,
};

/// The last seen epoch and closed windows of each of our markets.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<ContractAddress, (Option<u64>, Vec<u64>)>);

impl Seen {
    /// The markets of which something is new.
    pub(super) fn update(&mut self, markets: &[ContractAddress], state: &ChainState) -> Vec<ContractAddress> {
        let is_closed = |window: &Window| matches!(window.state, WindowState::Closed { .. });
        let is_new = |market: &&ContractAddress| {
            let Some(known) = state.markets.get(market) else { return false };
            let closed =
                known.windows.iter().filter(|(_, window)| is_closed(window)).map(|(epoch, _)| *epoch);
            let now = (known.current, closed.collect());
            let was = self.0.insert(**market, now);
            self.0.get(market) != was.as_ref()
        };
        markets.iter().filter(is_new).copied().collect()
    }
}
