//! The command line: what can be said, and a `--help` that teaches. Parses only; `main` acts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use evm::StartBlock;

const ABOUT: &str = "Keeps the live state of off-chain systems for the dashboards that read it";

const LONG_ABOUT: &str = "\
Keeps the live state of off-chain systems for the dashboards that read it.

Producers write submissions, epochs and batches of each data market into Redis and announce changes on \
the channel state:change. state-tracker turns them into the datasets that the Monitor API and the \
dashboards read: summary, participation, current epoch, hourly and daily statistics. One supervised \
actor a task: what crashes is restarted alone, and loses nothing.

Without a command it runs the service, as `state-tracker run`.";

const AFTER_HELP: &str =
    "See `state-tracker --help` for examples, environment variables, endpoints and exit codes.";

const AFTER_LONG_HELP: &str = "\
Examples:
  Run with nothing but the environment:
    PROTOCOL_STATE_CONTRACT=0x… DATA_MARKET_ADDRESSES=0x…,0x… state-tracker

  See what is in effect, where it came from, and whether the servers answer:
    state-tracker check --connect --config /etc/state-tracker.toml

  Find out what is wrong in Redis, and what helps:
    state-tracker doctor

  See what a range of a chain's blocks would bring:
    state-tracker backfill --from 1200300 --to latest --dry-run

  Watch it at work, crashes included, with servers and load of its own:
    state-tracker demo --for 30s

Environment (above the file of --config; an empty variable is not set):
  PROTOCOL_STATE_CONTRACT     the protocol-state contract; must be set
  DATA_MARKET_ADDRESSES       data markets, comma list or JSON array; must be set
  SEQUENCER_ID                this validator's id [validator1]
  REDIS_HOST, REDIS_PORT      the Redis server [localhost, 6379]
  REDIS_USERNAME              user name; REDIS_USERNAME_FILE names a file
  REDIS_PASSWORD              password; REDIS_PASSWORD_FILE names a file
  REDIS_DB                    database number [0]
  REDIS_URL                   all of these in one; REDIS_URL_FILE names a file
  REDIS_TLS                   true for TLS [false]
  REDIS_SENTINELS             sentinels, host:port each
  REDIS_SENTINEL_MASTER       the master's name there [mymaster]
  REDIS_SENTINEL_PASSWORD     password there; REDIS_SENTINEL_PASSWORD_FILE
  REDIS_CLUSTER               nodes of a cluster, host:port each
  RPC_NODES                   nodes of the chain to follow; RPC_NODES_FILE
  ARCHIVE_RPC_NODES           those with old state; ARCHIVE_RPC_NODES_FILE
  BATCH_SIZE, BLOCK_TIME      projects a batch, seconds a block [20, 2]
  ATTESTOR_QUEUE_PUSH_ENABLED true to tell the attestor [false]
  BLOCK_FETCH_TIMEOUT, EVENT_PROCESSING_TIMEOUT, CONTRACT_QUERY_TIMEOUT,
  BATCH_PROCESSING_TIMEOUT, HTTP_TIMEOUT   seconds [300, 30, 30, 120, 5]
  STATE_TRACKER_METRICS_PORT  port of /metrics, /livez and /readyz [9094]
  LOG_LEVEL                   level, or a filter: info,store_redis=debug [info]
  STATE_TRACKER_CONFIG        the file, where --config isn't given
  STATE_TRACKER__SECTION__KEY any: STATE_TRACKER__REDIS__POOL_SIZE=4

Endpoints:
  http://0.0.0.0:9094/metrics    metrics for Prometheus
  http://0.0.0.0:9094/livez      the process lives
  http://0.0.0.0:9094/readyz     it does its work; ?verbose says why not
  http://127.0.0.1:9095/health   the tree of actors, for this machine only

Exit codes:
  0   stopped as asked; `check`, `healthcheck`, `doctor`: all is well
  1   something else failed; the message says what
  2   the command line is not understood
  3   `doctor`: there are warnings
  4   `doctor`: there are errors
  70  gave up: an actor it can't do without stayed down or hung; restart it
  78  the configuration has errors: all are listed, nothing was started
  130 told to stop twice: did not wait for an orderly end";

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "state-tracker", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
pub struct Cli {
    /// TOML file with settings, by the names that `check` prints.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// `run` when none is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// The file of `--config`, or else of the environment variable, unless that is empty.
    pub fn config_file(&self, variable: Option<OsString>) -> Option<PathBuf> {
        let named = variable.filter(|name| !name.is_empty());
        self.config.clone().or(named.map(PathBuf::from))
    }
}

