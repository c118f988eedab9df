//! The demo's screen as rows, and their fit to a terminal. Pure.
//!
//! A row is cut to the width of the terminal: a wrapped one would scroll the totals away. If there are more rows than lines,
//! the least important ones are dropped, and the totals last.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use actors::collector::ProgressSnapshot;
use domain::chain::ContractAddress;
use serde_json::Value;
use supervision::{ActorHealth, State};

use super::seen::{Datasets, Queued};
use crate::escape::escaped;

/// Narrower terminals get shorter rows.
const WIDE: usize = 112;
/// How many of the newest news rank above the actors.
const RECENT: usize = 2;

/// The content of the screen.
pub(super) struct View<'a> {
    /// Seconds since the start.
    pub(super) elapsed: f64,
    /// Addresses of the servers and of the endpoints.
    pub(super) addresses: &'a [String; 3],
    pub(super) following: &'a ProgressSnapshot,
    /// What the lying node does.
    pub(super) nodes: &'a str,
    /// What the relayer got.
    pub(super) relayer: &'a str,
    /// Who is connected to the peers' ports.
    pub(super) peers: &'a str,
    /// What the client of campaigns got.
    pub(super) campaigns: &'a str,
    pub(super) markets: Vec<MarketView<'a>>,
    pub(super) actors: &'a [ActorHealth],
    pub(super) findings: Vec<&'a str>,
    /// The oldest first.
    pub(super) news: &'a [String],
}

/// One market.
pub(super) struct MarketView<'a> {
    pub(super) name: &'a str,
    pub(super) seen: &'a Datasets,
    pub(super) queued: Queued,
}

/// The importance of a row, the highest first. The lowest rank is dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Title and totals.
    Totals,
    Finding,
    Chain,
    Peers,
    RecentNews,
    Epoch,
    /// An actor that does not run now.
    Down,
    /// The heading of the actors.
    Heading,
    /// An actor that was restarted.
    Restarted,
    Windows,
    News,
    /// An actor that never crashed.
    Running,
    /// Details, addresses, blank lines.
    Detail,
}

impl Rank {
    fn is_actor(self) -> bool {
        matches!(self, Self::Down | Self::Restarted | Self::Running)
    }
}

/// One row.
pub(super) struct Row {
    text: String,
    rank: Rank,
}

/// All rows in full length, for output that is not a terminal.
pub(super) fn plain(view: &View<'_>) -> String {
    let mut text = String::new();
    for row in rows(view, true) {
        // Messages of crashes may contain escape sequences and line breaks.
        text.push_str(&escaped(&row.text));
        text.push('\n');
    }
    text
}

/// The rows for a terminal of this size: at most `height` lines of at most `width` characters.
pub(super) fn fitted(view: &View<'_>, width: usize, height: usize) -> Vec<String> {
    let mut rows = rows(view, width >= WIDE);
    let actors = rows.iter().filter(|row| row.rank.is_actor()).count();
    while rows.len() > height {
        // Row by row, the last one of the lowest rank first: a screen that is one
        // line too small loses one row and not a whole group.
        let Some(worst) = rows.iter().map(|row| row.rank).max() else { break };
        let Some(last) = rows.iter().rposition(|row| row.rank == worst) else { break };
        rows.remove(last);
    }
    let shown = rows.iter().filter(|row| row.rank.is_actor()).count();
    if shown == 0 {
        // A heading without actors below it would only take a line.
        rows.retain(|row| row.rank != Rank::Heading);
    } else if shown < actors
        && let Some(heading) = rows.iter_mut().find(|row| row.rank == Rank::Heading)
    {
        // The heading says that actors are missing; without it, a reader would take the list for complete.
        heading.text = heading_of(&format!("actor ({shown} of {actors})"));
    }
    rows.iter().map(|row| cut(&escaped(&row.text), width)).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    // A width of 0 must give no character at all, not even the ellipsis.
    text.chars().take(width.saturating_sub(1)).chain("…".chars().take(width)).collect()
}

/// Wraps text between words, in lines of at most `width` characters.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let words = line.trim_start();
        let mut current = line[..line.len() - words.len()].to_owned();
        let mut is_empty = true;
        for word in words.split(' ') {
            // The indentation of the first line belongs to the text, and no word is
            // broken: a hash stays in one piece for copying.
            let is_full = current.chars().count() + 1 + word.chars().count() > width;
            if !is_empty && is_full {
                lines.push(std::mem::take(&mut current));
            } else if !is_empty {
                current.push(' ');
            }
            current.push_str(word);
            is_empty = false;
        }
        lines.push(current);
    }
    lines.join("\n")
}

