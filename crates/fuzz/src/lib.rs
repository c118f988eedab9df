//! Fuzz targets: each reads one input as the program would read it from outside, and panics where a promise is broken: no panic, the
//! same value after writing and reading again, errors that are short, on one line, and name their place.
//!
//! `tests/explore.rs` feeds them the kept corpus in `corpus/` and what a seed makes of it. Answers of nodes and
//! of Redis, and values in Redis, are fuzzed where their readers are: in `evm`, `store-tracker` and `store-collector`.
//!
//! **Invariant:** no shipped binary links this crate, and no target reaches a network or starts a thread.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "targets panic where a promise is broken"
)]

mod configuration;
mod failure_points;
mod peers;
mod refused;
mod retry_after;
mod sockets;
mod text;

use std::path::PathBuf;

/// Something that reads inputs from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Reads an input. The label that it returns is the same for inputs that were read in the same way.
    pub run: fn(&[u8]) -> String,
}

/// Every target.
pub static TARGETS: &[Target] = &[
    Target { name: "archive", run: text::archive },
    Target { name: "configuration", run: configuration::file },
    Target { name: "environment", run: configuration::environment },
    Target { name: "events", run: text::event },
    Target { name: "failure_points", run: failure_points::text },
    Target { name: "ledger", run: text::ledger },
    Target { name: "logs", run: text::logs },
    Target { name: "names", run: text::name },
    Target { name: "packets", run: sockets::packets },
    Target { name: "peers", run: peers::lines },
    Target { name: "retry_after", run: retry_after::header },
    Target { name: "urls", run: text::url },
    Target { name: "websocket", run: sockets::websocket },
];

impl Target {
    /// The folder of its corpus.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "corpus", self.name].iter().collect()
    }
}
