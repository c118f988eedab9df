//! `backfill`: accepts a range of a chain's blocks with the service's own block fetcher, and ends.
//!
//! It writes by compare-and-set, as the service does. So it may run beside a service, be stopped at any moment, and be run
//! again. It prepares no batches: the service does that for the windows that the range closes.

use std::{process::ExitCode, sync::Arc, time::Duration};

use actors::collector::{BlockFetcher, CollectorServices, CollectorSettings};
use color_eyre::eyre::{Result, WrapErr, bail, ensure};
use evm::StartBlock;
use store_collector::operations::READ_CHECKPOINT;
use supervision::{Child, Clock, ExitKind, Outcome, Tree, TreeOptions};
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

/// Time limit for the requests to nodes before the first block is read.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Time limit for the stop of the actors.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Accepts the blocks of `args`; a dry run reads and counts them without a write.
///
/// # Errors
/// A chain that is not configured or does not answer, a wrong contract, blocks that do not exist yet, a gap after the
/// checkpoint, or a block fetcher that stayed down.
pub async fn backfill(args: &BackfillArgs, loaded: &Loaded) -> Result<ExitCode> {
    let config = &loaded.config;
    let log = log_to_stderr(&config.log)?;
    ensure!(config.collector.is_enabled(), "no chain is configured; set collector.nodes (RPC_NODES)");
    // No deadline for the stop: a backfill may end at any block, and the tree below is stopped with its own time limit.
    let signals = Signals::catch(None)?;
    let clock = Clock::system();
    let chain = service::standalone_collector(config, &clock)?;
    let Some((from, to)) = blocks(args, config, &chain).await? else { return Ok(SUCCESS.into()) };
    // Without a checkpoint the fetcher starts at `start`; with one it continues there, and `blocks` has refused a gap.
    let settings = CollectorSettings { start: StartBlock::Number(from), ..(*chain.settings).clone() };
    let chain = CollectorServices { settings: Arc::new(settings), ..chain };

    let tree = start(&chain, to, args.dry_run, config, &clock).await?;
    let began = clock.now();
    let end = tokio::select! {
        // Whether the last block is accepted is decided below.
        () = finished(&tree) => End::Outcome(Outcome::Stopped),
        never = bar::keep_showing(|frame| log.draw(frame), || Some(chain.progress.now())) => match never {},
        outcome = tree.ended() => End::Outcome(outcome),
        signal = signals.stop_requested() => End::Signal(signal),
    };
    // The bar is removed before the actors stop, since their last log lines would redraw it.
    log.draw(None);
    tree.stop(STOP_WITHIN).await;
    let took = clock.now().saturating_duration_since(began);
    // The progress is read after the stop: a block that was accepted during the stop counts.
    let last = chain.progress.now().checkpoint.map_or(0, |checkpoint| checkpoint.number);
    // The fetcher takes block 0 as its first checkpoint without reading it, since it has no events: it does not count.
    let blocks = if last < from { 0 } else { last - from.max(1) + 1 };
    // Log and result go to the same terminal through different descriptors: flush the log, or the two mix.
    logging::flush();
    let printed = output::print(&summary(&chain, blocks, args.dry_run, took));
    // Whatever ended it: if the last block is accepted, the command has done its work.
    if last >= to {
        return printed.map(|()| SUCCESS.into());
    }
    let again = match args.dry_run {
        true => "a dry run starts again at its first block",
        false => "the same command resumes there",
    };
    match end {
        End::Signal(signal) => bail!("{signal} stopped the backfill at block {last} of {to}: {again}"),
        End::Outcome(Outcome::GaveUp { reason, .. } | Outcome::RootEnded { reason }) => {
            bail!("the block fetcher stayed down at block {last} of {to}: {reason}; {again}")
        }
        End::Outcome(Outcome::Stopped) => bail!("the block fetcher ended at block {last} of {to}; {again}"),
    }
}

