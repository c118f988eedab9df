//! The arguments of `outbox`.

use clap::{Args, Subcommand, builder::TypedValueParser as _};
use store_collector::outbox::Stage;

use crate::outbox::MOST_SHOWN;

/// The arguments of `outbox`.
#[derive(Clone, Debug, Args)]
pub struct OutboxArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: OutboxAction,
}

/// A command about the outbox.
#[derive(Clone, Debug, Subcommand)]
pub enum OutboxAction {
    /// Show all lanes, or the calls of one
    List(ListArgs),
    /// Show one call whole, as JSON
    Show {
        /// The market of its lane, by its address
        market: String,
        /// Its id, as `outbox list` shows it
        id: String,
        /// Its stage [default: waiting]
        #[arg(long, value_parser = stage)]
        stage: Option<Stage>,
    },
    /// Put dead calls behind those that wait
    Retry(OrderArgs),
    /// Throw calls away
    Drop {
        /// Of which stage: waiting, dead or again
        #[arg(long, value_parser = stage)]
        stage: Stage,
        /// Which ones
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Send accepted calls again, with their keys, slowly and while no others wait
    Replay(OrderArgs),
    /// Send nothing of a market until `outbox resume`, and keep everything
    Pause {
        /// The market, by its address
        market: String,
        /// Why, for those who find it paused
        #[arg(long, default_value = "no reason given")]
        why: String,
        /// Print one JSON object instead of a text
        #[arg(long)]
        json: bool,
    },
    /// Send the calls of a market again, also after the relayer denied access
    Resume {
        /// The market, by its address
        market: String,
        /// Print one JSON object instead of a text
        #[arg(long)]
        json: bool,
    },
    /// Show the last actions of operators on the outbox, the latest first
    Audit {
        /// How many
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// Print a JSON array instead of a text
        #[arg(long)]
        json: bool,
    },
}

/// The arguments of `outbox list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// The market whose calls are shown, by its address [default: all lanes in short]
    pub market: Option<String>,
    /// The stage of the calls [default: waiting]
    #[arg(long, value_parser = stage, requires = "market")]
    pub stage: Option<Stage>,
    /// Begin with the call of this id
    #[arg(long, value_name = "ID", requires = "market")]
    pub from: Option<String>,
    /// Show at most this many calls
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=MOST_SHOWN as u64).map(|n| n as usize))]
    pub count: usize,
    /// Print JSON instead of a text
    #[arg(long)]
    pub json: bool,
}

/// Which calls a command is about.
#[derive(Clone, Debug, Args)]
pub struct OrderArgs {
    /// The market, by its address
    pub market: String,
    /// All calls of the stage
    #[arg(long, conflicts_with_all = ["ids", "from_epoch", "to_epoch"])]
    pub all: bool,
    /// The call of this id; may be repeated
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["from_epoch", "to_epoch"])]
    pub ids: Vec<String>,
    /// The calls from this epoch on
    #[arg(long, value_name = "EPOCH")]
    pub from_epoch: Option<u64>,
    /// The calls up to this epoch
    #[arg(long, value_name = "EPOCH")]
    pub to_epoch: Option<u64>,
    /// Show the calls, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Don't ask for a confirmation; needed where standard input is no terminal
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
}

fn stage(text: &str) -> Result<Stage, String> {
    let known = Stage::ALL.into_iter().find(|stage| stage.as_str() == text);
    known.ok_or_else(|| format!("the stages are {}", Stage::ALL.map(Stage::as_str).join(", ")))
}
