//! The demo's screen. A terminal is redrawn in place; other output gets a block of plain lines every few looks. Writes to
//! standard output.

use std::{
    io::{IsTerminal, Write as _},
    net::SocketAddr,
    time::Instant,
};

use super::{
    frame::{MarketView, View, fitted, plain, wrapped},
    judge::Judge,
    seen::{Datasets, Tally},
    servers::Servers,
};
use crate::service::{PeerPorts, Service};

/// Without a terminal, a block is printed at every fifth look.
const PRINT_EVERY: u64 = 5;
/// How many lines of news a terminal shows.
const NEWS: usize = 5;
/// The size that is assumed of a terminal without one.
const SIZE: (u16, u16) = (80, 24);

pub(super) struct Screen<'a> {
    markets: &'a [String],
    addresses: [String; 3],
    began: Instant,
    terminal: bool,
    looks: u64,
    news: Vec<String>,
}

/// The content of a look.
pub(super) struct Look<'a> {
    pub(super) datasets: &'a [Datasets],
    /// The content of the finalizers' queue.
    pub(super) tally: &'a Tally,
    pub(super) judge: &'a Judge,
    /// What the lying node does.
    pub(super) nodes: &'a str,
    /// What the relayer got.
    pub(super) relayer: &'a str,
    /// Who is connected to the peers' ports.
    pub(super) peers: &'a str,
    /// What the client of campaigns got.
    pub(super) campaigns: &'a str,
}

impl<'a> Screen<'a> {
    pub(super) fn new(servers: &'a Servers, service: &Service) -> Self {
        let http = service.http();
        let of_peers = |ports: Vec<SocketAddr>| ports.first().map(SocketAddr::to_string).unwrap_or_default();
        let peers = service.peers();
        let [page, senders] = [peers.map(PeerPorts::readers), peers.map(PeerPorts::senders)]
            .map(|ports| of_peers(ports.unwrap_or_default()));
        let addresses = [
            format!("redis {}   anvil {}", servers.redis.addr(), servers.anvil.addr()),
            format!("http://{}/metrics   http://{}/health", http.metrics_address(), http.operator_address()),
            format!("http://{page}/   senders {senders}"),
        ];
        let terminal = std::io::stdout().is_terminal();
        let markets = &servers.contracts.markets;
        Self { markets, addresses, began: Instant::now(), terminal, looks: 0, news: Vec::new() }
    }

    fn stamped(&self, text: &str) -> String {
        format!("{:>5.1} s  {text}", self.began.elapsed().as_secs_f64())
    }

    /// Adds a line of news. A terminal shows it with the next look, since a line between two looks would scroll the screen.
    pub(super) fn say(&mut self, news: &str) {
        let line = self.stamped(news);
        if !self.terminal {
            return print(&format!("{line}\n"));
        }
        if self.news.len() == NEWS {
            self.news.remove(0);
        }
        self.news.push(line);
    }

    /// Prints lines below the last screen.
    pub(super) fn conclude(&self, text: &str) {
        let line = self.stamped(text);
        let line = if self.terminal { wrapped(&line, usize::from(size().0)) } else { line };
        print(&format!("{line}\n"));
    }

    pub(super) fn show(&mut self, look: &Look<'_>, service: &Service) {
        self.looks += 1;
        if self.terminal || self.looks % PRINT_EVERY == 1 {
            self.show_now(look, service);
        }
    }

    /// Shows a look at once, whatever its number.
    pub(super) fn show_now(&self, look: &Look<'_>, service: &Service) {
        let (following, actors) = (service.chain_progress().unwrap_or_default(), service.tree().health());
        let markets = self.markets.iter().zip(look.datasets);
        let markets = markets.map(|(name, seen)| MarketView { name, seen, queued: look.tally.of(name) });
        let view = View {
            elapsed: self.began.elapsed().as_secs_f64(),
            addresses: &self.addresses,
            following: &following,
            nodes: look.nodes,
            relayer: look.relayer,
            peers: look.peers,
            campaigns: look.campaigns,
            markets: markets.collect(),
            actors: &actors,
            findings: look.judge.findings().map(String::as_str).collect(),
            news: &self.news,
        };
        if !self.terminal {
            return print(&plain(&view));
        }
        let (width, height) = size();
        // The line break after the last row moves the cursor below it: without a free line, the terminal would scroll.
        let lines = fitted(&view, usize::from(width), usize::from(height).saturating_sub(1));
        // The cursor to the top left, then the screen cleared, in one write with the rows: otherwise it flickers.
        print(&format!("\x1b[H\x1b[2J{}\n", lines.join("\n")));
    }
}

/// Width and height of the terminal.
fn size() -> (u16, u16) {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    let size = size.map(|(width, height)| (width.0, height.0));
    // A pseudo-terminal without a size, as in some containers, reports 0.
    size.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(SIZE)
}

/// Prints to standard output. A closed pipe does not end the demo, whose exit code is the verdict.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
