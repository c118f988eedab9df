//! The arguments of `campaigns`.

use clap::{Args, Subcommand};

/// The arguments of `campaigns`.
#[derive(Clone, Debug, Args)]
pub struct CampaignsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: CampaignsAction,
}

/// A command about campaigns.
#[derive(Clone, Debug, Subcommand)]
pub enum CampaignsAction {
    /// Show the queue of status jobs and its dead letters, and replay or drop them
    #[command(subcommand)]
    Jobs(JobsAction),
    /// Add what counts runs by their changes to the database: a schema of our own, triggers, indexes. It can be repeated, and undone
    Migrate {
        /// The role of the service, where that is not the one that migrates
        #[arg(long, value_name = "ROLE")]
        service: Option<String>,
    },
    /// Remove everything that `campaigns migrate` has added
    Undo,
    /// Show how much of the migration is there
    State,
}

/// A command about status jobs.
#[derive(Clone, Debug, Subcommand)]
pub enum JobsAction {
    /// Show how many jobs wait, and the dead letters
    List {
        /// How many dead letters
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        count: u16,
        /// Print one JSON object instead of a text
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter whole, as JSON
    Show {
        /// Its id, as `campaigns jobs list` shows it
        id: String,
    },
    /// Queue a dead letter again, as if it had never been tried
    Replay {
        /// Its id
        id: String,
    },
    /// Throw a dead letter away
    Drop {
        /// Its id
        id: String,
    },
}
