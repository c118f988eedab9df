//! The command line: commands, their arguments and `--help`. It only parses; `main` runs the commands.

mod campaigns;
mod help;
mod outbox;
mod peers;
#[cfg(feature = "demo")]
mod simulate;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use evm::StartBlock;

pub use campaigns::{CampaignsAction, CampaignsArgs, JobsAction};
pub use outbox::{ListArgs, OrderArgs, OutboxAction, OutboxArgs};
pub use peers::{ImportPeersArgs, PeersAction, PeersArgs};
#[cfg(feature = "demo")]
pub use simulate::{MinersArgs, PoolArgs, SenderArgs, SimulateArgs, Simulation, SriArgs};

const ABOUT: &str = "Keeps the live state of off-chain systems for the dashboards that read it";

const LONG_ABOUT: &str = "\
Keeps the live state of off-chain systems for the dashboards that read it.

Producers write submissions, epochs and batches of each data market into Redis and announce changes on \
the channel state:change. state-tracker turns them into the datasets that the Monitor API and the \
dashboards read: summary, participation, current epoch, hourly and daily statistics. One supervised \
actor a task: a crashed actor is restarted alone, and no data is lost.

Without a command it runs the service, like `state-tracker run`.";

const AFTER_HELP: &str =
    "See `state-tracker --help` for examples, environment variables, endpoints and exit codes.";

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "state-tracker", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_help = AFTER_HELP, after_long_help = help::after_long_help())]
pub struct Cli {
    /// TOML file with settings, by the names that `check` prints.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The command; without one, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command.
#[derive(Clone, Debug, Default, Subcommand)]
pub enum Command {
    /// Run the service until SIGTERM or SIGINT (the default)
    #[default]
    Run,
    /// Check the configuration and print it, secrets hidden
    Check(CheckArgs),
    /// Accept the blocks of a chain up to a block, as the service would, and end
    Backfill(BackfillArgs),
    /// Show the queue of status jobs of campaigns, and replay or drop its dead letters
    Campaigns(CampaignsArgs),
    /// Compare the computed datasets with those in Redis and with those of the original; only reads
    Diff(DiffArgs),
    /// Examine Redis: rights, keys, settings, ledger, datasets; only reads
    Doctor(DoctorArgs),
    /// Export, import, reset or remove what the tracker keeps of a market
    Ledger(LedgerArgs),
    /// Copy what was counted for old markets to those that replace them, by migration.mappings
    MigrateMarkets(MigrateMarketsArgs),
    /// Show the calls that the relayer is to get, and pause, retry, drop or replay them
    Outbox(OutboxArgs),
    /// Import the history of connected peers from the former service
    Peers(PeersArgs),
    /// Show the service at work, with servers of its own
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Push pictures of simulated miners or of a simulated pool to a receiver, also as they must not be
    #[cfg(feature = "demo")]
    Simulate(SimulateArgs),
    /// Ask a running instance whether it is ready, for containers
    Healthcheck(HealthcheckArgs),
}

/// The arguments of `check`.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Also connect to every server
    #[arg(long)]
    pub connect: bool,
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
    /// Print every setting with its default and limits as a TOML file, and check nothing
    #[arg(long, conflicts_with_all = ["connect", "json"])]
    pub defaults: bool,
}

/// The arguments of `diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// A market of the configuration
    #[arg(required_unless_present = "all")]
    pub market: Option<String>,
    /// Compare all markets of the configuration
    #[arg(long, conflicts_with = "market")]
    pub all: bool,
    /// Print all fields as a JSON array instead of a table of the differences; with --all, an object of them by market
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
    /// Print the command that grants the tracker's user its rights, and what the present user lacks of them; examine nothing else
    #[arg(long, conflicts_with_all = ["json", "watch", "markets"])]
    pub acl: bool,
    /// With --acl: the major version of the Redis that is to understand the command [default: that of the server, else 7]
    #[arg(long, value_name = "VERSION", requires = "acl", value_parser = clap::value_parser!(u8).range(6..=99))]
    pub redis: Option<u8>,
    /// Time limit for the examination of keys; keys that were examined by then are reported as a sample
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub within: Duration,
    /// How long to watch the datasets, to find every program that writes them; two intervals show the most
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub watch: Duration,
    /// The configured markets to examine [default: all]
    #[arg(value_name = "MARKET")]
    pub markets: Vec<String>,
}

