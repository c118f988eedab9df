//! The contract values: asks the contracts of each market, keeps the lengths of the submission windows for the block fetcher, and
//! writes the tables that other programs read.
//!
//! It touches the nodes, and those tables in Redis. Promises:
//! - a market whose contract fails or hangs holds up neither another market nor the blocks;
//! - a value that can't be read is reported and left as it is. While nodes fail, or the length of a window is not known, it asks again
//!   soon.

use std::time::Duration;

use domain::{
    chain::{BlockRef, ContractAddress, Hash},
    collector::{AtRelease, Releases},
};
use evm::{ChainError, views::Moment};
use futures_util::{StreamExt as _, stream};
use retry::table::CONTRACT_VALUES;
use store_collector::{MarketTables, operations::WRITE_CONTRACT_VALUES};
use supervision::{Context, Failure, Worker};
use tokio::time::Instant;

use super::{
    CollectorServices, budgets::deadline, points::CONTRACT_VALUES_POINTS, problem::CollectorProblem,
};
use crate::env::periodic::run_periodically;

/// How many markets are asked at once.
pub(super) const AT_ONCE: usize = 8;
/// How long the values at the blocks of releases are waited for: the blocks wait too.
const AT_RELEASES_WITHIN: Duration = Duration::from_secs(2);

/// What the contracts said at the blocks that released epochs. What can't be read is left out: the last known length and day count
/// then, and without a length the window waits for it.
pub(super) async fn at_releases(
    chain: &CollectorServices,
    releases: &[(ContractAddress, u64, Option<Hash>)],
    head: BlockRef,
    deadline: Instant,
) -> Releases {
    let soon = deadline.min(Instant::now() + AT_RELEASES_WITHIN);
    let is_kept = |block: u64| chain.source.may_have_state(block, head.number);
    let mut asked = Vec::new();
    for (market, block, hash) in releases.iter().copied().filter(|(_, block, _)| is_kept(*block)) {
        asked.push(async move {
            let views = chain.source.views(Moment::Block { number: block, hash }, soon);
            let (length, day) = tokio::join!(views.submission_window(market), views.day_counter(market));
            let length = length.ok().map(|length| length.as_secs());
            ((market, block), AtRelease { length, day: day.ok() })
        });
    }
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

/// The actor.
pub struct ContractValues {
    chain: CollectorServices,
}

impl ContractValues {
    /// An actor for the markets of this tracker.
    #[must_use]
    pub fn new(chain: CollectorServices) -> Self {
        Self { chain }
    }

    /// Asks for the values of every market, and writes each market's as soon as they are there.
    async fn run_once(&self, cx: &Context) -> Result<(), CollectorProblem> {
        let deadline = deadline(&self.chain.settings.budgets.contract_values(cx.clock()));
        let mut asked = Vec::new();
        for (market, configured) in &self.chain.settings.markets {
            asked.push(self.market(*market, configured, deadline));
        }
        let markets = async {
            let mut failed = None;
            let mut markets = stream::iter(asked).buffer_unordered(AT_ONCE);
            while let Some(asked) = markets.next().await {
                failed = failed.or(asked.err());
                cx.progress();
            }
            failed
        };
        let nodes = async {
            let views = self.chain.source.views(Moment::Latest, deadline);
            let mut failed = None;
            if let Some(nodes) = self.digits(views.total_node_count().await, &mut failed) {
                self.write(&[], Some(&nodes)).await;
            }
            failed
        };
        // Idle, as every request to a node: a node that hangs until the deadline is no stall of the actor.
        let (markets, nodes) = cx.idle(async { tokio::join!(markets, nodes) }).await;
        markets.or(nodes).map_or(Ok(()), Err)
    }

    /// Asks for the values of one market and writes them.
    ///
    /// # Errors
    /// [`CollectorProblem::LengthUnknown`] if the length of its windows could not be read, now or before; [`CollectorProblem::View`] if
    /// nodes failed.
    async fn market(
        &self,
        market: ContractAddress,
        configured: &str,
        deadline: Instant,
    ) -> Result<(), CollectorProblem> {
        let views = self.chain.source.views(Moment::Latest, deadline);
        let window = views.submission_window(market).await.map(|window| window.as_secs());
        if let Ok(seconds) = window {
            self.chain.lengths.set(market, seconds);
        }
        let mut failed = None;
        let window = match window {
            Err(cause) if !self.chain.lengths.now().contains_key(&market) => {
                failed = Some(CollectorProblem::LengthUnknown { market, cause });
                None
            }
            window => self.number(window, &mut failed),
        };
        // The contract counts in microseconds, and other programs read its number as it is.
        let day_size = views.day_size(market).await;
        if let Ok(length) = day_size {
            self.chain.lengths.set_day(market, length.as_secs());
        }
        let day_size = day_size.map(|size| u64::try_from(size.as_micros()).unwrap_or(u64::MAX));
        let tables = MarketTables {
            configured: configured.to_owned(),
            submission_window: window,
            day_size: self.digits(day_size, &mut failed),
            quota: self.digits(views.daily_snapshot_quota(market).await, &mut failed),
            epochs_in_a_day: self.digits(views.epochs_in_a_day(market).await, &mut failed),
        };
        self.write(&[(market, tables)], None).await;
        failed.map_or(Ok(()), Err)
    }

    /// The number, if there is one. What asking again can't help is reported; anything else fails the round, which is made again soon.
    fn number(&self, answer: Result<u64, ChainError>, failed: &mut Option<CollectorProblem>) -> Option<u64> {
        match answer {
            Ok(number) => return Some(number),
            Err(error) if error.is_lasting() => self.chain.services.report(&CollectorProblem::View(error)),
            Err(error) => drop(failed.get_or_insert(CollectorProblem::View(error))),
        }
        None
    }

    fn digits(
        &self,
        answer: Result<u64, ChainError>,
        failed: &mut Option<CollectorProblem>,
    ) -> Option<String> {
        self.number(answer, failed).map(|number| number.to_string())
    }

    /// Writes contract values to Redis, and reports what can't be written.
    async fn write(&self, markets: &[(ContractAddress, MarketTables)], nodes: Option<&str>) {
        let (chain, operation) = (&self.chain, WRITE_CONTRACT_VALUES);
        let written = async {
            let mut session = chain.services.store.session(operation).await?;
            chain.store.write_tables(&mut session, markets, nodes).await
        };
        match written.await {
            Ok(faults) => chain.services.note_unwritten(operation, &faults),
            // Only reported: no decision depends on these tables, and the next round writes them.
            Err(error) => chain.services.report(&error),
        }
    }
}

impl Worker for ContractValues {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        let (services, every) = (&self.chain.services, self.chain.settings.refresh_every);
        let pauses = [Duration::ZERO, every];
        // Boxed: the nested futures of several markets are deep.
        let round = || Box::pin(self.run_once(cx));
        run_periodically(cx, services, pauses, CONTRACT_VALUES, &CONTRACT_VALUES_POINTS, round).await
    }
}
