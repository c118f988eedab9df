//! The log, on standard error.

use std::io::IsTerminal;

use color_eyre::eyre::{Result, WrapErr};
use tracing_subscriber::EnvFilter;

use super::bar::Bar;
use crate::config::{Log, LogFormat};

/// Logs as the configuration says, beside a bar that may be drawn there too.
///
/// # Errors
/// A filter that is none, and a second log in one process.
pub(super) fn log_to_stderr(log: &Log, bar: &Bar) -> Result<()> {
    let filter =
        EnvFilter::try_new(&log.level).wrap_err_with(|| format!("log.level `{}` is no filter", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(bar.writer());
    let installed = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    installed.map_err(|error| color_eyre::eyre::eyre!("the log could not be set up: {error}"))
}