/// What to do.
#[derive(Clone, Debug, Default, Subcommand)]
pub enum Command {
    /// Run the service until SIGTERM or SIGINT (the default)
    #[default]
    Run,
    /// Check the configuration, print it with secrets hidden
    Check(CheckArgs),
    /// Accept the blocks of a chain up to one, as the service would, and end
    Backfill(BackfillArgs),
    /// Compare what is computed, what stands in Redis, and what the original would show; it only reads
    Diff(DiffArgs),
    /// Examine Redis: keys, settings, ledger, datasets; it only reads
    Doctor(DoctorArgs),
    /// Show the service at work: nothing has to be set up
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Ask a running instance whether it is ready, for containers
    Healthcheck(HealthcheckArgs),
}

/// `check`
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Also try to reach every server
    #[arg(long)]
    pub connect: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// `diff`
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// A market of the configuration
    pub market: String,
    /// Print a JSON array with all fields instead of a table of the differences
    #[arg(long)]
    pub json: bool,
}

/// `doctor`
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object instead of a text
    #[arg(long)]
    pub json: bool,
    /// How long keys are looked at, at most; what is seen of more keys is a sample
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub within: Duration,
    /// How long the datasets are watched, to find out who writes them; two intervals tell the most
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub watch: Duration,
    /// Those of the configured markets to examine; without any, all
    #[arg(value_name = "MARKET")]
    pub markets: Vec<String>,
}

/// `backfill`
#[derive(Clone, Debug, Args)]
pub struct BackfillArgs {
    /// The first block: a number, `latest`, or `latest - 1000`. Blocks are accepted in order: what lies before the
    /// block after the last accepted one is passed over, and a gap is refused
    #[arg(long, value_name = "BLOCK")]
    pub from: StartBlock,
    /// The last block, in the same way
    #[arg(long, value_name = "BLOCK")]
    pub to: StartBlock,
    /// Read all of these blocks and say what they would bring; Redis is neither needed nor touched
    #[arg(long)]
    pub dry_run: bool,
}

/// `demo`
#[cfg(feature = "demo")]
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// Without injected failures, and without reorganisations of its chain
    #[arg(long)]
    pub calm: bool,
    /// Compare totals and batches with the truth; exit 1 when they differ
    #[arg(long)]
    pub check: bool,
    /// End after this long, such as 30s or 2m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
}

/// `healthcheck`
#[derive(Clone, Debug, Default, Args)]
pub struct HealthcheckArgs {
    /// What to ask [default: /readyz at the metrics port of the configuration]
    #[arg(long)]
    pub url: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::config::DEFAULTS;

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
    fn a_config_file_can_stand_before_and_behind_the_command() {
        let file = Some(PathBuf::from("a.toml"));
        assert_eq!(parsed(&["--config", "a.toml", "check"]).config, file);
        assert_eq!(parsed(&["check", "--config", "a.toml"]).config, file);
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_an_empty_variable_is_none() {
        let flag = parsed(&["--config", "flag.toml"]);
        let none = parsed(&[]);
        let variable = || Some(OsString::from("variable.toml"));
        assert_eq!(flag.config_file(variable()), Some("flag.toml".into()));
        assert_eq!(none.config_file(variable()), Some("variable.toml".into()));
        assert_eq!(none.config_file(Some(OsString::new())), None);
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

    #[test]
    fn the_help_names_every_variable_exit_code_and_endpoint() {
        let help = Cli::command().render_long_help().to_string();
        let listed = DEFAULTS.lines().filter_map(|line| line.split_once("env:")).map(|(_, names)| names);
        let words = listed.flat_map(|names| names.split(|c: char| !c.is_ascii_uppercase() && c != '_'));
        let mut checked = 0;
        for variable in words.filter(|word| word.contains('_')) {
            assert!(help.contains(variable), "{variable} is not in the help");
            checked += 1;
        }
        assert!(checked >= 10, "only {checked} variables found");
        for word in
            ["\n  0 ", "\n  3 ", "\n  4 ", "\n  70 ", "\n  78 ", "/metrics", "/livez", "/readyz", "/health"]
        {
            assert!(help.contains(word), "{word:?} is not in the help");
        }
    }
}
