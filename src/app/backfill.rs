//! `backfill`: accepts the blocks of a chain up to one, with the service's own fetcher, and ends.
//!
//! What it writes is compared and set as the service does it, so it may run beside one, be ended at any moment, and be run
//! again. Windows that close meanwhile wait for the service, which prepares their batches.

use std::{process::ExitCode, sync::Arc, time::Duration};

use actors::collector::{BlockFetcher, FollowServices, FollowSettings};
use color_eyre::eyre::{Result, WrapErr, bail, ensure};
use evm::StartBlock;
use supervision::{Child, Clock, Outcome, Tree, TreeOptions};

use super::{bar::Bar, logging::log_to_stderr, signals::Signals};
use crate::{
    cli::BackfillArgs,
    config::Loaded,
    exit::SUCCESS,
    service::{self, BACKFILL},
};

/// How long the nodes may take to say how far the chain is.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the last block is accepted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the actors may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Accepts these blocks, or only tells what they would bring.
///
/// # Errors
/// A chain that is not configured or does not answer, blocks that are not there, a gap to what was accepted, a fetcher that
/// could not be kept running.
pub async fn backfill(args: &BackfillArgs, loaded: &Loaded) -> Result<ExitCode> {
    let (config, bar) = (&loaded.config, Bar::new());
    log_to_stderr(&config.log, &bar)?;
    ensure!(config.collector.is_followed(), "there is no chain to read: set collector.nodes (RPC_NODES)");
    let signals = Signals::catch(None)?;
    let clock = Clock::system();
    let chain = service::following(config, &clock)?;
    let Some((from, to)) = blocks(args, &chain).await? else { return Ok(SUCCESS.into()) };
    let settings = FollowSettings { start: StartBlock::Number(from), ..(*chain.settings).clone() };
    let chain = FollowServices { settings: Arc::new(settings), ..chain };

    let (of_fetcher, trial) = (chain.clone(), args.dry_run);
    let fetch = Child::source(BACKFILL, move || {
        let fetcher = BlockFetcher::new(of_fetcher.clone(), Vec::new(), Vec::new()).until(to);
        if trial { fetcher.as_trial() } else { fetcher }
    });
    let fetch = fetch.policy(service::run_to_completion(&config.supervision));
    let tree = Tree::start(vec![fetch], TreeOptions { clock: clock.clone(), ..TreeOptions::default() });
    let tree = tree.await.wrap_err("the fetcher could not be started")?;
    let began = clock.now();
    let end = tokio::select! {
        () = accepted(&chain, to) => End::Outcome(Outcome::Stopped),
        never = bar.keep_showing(|| Some(chain.progress.now())) => match never {},
        outcome = tree.ended() => End::Outcome(outcome),
        signal = signals.told_to_stop() => End::Told(signal),
    };
    bar.clear();
    tree.stop(STOP_WITHIN).await;
    let took = clock.now().saturating_duration_since(began);
    let last = chain.progress.now().checkpoint.map_or(0, |checkpoint| checkpoint.number);
    // From block 0 on, too: it has no events, and is where one begins.
    let blocks = if last < from { 0 } else { last - from.max(1) + 1 };
    print!("{}", summary(&chain, blocks, args.dry_run, took));
    if last >= to {
        return Ok(SUCCESS.into());
    }
    let again =
        if args.dry_run { "a dry run begins anew" } else { "the same blocks, asked for again, go on there" };
    match end {
        End::Told(signal) => bail!("{signal} came at block {last} of {to}: {again}"),
        End::Outcome(Outcome::GaveUp { reason, .. } | Outcome::RootEnded { reason }) => {
            bail!("blocks could be read up to {last} of {to}: {reason}; {again}")
        }
        End::Outcome(Outcome::Stopped) => bail!("it ended at block {last} of {to}; {again}"),
    }
}

/// How it ended.
enum End {
    /// By itself.
    Outcome(Outcome),
    /// It was told to.
    Told(&'static str),
}

/// First and last block to accept; `None` where nothing is left to do.
async fn blocks(args: &BackfillArgs, chain: &FollowServices) -> Result<Option<(u64, u64)>> {
    let head = chain.source.head(tokio::time::Instant::now() + HEAD_WITHIN).await?.number;
    let (from, to) = (args.from.number(head), args.to.number(head));
    ensure!(from <= to, "--from {from} is behind --to {to}: give the first block and the last one");
    ensure!(to <= head, "--to {to} is not there yet: the newest block is {head}");
    if args.dry_run {
        return Ok(Some((from, to)));
    }
    let mut session = chain.services.store.session("read the checkpoint").await?;
    let known = chain.of_chain().unwrap_or_else(|| chain.store.clone()).load(&mut session).await?;
    let Some(checkpoint) = known.following.checkpoint else { return Ok(Some((from, to))) };
    let next = checkpoint.number + 1;
    ensure!(
        from <= next,
        "blocks {next} to {} would be left out, and blocks are accepted in order: give --from {next}, or --dry-run to look only",
        from - 1
    );
    if to < next {
        println!("blocks up to {} are accepted already: nothing to do", checkpoint.number);
        return Ok(None);
    }
    if from < next {
        tracing::info!(block = next, "what lies before was accepted already, it goes on here");
    }
    Ok(Some((next, to)))
}

/// Until this block is accepted.
async fn accepted(chain: &FollowServices, to: u64) {
    while chain.progress.now().checkpoint.is_none_or(|checkpoint| checkpoint.number < to) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What came of it.
fn summary(chain: &FollowServices, blocks: u64, trial: bool, took: Duration) -> String {
    let state = chain.progress.now();
    let seconds = took.as_secs_f64();
    let done = if trial { "read, nothing was written" } else { "accepted" };
    let mut text =
        format!("{blocks} blocks {done}: {seconds:.1} s, {:.0} blocks/s\n", blocks as f64 / seconds);
    for (kind, many) in &state.notes {
        text += &format!("{many:>10} {}\n", kind.replace('_', " "));
    }
    for (market, [waiting, open, closed]) in &state.windows {
        text += &format!("market {market}: windows {waiting} waiting, {open} open, {closed} closed\n");
    }
    for (kind, many) in chain.faults().filter(|(_, many)| *many > 0) {
        text += &format!("{many:>10} faults of nodes or logs: {kind}\n");
    }
    text
}