fn rows(view: &View<'_>, is_wide: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |rank, text: String| rows.push(Row { text, rank });
    let View { elapsed, addresses: [servers, endpoints, of_peers], following, .. } = view;
    if is_wide {
        add(
            Rank::Totals,
            format!("state-tracker demo   {elapsed:.0} s   {servers}   {endpoints}   Ctrl-C ends"),
        );
    } else {
        add(Rank::Totals, format!("state-tracker demo   {elapsed:.0} s   Ctrl-C ends"));
        add(Rank::Detail, servers.clone());
        add(Rank::Detail, endpoints.clone());
        add(Rank::Detail, of_peers.clone());
    }
    add(Rank::Detail, String::new());
    add(Rank::Chain, chain(following, is_wide));
    let label = if is_wide { format!("{:<23}  ", "nodes") } else { String::new() };
    add(Rank::Windows, format!("{label}{}", view.nodes));
    let label = if is_wide { format!("{:<23}  ", "relayer") } else { String::new() };
    add(Rank::Windows, format!("{label}{}", view.relayer));
    if is_wide {
        add(Rank::Peers, format!("{:<23}  {}   {of_peers}", "peers", view.peers));
    } else {
        add(Rank::Peers, format!("peers  {}", view.peers));
    }
    let label = if is_wide { format!("{:<23}  ", "campaigns") } else { "campaigns  ".to_owned() };
    add(Rank::Peers, format!("{label}{}", view.campaigns));
    for market in &view.markets {
        let windows = windows(following, market.name);
        match is_wide {
            true => wide_market(market, windows).into_iter().for_each(|(rank, text)| add(rank, text)),
            false => narrow_market(market, windows).into_iter().for_each(|(rank, text)| add(rank, text)),
        }
    }
    add(Rank::Detail, String::new());
    add(Rank::Heading, heading_of("actor"));
    let actors = view.actors.iter().filter(|health| !is_one_of_many(health));
    actors.for_each(|health| add(rank_of(health), actor(health, is_wide)));
    for finding in &view.findings {
        add(Rank::Finding, format!("WRONG: {finding}"));
    }
    add(Rank::Detail, String::new());
    for (at, news) in view.news.iter().enumerate() {
        let rank = if at + RECENT >= view.news.len() { Rank::RecentNews } else { Rank::News };
        add(rank, if is_wide { news.clone() } else { with_short_addresses(news) });
    }
    rows
}

fn chain(following: &ProgressSnapshot, is_wide: bool) -> String {
    let or_none = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
    let label = if is_wide { format!("{:<23}", "chain") } else { "chain".to_owned() };
    let blocks = if is_wide { "blocks accepted" } else { "blocks" };
    format!(
        "{label}  head {}  checkpoint {}  lag {}  {blocks} {}  reorganisations {}",
        or_none(following.head.map(|(head, _)| head.number)),
        or_none(following.checkpoint.map(|checkpoint| checkpoint.number)),
        or_none(following.lag()),
        following.blocks,
        following.reorganisations,
    )
}

/// The submission windows of a market: waiting, open, closed.
fn windows(following: &ProgressSnapshot, market: &str) -> [u64; 3] {
    let market = market.parse().ok();
    let windows = market.and_then(|market: ContractAddress| following.windows.get(&market));
    let [unmeasured, waiting, open, closed] = windows.copied().unwrap_or_default();
    [unmeasured + waiting, open, closed]
}

fn wide_market(market: &MarketView<'_>, [waiting, open, closed]: [u64; 3]) -> Vec<(Rank, String)> {
    let MarketView { name, seen, queued: Queued { epochs, batches, submissions } } = market;
    let label = |name: &str| format!("  {name:<21}");
    let mut rows = vec![(Rank::Totals, format!("market {name}"))];
    match &seen.summary {
        Some(summary) => {
            let field = |name: &str| shown(&summary[name]);
            let text = format!(
                "{}  submissions {} ({}/s)  epochs {}  batches {}  validators {}  last minute {}",
                label("dashboard:summary"),
                field("submissions_total"),
                field("submission_rate"),
                field("epochs_total"),
                field("batches_total"),
                field("active_validators"),
                field("submissions_1m"),
            );
            rows.push((Rank::Totals, text));
            // The hash repeats the summary: the number of fields shows that it is there.
            rows.push((Rank::Detail, format!("{}  {} fields", label("stats:current"), seen.stats.len())));
        }
        None => rows.push((Rank::Totals, format!("{}  not yet", label("dashboard:summary")))),
    }
    rows.push((Rank::Epoch, format!("{}  {}", label("metrics:current_epoch"), epoch(seen))));
    let epochs = epochs.len();
    let windows = format!(
        "{}  waiting {waiting}  open {open}  closed {closed}  handed over: epochs {epochs}  batches {batches}  submissions \
         {submissions}",
        label("windows")
    );
    rows.push((Rank::Totals, windows));
    rows
}

