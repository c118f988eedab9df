//! The `state-tracker` binary: parses the command line, loads the configuration, and turns what comes
//! back into an exit code. What the commands do is in the library.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use color_eyre::eyre::{Report, Result};
use state_tracker::app;
use state_tracker::cli::{CheckArgs, Cli, Command, DiffArgs, DoctorArgs, HealthcheckArgs};
use state_tracker::config::{Config, ConfigErrors, Loaded};
use state_tracker::exit::{CONFIGURATION, SUCCESS};

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    color_eyre::config::HookBuilder::default().display_env_section(false).install()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(dispatch(cli)).or_else(print_config_errors);
    // A task that holds its thread must not hold the exit.
    runtime.shutdown_background();
    app::flush();
    result
}

async fn dispatch(cli: Cli) -> Result<ExitCode> {
    let load = || Config::load(cli.config.as_deref(), std::env::vars_os());
    match cli.command.unwrap_or_default() {
        Command::Run => app::run(load).await,
        Command::Backfill(args) => app::backfill(&args, &load()?).await,
        Command::Check(CheckArgs { defaults: true, .. }) => {
            print(&app::defaults())?;
            Ok(SUCCESS.into())
        }
        Command::Check(args) => {
            let (text, code) = app::check(&args, &load()?).await?;
            print(&text)?;
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

/// Prints the errors of a configuration that is not allowed; any other error stays one.
fn print_config_errors(error: Report) -> Result<ExitCode> {
    let errors = error.downcast::<ConfigErrors>()?;
    eprintln!(
        "{errors}\nNothing was started. `state-tracker check --defaults` prints every setting with its limits."
    );
    Ok(CONFIGURATION.into())
}

async fn diff(args: &DiffArgs, loaded: &Loaded) -> Result<ExitCode> {
    let (text, code) = app::diff(args, loaded).await?;
    print(&text)?;
    Ok(code)
}

async fn doctor(args: &DoctorArgs, loaded: &Loaded) -> Result<ExitCode> {
    if args.acl {
        let list = app::access_list(loaded)?;
        print(&format!("{}\n", list.command))?;
        list.notes.iter().for_each(|note| eprintln!("note: {note}"));
        return Ok(ExitCode::SUCCESS);
    }
    let listed = std::env::var("DATA_MARKET_ADDRESSES").ok();
    let (report, code) = app::doctor(args, loaded, listed.as_deref()).await?;
    if args.json {
        print(&format!("{:#}\n", serde_json::to_value(&report)?))?;
    } else {
        print(&report.to_text())?;
    }
    Ok(code)
}

/// To standard output. A closed pipe, as with `| head`, is not an error.
fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
