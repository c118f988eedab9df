//! `doctor`: examines Redis, and turns what was found into an exit code.

use std::process::ExitCode;

use color_eyre::eyre::Result;

use crate::{
    cli::DoctorArgs,
    config::{Loaded, UnknownMarket},
    doctor::{Finding, Order, Report, examine},
};

/// Examines what the configuration names; `listed` is the text of the variable that lists the markets, where one is
/// set.
///
/// # Errors
/// A market that is not in the configuration, and a server that does not answer.
pub async fn doctor(args: &DoctorArgs, loaded: &Loaded, listed: Option<&str>) -> Result<(Report, ExitCode)> {
    let config = &loaded.config;
    let mut markets = config.tracker.markets.clone();
    if !args.markets.is_empty() {
        let asked = args.markets.iter().map(|asked| config.tracker.market(asked));
        let asked: Vec<&String> = asked.collect::<Result<_, UnknownMarket>>()?;
        markets.retain(|market| asked.contains(&market));
    }
    let note = |note: &String| {
        Finding::note(
            "configuration",
            "configuration",
            note,
            "nothing, if that is meant: `state-tracker check`",
        )
    };
    let mut findings: Vec<Finding> = loaded.notes.iter().map(note).collect();
    if listed.is_some_and(|text| text.trim_start().trim_start_matches(['"', '\'']).starts_with('[')) {
        let problem = "it is a JSON array: the Monitor API looks for keys with the brackets in their names";
        let remedy = "write it as a comma list: both read that";
        findings.push(Finding::warning("brackets", "DATA_MARKET_ADDRESSES", problem, remedy));
    }
    let (within, watch) = (args.within, args.watch);
    let report = examine(Order { config, markets, within, watch, findings }).await?;
    let code = report.exit_code().into();
    Ok((report, code))
}
