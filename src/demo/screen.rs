//! What the demo shows: redrawn in place on a terminal, a block every few looks anywhere else. Writes to standard output.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    time::Instant,
};

use actors::collector::FollowState;
use domain::chain::ContractAddress;
use serde_json::Value;
use supervision::ActorHealth;

use super::{
    judge::Judge,
    seen::{Datasets, Queued, Tally},
    servers::Servers,
};
use crate::{http::HttpServers, service::Service};

/// Without a terminal, every how many looks a block is printed.
const PRINT_EVERY: u64 = 5;
/// Lines of news that a terminal keeps.
const NEWS: usize = 5;

pub(super) struct Screen<'a> {
    markets: &'a [String],
    head: String,
    began: Instant,
    terminal: bool,
    looks: u64,
    news: Vec<String>,
}

/// What is shown at a look.
pub(super) struct Look<'a> {
    pub(super) datasets: &'a [Datasets],
    /// What stands in the finalizers' queue.
    pub(super) tally: &'a Tally,
    pub(super) judge: &'a Judge,
}

impl<'a> Screen<'a> {
    pub(super) fn new(servers: &'a Servers, http: &HttpServers) -> Self {
        let head = format!(
            "redis {}   anvil {}   http://{}/metrics   http://{}/health   Ctrl-C ends",
            servers.redis.addr(),
            servers.anvil.addr(),
            http.metrics_address(),
            http.operator_address()
        );
        let terminal = std::io::stdout().is_terminal();
        let markets = &servers.contracts.markets;
        Self { markets, head, began: Instant::now(), terminal, looks: 0, news: Vec::new() }
    }

    /// A line of news.
    pub(super) fn say(&mut self, news: &str) {
        let line = format!("{:>5.1} s  {news}", self.began.elapsed().as_secs_f64());
        if !self.terminal {
            return print(&format!("{line}\n"));
        }
        if self.news.len() == NEWS {
            self.news.remove(0);
        }
        print(&format!("{line}\n"));
        self.news.push(line);
    }

    pub(super) fn show(&mut self, look: &Look<'_>, service: &Service) {
        self.looks += 1;
        if self.terminal || self.looks % PRINT_EVERY == 1 {
            self.show_now(look, service);
        }
    }

    /// Shows it also where it is not yet time for it.
    pub(super) fn show_now(&self, look: &Look<'_>, service: &Service) {
        let mut text = String::new();
        if self.terminal {
            text.push_str("\x1b[H\x1b[2J");
        }
        // Writing into a string can't fail.
        let _ = self.draw(&mut text, look, service);
        print(&text);
    }

    fn draw(&self, text: &mut String, look: &Look<'_>, service: &Service) -> std::fmt::Result {
        writeln!(text, "state-tracker demo   {:.0} s   {}\n", self.began.elapsed().as_secs_f64(), self.head)?;
        let following = service.following().unwrap_or_default();
        draw_chain(text, &following)?;
        for (market, seen) in self.markets.iter().zip(look.datasets) {
            writeln!(text, "market {market}")?;
            draw_datasets(text, seen)?;
            draw_windows(text, &following, market, &look.tally.of(market))?;
        }
        draw_actors(text, &service.tree().health())?;
        for finding in look.judge.findings() {
            writeln!(text, "WRONG: {finding}")?;
        }
        writeln!(text)?;
        for news in self.news.iter().filter(|_| self.terminal) {
            writeln!(text, "{news}")?;
        }
        Ok(())
    }
}

/// How far the chain is followed.
fn draw_chain(text: &mut String, following: &FollowState) -> std::fmt::Result {
    let or_none = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
    writeln!(
        text,
        "chain                    head {}  checkpoint {}  lag {}  blocks accepted {}  reorganisations {}",
        or_none(following.head.map(|(head, _)| head.number)),
        or_none(following.checkpoint.map(|checkpoint| checkpoint.number)),
        or_none(following.lag()),
        following.blocks,
        following.reorganisations,
    )
}

/// The submission windows of a market, and what finalizers find of those that are over.
fn draw_windows(
    text: &mut String,
    following: &FollowState,
    market: &str,
    queued: &Queued,
) -> std::fmt::Result {
    let windows = market.parse().ok().and_then(|market: ContractAddress| following.windows.get(&market));
    let [waiting, open, closed] = windows.copied().unwrap_or_default();
    let Queued { epochs, batches, submissions } = queued;
    let epochs = epochs.len();
    writeln!(
        text,
        "  windows                waiting {waiting}  open {open}  closed {closed}  handed over: epochs {epochs}  batches {batches}  submissions {submissions}",
    )
}

fn draw_datasets(text: &mut String, seen: &Datasets) -> std::fmt::Result {
    match &seen.summary {
        Some(summary) => {
            let field = |name: &str| shown(&summary[name]);
            writeln!(
                text,
                "  dashboard:summary      submissions {} ({}/s)  epochs {}  batches {}  validators {}  last minute {}",
                field("submissions_total"),
                field("submission_rate"),
                field("epochs_total"),
                field("batches_total"),
                field("active_validators"),
                field("submissions_1m"),
            )?;
            writeln!(text, "  stats:current          {} fields", seen.stats.len())?;
        }
        None => writeln!(text, "  dashboard:summary      not yet")?,
    }
    match &seen.current_epoch {
        Some(current) => writeln!(
            text,
            "  metrics:current_epoch  {}  {}  {} s of {} s left  {} submissions",
            shown(&current["epoch_id"]),
            shown(&current["phase"]),
            shown(&current["time_remaining_seconds"]),
            shown(&current["window_duration"]),
            shown(&current["submissions_received"]),
        ),
        None => writeln!(text, "  metrics:current_epoch  not yet"),
    }
}

fn draw_actors(text: &mut String, actors: &[ActorHealth]) -> std::fmt::Result {
    writeln!(text, "\n{:<28} {:<12} {:>8} {:>8}  last crash", "actor", "state", "restarts", "handled")?;
    for actor in actors {
        let depth = actor.path.matches('/').count() + usize::from(actor.path != "root");
        let name = short(actor.path.rsplit('/').next().unwrap_or_default());
        let state = format!("{:?}", actor.state).to_lowercase();
        let handled = actor.mailbox.map_or(String::new(), |mailbox| mailbox.handled.to_string());
        let crash = actor.last_crash.as_ref().map_or(String::new(), |crash| crash.message.clone());
        let name = format!("{:indent$}{name}", "", indent = 2 * depth);
        writeln!(text, "{name:<28} {state:<12} {:>8} {handled:>8}  {crash}", actor.restarts())?;
    }
    Ok(())
}

/// An address by its ends; any other name as it is.
fn short(name: &str) -> String {
    match (name.get(..8), name.get(38..)) {
        (Some(start), Some(end)) if name.starts_with("0x") => format!("{start}…{end}"),
        _ => name.to_owned(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

/// To standard output; that nobody reads on is no reason to end the demo.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
