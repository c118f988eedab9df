//! `doctor`: examines Redis, and turns what was found into an exit code.

use std::process::ExitCode;

use color_eyre::eyre::{Result, bail};

use crate::{
    cli::DoctorArgs,
    config::{Loaded, is_same_market},
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
        for asked in &args.markets {
            if !markets.iter().any(|market| is_same_market(market, asked)) {
                bail!("{asked} is no market of tracker.markets: those are {}", markets.join(", "));
            }
        }
        markets.retain(|market| args.markets.iter().any(|asked| is_same_market(market, asked)));
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
    let code = ExitCode::from(report.exit_code());
    Ok((report, code))
}
