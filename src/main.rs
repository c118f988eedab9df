//! The `state-tracker` binary: parses the command line, loads the configuration, and turns what comes
//! back into an exit code. What the commands do is in the library.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

use std::process::ExitCode;

use clap::Parser;
use color_eyre::eyre::{Result, WrapErr};
use state_tracker::app;
use state_tracker::cli::{CheckArgs, Cli, Command, DiffArgs, DoctorArgs, HealthcheckArgs};
use state_tracker::config::{Config, Loaded};
use state_tracker::exit::SUCCESS;

fn main() -> ExitCode {
    app::install();
    app::conclude(obey())
}

fn obey() -> Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => error.exit(),
        // What was asked for: help, or the version.
        Err(asked) => return app::printed(asked.print()).map(|()| SUCCESS.into()),
    };
    let runtime = tokio::runtime::Runtime::new().wrap_err("the runtime can't be started")?;
    let result = runtime.block_on(dispatch(cli));
    // A task that holds its thread must not hold the exit.
    runtime.shutdown_background();
    result
}

async fn dispatch(cli: Cli) -> Result<ExitCode> {
    let load = || Config::load(cli.config.as_deref(), std::env::vars_os());
    match cli.command.unwrap_or_default() {
        Command::Run => app::run(load).await,
        Command::Backfill(args) => app::backfill(&args, &load()?).await,
        Command::Check(CheckArgs { defaults: true, .. }) => {
            app::print(&app::defaults())?;
            Ok(SUCCESS.into())
        }
        Command::Check(args) => {
            let (text, code) = app::check(&args, &load()?).await?;
            app::print(&text)?;
            Ok(code)
        }
        Command::Diff(args) => diff(&args, &load()?).await,
        Command::Doctor(args) => doctor(&args, &load()?).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => state_tracker::demo::demo(args).await,
        Command::Healthcheck(HealthcheckArgs { url: Some(url) }) => app::healthcheck(&url).await,
        Command::Healthcheck(HealthcheckArgs { url: None }) => {
            app::healthcheck(&load()?.config.http.local_url("/readyz")).await
        }
    }
}

async fn diff(args: &DiffArgs, loaded: &Loaded) -> Result<ExitCode> {
    let (text, code) = app::diff(args, loaded).await?;
    app::print(&text)?;
    Ok(code)
}

async fn doctor(args: &DoctorArgs, loaded: &Loaded) -> Result<ExitCode> {
    if args.acl {
        let list = app::access_list(loaded)?;
        app::print(&format!("{}\n", list.command))?;
        list.notes.iter().for_each(|note| app::complain(&format!("note: {note}")));
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
