//! `peers import`: brings the history of the former service into that of the peers.

use std::{process::ExitCode, sync::Arc, time::SystemTime};

use color_eyre::eyre::{Result, ensure};
use serde_json::{Map, Value, json};
use store_peers::{FormerSchema, History, ImportOptions, ImportReport, PartReport};

use super::output::print;
use crate::{
    cli::{ImportPeersArgs, PeersAction},
    config::Config,
    escape::escaped,
    exit::SUCCESS,
};

/// Runs a command about the peers.
///
/// # Errors
/// No file of a history, a running service that writes it, and a file that can't be read.
pub fn peers(action: &PeersAction, config: &Config) -> Result<ExitCode> {
    let PeersAction::Import(ImportPeersArgs { file, source, dry_run, json }) = action;
    let settings = &config.peers;
    ensure!(settings.is_enabled(), "there is no history to import into; set peers.history to its file");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut history = History::open(settings.history.as_ref(), settings.limits())?;
    let options = ImportOptions { source: Arc::from(source.as_str()), now, dry_run: *dry_run };
    let report = history.import(file, &options)?;
    // Names of tables are those of the file.
    let text = if *json { format!("{:#}\n", shown(&report)) } else { escaped_lines(&report.to_string()) };
    print(&text)?;
    Ok(SUCCESS.into())
}

fn escaped_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", escaped(line))).collect()
}

fn shown(report: &ImportReport) -> Value {
    let part = |part: &PartReport| {
        let unusable: Map<String, Value> =
            part.unusable.iter().map(|(reason, many)| (reason.to_string(), json!(many))).collect();
        json!({ "rows": part.rows, "imported": part.imported, "known": part.known, "unusable": unusable })
    };
    let kind = report.schema.map(|schema| match schema {
        FormerSchema::Deployed => "measured",
        FormerSchema::Older => "declared",
    });
    json!({
        "dry_run": report.dry_run,
        "samples_are": kind,
        "samples": part(&report.samples),
        "names": part(&report.names),
        "quotes": part(&report.quotes),
        "balance": part(&report.balance),
        "evicted": report.evicted,
        "passed_over": report.passed_over,
    })
}
