//! `diff`: compares what is computed with what stands, and turns that into an exit code.

use std::process::ExitCode;

use color_eyre::eyre::Result;

use crate::{
    cli::DiffArgs,
    config::Loaded,
    diff::{self, Row},
    exit::{FAILURE, SUCCESS},
};

/// Compares the datasets of one market of the configuration; 0 when Redis shows what is computed, as far as time explains,
/// else 1.
///
/// # Errors
/// A market that is not in the configuration, and a server that does not answer.
pub async fn diff(args: &DiffArgs, loaded: &Loaded) -> Result<(Vec<Row>, ExitCode)> {
    let market = loaded.config.tracker.market(&args.market)?;
    let rows = diff::diff(&loaded.config, market).await?;
    let is_explained = rows.iter().all(|row| row.explained);
    Ok((rows, if is_explained { SUCCESS } else { FAILURE }.into()))
}