fn narrow_market(market: &MarketView<'_>, [waiting, open, closed]: [u64; 3]) -> Vec<(Rank, String)> {
    let MarketView { name, seen, queued: Queued { epochs, batches, submissions } } = market;
    let name = short(name);
    let mut rows = Vec::new();
    match &seen.summary {
        Some(summary) => {
            let field = |name: &str| shown(&summary[name]);
            let totals = format!(
                "market {name}  submissions {}  epochs {}  batches {}",
                field("submissions_total"),
                field("epochs_total"),
                field("batches_total"),
            );
            let details = format!(
                "  validators {}  submissions/s {}  in the last minute {}",
                field("active_validators"),
                field("submission_rate"),
                field("submissions_1m")
            );
            rows.extend([(Rank::Totals, totals), (Rank::Detail, details)]);
        }
        None => rows.push((Rank::Totals, format!("market {name}  no summary yet"))),
    }
    rows.push((Rank::Epoch, format!("  current epoch: {}", epoch(seen))));
    rows.push((Rank::Windows, format!("  windows: waiting {waiting}  open {open}  closed {closed}")));
    let epochs = epochs.len();
    let handed = format!("  handed over: epochs {epochs}  batches {batches}  submissions {submissions}");
    rows.push((Rank::Totals, handed));
    rows
}

fn epoch(seen: &Datasets) -> String {
    let Some(current) = &seen.current_epoch else { return "not yet".to_owned() };
    format!(
        "{}  {}  {} s of {} s left  {} submissions",
        shown(&current["epoch_id"]),
        shown(&current["phase"]),
        shown(&current["time_remaining_seconds"]),
        shown(&current["window_duration"]),
        shown(&current["submissions_received"]),
    )
}

fn heading_of(name: &str) -> String {
    format!("{name:<28} {:<12} {:>8} {:>8}  last crash", "state", "restarts", "handled")
}

/// Whether it is one of several that are all alike, and nothing happened to it.
fn is_one_of_many(actor: &ActorHealth) -> bool {
    let many = ["peers/connections/", "campaigns/workers/"];
    many.iter().any(|group| actor.path.starts_with(group)) && rank_of(actor) == Rank::Running
}

fn rank_of(actor: &ActorHealth) -> Rank {
    match (actor.state, actor.restarts()) {
        (State::Running, 0) => Rank::Running,
        (State::Running, _) => Rank::Restarted,
        // Backing off, starting and degraded: the actors that an observer looks for.
        _ => Rank::Down,
    }
}

fn actor(actor: &ActorHealth, is_wide: bool) -> String {
    let names: Vec<String> = actor.path.split('/').map(short).collect();
    let name = match is_wide {
        true => {
            // The root is at the left margin, and its children one step further: every other path lacks the name of the root.
            let depth = names.len() - usize::from(actor.path == "root");
            format!("{:indent$}{}", "", names[names.len() - 1], indent = 2 * depth)
        }
        // The row of its parent may have been dropped, so the name includes the parent.
        false => names[names.len().saturating_sub(2)..].join("/"),
    };
    let state = format!("{:?}", actor.state).to_lowercase();
    let handled = actor.mailbox.map_or(String::new(), |mailbox| mailbox.handled.to_string());
    let mut text = format!("{name:<28} {state:<12} {:>8} {handled:>8}", actor.restarts());
    if let Some(crash) = &actor.last_crash {
        // Writing into a string can't fail.
        let _ = write!(text, "  {}", crash.message);
    }
    text
}

/// The first and last digits of an address; any other name unchanged.
fn short(name: &str) -> String {
    // `get` and not an index: a name may contain characters of several bytes.
    match (name.get(..8), name.get(38..)) {
        (Some(start), Some(end)) if name.starts_with("0x") && name.len() == 42 => format!("{start}…{end}"),
        _ => name.to_owned(),
    }
}

fn with_short_addresses(text: &str) -> String {
    // An address may be part of a path, as in `markets/0x…/aggregator`.
    let is_part = |character: char| character.is_ascii_alphanumeric();
    let mut rest = text;
    let mut all = String::new();
    while let Some(end) = rest.find(|character| !is_part(character)) {
        let (word, behind) = rest.split_at(end);
        all.push_str(&short(word));
        let mut characters = behind.chars();
        all.extend(characters.next());
        rest = characters.as_str();
    }
    all + &short(rest)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Counts are integers in the datasets and rates are not: only rates get two decimals.
        Value::Number(number) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}