/// Starts the block fetcher as the only child of a tree.
async fn start(
    chain: &CollectorServices,
    to: u64,
    is_dry_run: bool,
    config: &Config,
    clock: &Clock,
) -> Result<Tree> {
    let chain = chain.clone();
    let fetch = Child::worker(BACKFILL, move || {
        // No edges: preparers and epoch trackers belong to the service, which finds closed windows by its own interval.
        let fetcher = BlockFetcher::new(chain.clone(), Vec::new(), Vec::new()).until(to);
        if is_dry_run { fetcher.as_trial() } else { fetcher }
    });
    let fetch = fetch.policy(service::run_to_completion(&config.supervision));
    let tree = Tree::start(vec![fetch], TreeOptions { clock: clock.clone(), ..TreeOptions::default() });
    tree.await.wrap_err("the block fetcher could not be started")
}

/// Why a backfill ended.
enum End {
    /// The tree ended, or the last block is accepted.
    Outcome(Outcome),
    /// A signal of this name stopped it.
    Signal(&'static str),
}

/// First and last block to accept; `None` if all of them are accepted already.
async fn blocks(
    args: &BackfillArgs,
    config: &Config,
    chain: &CollectorServices,
) -> Result<Option<(u64, u64)>> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let head = chain.source.head(deadline).await?.number;
    let (from, to) = (args.from.number(head), args.to.number(head));
    ensure!(from <= to, "--from {from} is after --to {to}: give the first block and the last one");
    ensure!(to <= head, "block {to} of --to does not exist yet: the newest block is {head}");
    // The fetcher retries a wrong contract without end, since in a service a later answer may be right. A backfill must end.
    for (market, length) in submission_windows(chain, service::protocol_state(config)?, deadline).await? {
        // The actor of the contract values, which keeps them, belongs to the service.
        chain.lengths.set(market, length.as_secs());
    }
    if args.dry_run {
        return Ok(Some((from, to)));
    }
    let mut session = chain.services.store.session(READ_CHECKPOINT).await?;
    let known = chain.chain_store().unwrap_or_else(|| chain.store.clone()).load(&mut session).await?;
    let Some(checkpoint) = known.state.checkpoint else { return Ok(Some((from, to))) };
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
        tracing::info!(block = next, "earlier blocks are accepted already; resuming here");
    }
    Ok(Some((next, to)))
}

/// Waits until the block fetcher has ended by itself, which it does after the last block.
async fn finished(tree: &Tree) {
    loop {
        // Subscribed before the records are read: an end in between is in one of the two.
        let mut changes = tree.subscribe();
        let has_finished = tree.health().iter().any(|actor| actor.exits(ExitKind::Finished) > 0);
        if has_finished {
            return;
        }
        // The end of an incarnation that crashed is followed by the next one. Missed changes are in the records.
        changes.ended(BACKFILL).await;
    }
}

/// The summary that is printed at the end.
fn summary(chain: &CollectorServices, blocks: u64, is_dry_run: bool, took: Duration) -> String {
    let state = chain.progress.now();
    let seconds = took.as_secs_f64();
    let done = if is_dry_run { "read, nothing was written" } else { "accepted" };
    let mut text =
        format!("{blocks} blocks {done}: {seconds:.1} s, {:.0} blocks/s\n", blocks as f64 / seconds);
    for (kind, count) in &state.notes {
        text += &format!("{count:>10} {}\n", kind.replace('_', " "));
    }
    for (market, [unmeasured, waiting, open, closed]) in &state.windows {
        text += &format!("market {market}: windows {waiting} waiting, {open} open, {closed} closed\n");
        if *unmeasured > 0 {
            text += &format!("  {unmeasured} more wait for their length, which the contract did not tell\n");
        }
    }
    for (kind, count) in chain.faults().filter(|(_, count)| *count > 0) {
        text += &format!("{count:>10} faults of nodes or logs: {kind}\n");
    }
    text
}