/// The arguments of `ledger`.
#[derive(Clone, Debug, Args)]
pub struct LedgerArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: LedgerAction,
}

/// A command about a market's ledger.
#[derive(Clone, Debug, Subcommand)]
pub enum LedgerAction {
    /// Write the ledger of a market as text, as of one moment
    Export(ExportArgs),
    /// Restore the ledger of a market from an export, in one step
    Import(ImportArgs),
    /// Delete the ledger of a market: its totals begin anew
    Reset(ResetArgs),
    /// Delete the ledger, datasets, submission windows and state index of a market that has left the configuration
    Remove(ResetArgs),
}

/// The arguments of `ledger export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The market, by its address in any spelling or by its name
    pub market: String,
    /// A new file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// The arguments of `ledger import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A market of the configuration
    pub market: String,
    /// The file to read [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Replace the ledger that the market has
    #[arg(long)]
    pub replace: bool,
    /// Accept the ledger of another market
    #[arg(long)]
    pub other_market: bool,
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ledger reset` and of `ledger remove`.
#[derive(Clone, Debug, Args)]
pub struct ResetArgs {
    /// The market, by its address in any spelling or by its name; it need not be in the configuration
    pub market: String,
    /// Don't ask for a confirmation; needed where standard input is no terminal
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `migrate-markets`.
#[derive(Clone, Debug, Default, Args)]
pub struct MigrateMarketsArgs {
    /// Only say what would be copied
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON array instead of a text
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `backfill`.
#[derive(Clone, Debug, Args)]
pub struct BackfillArgs {
    /// The first block: a number, `latest`, or `latest - 1000`. Blocks are accepted in order: accepted blocks are
    /// skipped, and a gap after the last accepted block is refused
    #[arg(long, value_name = "BLOCK")]
    pub from: StartBlock,
    /// The last block, in the same form
    #[arg(long, value_name = "BLOCK")]
    pub to: StartBlock,
    /// Read all of these blocks and count what they hold; Redis is not used
    #[arg(long)]
    pub dry_run: bool,
}

/// The arguments of `demo`.
#[cfg(feature = "demo")]
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// Inject no failures, no reorganisations and no lies of a node
    #[arg(long)]
    pub calm: bool,
    /// Repeat the lies of the node that lies, by the seed that a run has shown
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Compare totals and batches with what was written; exit 1 when they differ
    #[arg(long)]
    pub check: bool,
    /// End after this long, such as 30s or 2m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
}

/// The arguments of `healthcheck`.
#[derive(Clone, Debug, Default, Args)]
pub struct HealthcheckArgs {
    /// The URL to ask [default: /readyz at the configured metrics port]; for https it must show the configured certificate
    #[arg(long)]
    pub url: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn parsed(args: &[&str]) -> Cli {
        Cli::parse_from([&["state-tracker"], args].concat())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_service_runs() {
        let command = parsed(&[]).command.unwrap_or_default();
        assert!(matches!(command, Command::Run));
    }

    #[test]
    fn the_config_file_may_be_named_before_or_after_the_command() {
        let file = Some(PathBuf::from("a.toml"));
        assert_eq!(parsed(&["--config", "a.toml", "check"]).config, file);
        assert_eq!(parsed(&["check", "--config", "a.toml"]).config, file);
    }

    #[cfg(feature = "demo")]
    #[test]
    fn the_demo_takes_a_duration_with_its_unit() {
        let cli = parsed(&["demo", "--calm", "--for", "1m 30s"]);
        let Some(Command::Demo(args)) = cli.command else {
            panic!("not a demo: {cli:?}");
        };
        assert!(args.calm && !args.check);
        assert_eq!(args.duration, Some(Duration::from_secs(90)));
        assert!(Cli::try_parse_from(["state-tracker", "demo", "--for", "30"]).is_err());
    }
}
