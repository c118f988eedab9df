//! `backfill`: accepts the blocks of a chain up to a block, with the service's own block fetcher, and ends.
//!
//! It writes as the service does, by compare-and-set. So it may run beside a service, may be stopped at any moment, and may be
//! run again. The service prepares the batches of windows that close meanwhile.

use std::{process::ExitCode, sync::Arc, time::Duration};

use actors::collector::{BlockFetcher, CollectorServices, CollectorSettings};
use color_eyre::eyre::{Result, WrapErr, bail, ensure};
use evm::StartBlock;
use store_collector::operations::READ_CHECKPOINT;
use supervision::{Child, Clock, Outcome, Tree, TreeOptions};
use tokio::time::Instant;

use super::{
    bar,
    logging::{self, log_to_stderr},
    output,
    signals::Signals,
};
use crate::{
    cli::BackfillArgs,
    config::{Config, Loaded},
    contracts::submission_windows,
    exit::SUCCESS,
    service::{self, BACKFILL},
};

/// How long the nodes have to answer before the first block is read.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two checks whether the last block is accepted.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// How long the actors have to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Accepts these blocks, or reads them and reports what they hold.
///
/// # Errors
/// A chain that is not configured or does not answer, a wrong contract, missing blocks, a gap to the checkpoint, a block
/// fetcher that stayed down.
pub async fn backfill(args: &BackfillArgs, loaded: &Loaded) -> Result<ExitCode> {
    let config = &loaded.config;
    let log = log_to_stderr(&config.log)?;
    ensure!(config.collector.is_followed(), "no chain is configured; set collector.nodes (RPC_NODES)");
    let signals = Signals::catch(None)?;
    let clock = Clock::system();
    let chain = service::following(config, &clock)?;
    let Some((from, to)) = blocks(args, config, &chain).await? else { return Ok(SUCCESS.into()) };
    let settings = CollectorSettings { start: StartBlock::Number(from), ..(*chain.settings).clone() };
    let chain = CollectorServices { settings: Arc::new(settings), ..chain };

    let tree = start(&chain, to, args.dry_run, config, &clock).await?;
    let began = clock.now();
    let end = tokio::select! {
        () = accepted(&chain, to) => End::Outcome(Outcome::Stopped),
        never = bar::keep_showing(|frame| log.draw(frame), || Some(chain.progress.now())) => match never {},
        outcome = tree.ended() => End::Outcome(outcome),
        signal = signals.told_to_stop() => End::Signal(signal),
    };
    log.draw(None);
    tree.stop(STOP_WITHIN).await;
    let took = clock.now().saturating_duration_since(began);
    let last = chain.progress.now().checkpoint.map_or(0, |checkpoint| checkpoint.number);
    // Block 0 has no events: it is the checkpoint to start with, and does not count.
    let blocks = if last < from { 0 } else { last - from.max(1) + 1 };
    // The bar and the log leave the terminal first.
    logging::flush();
    let printed = output::print(&summary(&chain, blocks, args.dry_run, took));
    if last >= to {
        return printed.map(|()| SUCCESS.into());
    }
    let again = match args.dry_run {
        true => "a dry run starts again at its first block",
        false => "the same command resumes there",
    };
    match end {
        End::Signal(signal) => bail!("{signal} stopped it at block {last} of {to}: {again}"),
        End::Outcome(Outcome::GaveUp { reason, .. } | Outcome::RootEnded { reason }) => {
            bail!("the block fetcher stayed down at block {last} of {to}: {reason}; {again}")
        }
        End::Outcome(Outcome::Stopped) => bail!("the block fetcher ended at block {last} of {to}; {again}"),
    }
}

/// Starts the block fetcher under a root of its own.
async fn start(
    chain: &CollectorServices,
    to: u64,
    is_trial: bool,
    config: &Config,
    clock: &Clock,
) -> Result<Tree> {
    let chain = chain.clone();
    let fetch = Child::source(BACKFILL, move || {
        let fetcher = BlockFetcher::new(chain.clone(), Vec::new(), Vec::new()).until(to);
        if is_trial { fetcher.as_trial() } else { fetcher }
    });
    let fetch = fetch.policy(service::run_to_completion(&config.supervision));
    let tree = Tree::start(vec![fetch], TreeOptions { clock: clock.clone(), ..TreeOptions::default() });
    tree.await.wrap_err("the block fetcher could not be started")
}

/// The end of a backfill.
enum End {
    /// The tree ended.
    Outcome(Outcome),
    /// A signal of this name stopped it.
    Signal(&'static str),
}

/// First and last block to accept; `None` where all are accepted already.
async fn blocks(
    args: &BackfillArgs,
    config: &Config,
    chain: &CollectorServices,
) -> Result<Option<(u64, u64)>> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let head = chain.source.head(deadline).await?.number;
    let (from, to) = (args.from.number(head), args.to.number(head));
    ensure!(from <= to, "--from {from} is behind --to {to}: give the first block and the last one");
    ensure!(to <= head, "block {to} of --to does not exist yet: the newest block is {head}");
    // The fetcher would ask a wrong contract for ever: in a service a later answer may be right.
    submission_windows(chain, service::protocol_state(config)?, deadline).await?;
    if args.dry_run {
        return Ok(Some((from, to)));
    }
    let mut session = chain.services.store.session(READ_CHECKPOINT).await?;
    let known = chain.chain_store().unwrap_or_else(|| chain.store.clone()).load(&mut session).await?;
    let Some(checkpoint) = known.following.checkpoint else { return Ok(Some((from, to))) };
    let next = checkpoint.number + 1;
    ensure!(
        from <= next,
        "blocks {next} to {} would be skipped, and blocks are accepted in order: use --from {next}, or --dry-run to read only",
        from - 1
    );
    if to < next {
        output::print(&format!("blocks up to {} are accepted already: nothing to do\n", checkpoint.number))?;
        return Ok(None);
    }
    if from < next {
        tracing::info!(block = next, "the blocks before are accepted already; resuming here");
    }
    Ok(Some((next, to)))
}

/// Waits until this block is accepted.
async fn accepted(chain: &CollectorServices, to: u64) {
    while chain.progress.now().checkpoint.is_none_or(|checkpoint| checkpoint.number < to) {
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

/// The counts of a backfill.
fn summary(chain: &CollectorServices, blocks: u64, is_trial: bool, took: Duration) -> String {
    let state = chain.progress.now();
    let seconds = took.as_secs_f64();
    let done = if is_trial { "read, nothing was written" } else { "accepted" };
    let mut text =
        format!("{blocks} blocks {done}: {seconds:.1} s, {:.0} blocks/s\n", blocks as f64 / seconds);
    for (kind, count) in &state.notes {
        text += &format!("{count:>10} {}\n", kind.replace('_', " "));
    }
    for (market, [waiting, open, closed]) in &state.windows {
        text += &format!("market {market}: windows {waiting} waiting, {open} open, {closed} closed\n");
    }
    for (kind, count) in chain.faults().filter(|(_, count)| *count > 0) {
        text += &format!("{count:>10} faults of nodes or logs: {kind}\n");
    }
    text
}
