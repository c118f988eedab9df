//! The `state-tracker` binary: parses the command line, loads the configuration, runs a command of the library, and returns its
//! exit code.

#![warn(clippy::print_stdout, clippy::print_stderr)] // These macros panic on a closed pipe; use `app::print`.

use std::process::ExitCode;

use clap::Parser;
use color_eyre::eyre::{Result, WrapErr};
use state_tracker::app;
use state_tracker::cli::{CheckArgs, Cli, Command, DiffArgs, DoctorArgs, HealthcheckArgs};
use state_tracker::config::{Config, Loaded};
use state_tracker::exit::{SUCCESS, USAGE};

// The C library's keeps what each thread has freed: ten minutes of a thousand senders took 321 MB, and take 186.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    app::install_reports();
    app::exit_code(run())
}

fn run() -> Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Exits with 2, like every clap program.
        Err(error) if error.use_stderr() => {
            // Through our own writer, which does not wait for a reader that is stuck.
            app::print_usage_error(&error);
            return Ok(USAGE.into());
        }
        // Help or version, which clap reports as errors that belong on standard output. `exit` would ignore a full disk.
        Err(asked) => return app::ignoring_closed_pipe(asked.print()).map(|()| SUCCESS.into()),
    };
    // Several threads: an actor that does not yield blocks only one of them.
    let runtime = tokio::runtime::Runtime::new().wrap_err("the runtime can't be started")?;
    let result = runtime.block_on(dispatch(cli));
    // Dropping the runtime would wait for blocking tasks and for a task that never yields.
    runtime.shutdown_background();
    result
}

async fn dispatch(cli: Cli) -> Result<ExitCode> {
    // A closure: `run` loads again at each SIGHUP. Commands that need no configuration must work without a valid one.
    let file = cli.config;
    let load = move || app::known(Config::load(file.as_deref(), std::env::vars_os()));
    match cli.command.unwrap_or_default() {
        Command::Run => app::run(load).await,
        Command::Backfill(args) => app::backfill(&args, &load()?).await,
        Command::Campaigns(args) => app::campaigns(&args.action, &load()?.config).await,
        Command::Check(CheckArgs { defaults: true, .. }) => {
            app::print(&app::defaults())?;
            Ok(SUCCESS.into())
        }
        Command::Check(args) => {
            let (text, code) = app::check(&args, load()).await?;
            app::print(&text)?;
            Ok(code)
        }
        Command::Diff(args) => diff(&args, &load()?).await,
        Command::Doctor(args) => doctor(&args, &load()?).await,
        Command::Ledger(args) => app::ledger(&args.action, &load()?).await,
        Command::MigrateMarkets(args) => app::migrate_markets(&args, &load()?.config).await,
        Command::Outbox(args) => app::outbox(&args.action, &load()?).await,
        Command::Peers(args) => app::peers(&args.action, &load()?.config),
        #[cfg(feature = "demo")]
        Command::Demo(args) => state_tracker::demo::demo(args).await,
        #[cfg(feature = "demo")]
        Command::Simulate(args) => state_tracker::simulate::simulate(&args).await,
        Command::Healthcheck(HealthcheckArgs { url }) => app::healthcheck(url.as_deref(), load).await,
    }
}

async fn diff(args: &DiffArgs, loaded: &Loaded) -> Result<ExitCode> {
    let (text, code) = app::diff(args, loaded).await?;
    app::print(&text)?;
    Ok(code)
}

async fn doctor(args: &DoctorArgs, loaded: &Loaded) -> Result<ExitCode> {
    if args.acl {
        let list = app::access_list(args, loaded).await?;
        app::print(&format!("{}\n", list.command))?;
        // On standard error: standard output is piped into redis-cli.
        list.notes.iter().for_each(|note| app::print_to_stderr(&format!("note: {note}")));
        return Ok(SUCCESS.into());
    }
    let listed = std::env::var("DATA_MARKET_ADDRESSES").ok();
    let (report, code) = app::doctor(args, loaded, listed.as_deref()).await?;
    if args.json {
        app::print(&format!("{:#}\n", serde_json::to_value(&report)?))?;
    } else {
        app::print(&report.to_text())?;
    }
    Ok(code)
}
