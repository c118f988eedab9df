//! The arguments of `peers`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The arguments of `peers`.
#[derive(Clone, Debug, Args)]
pub struct PeersArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: PeersAction,
}

/// A command about the history of the peers.
#[derive(Clone, Debug, Subcommand)]
pub enum PeersAction {
    /// Import a database of the former service; it can be repeated, and goes on where it was. The service must not run meanwhile
    Import(ImportPeersArgs),
}

/// The arguments of `peers import`.
#[derive(Clone, Debug, Args)]
pub struct ImportPeersArgs {
    /// The SQLite file of the former service, which is only read
    pub file: PathBuf,
    /// The source that its history belongs to: the name in peers.names, or the pseudonym that is shown
    #[arg(long, value_name = "NAME")]
    pub source: String,
    /// Only say what would be imported
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
}
