//! `doctor`: examines Redis, and turns the findings into an exit code.

use std::process::ExitCode;

use color_eyre::eyre::Result;

use super::output::print_to_stderr;
use crate::{
    cli::DoctorArgs,
    config::{Loaded, UnknownMarket},
    doctor::{Finding, Report, Scope, WATCHED, counted, examine},
    escape::escaped,
    rights::{AccessList, Dialect, Present, present_user},
};

/// Examines the configured markets, or those of the arguments. `listed` is the text of `DATA_MARKET_ADDRESSES`, if it is set.
///
/// # Errors
/// A market that is not in the configuration, and a server that does not answer.
pub async fn doctor(args: &DoctorArgs, loaded: &Loaded, listed: Option<&str>) -> Result<(Report, ExitCode)> {
    let config = &loaded.config;
    let mut markets = config.tracker.markets.clone();
    if !args.markets.is_empty() {
        let asked = args.markets.iter().map(|asked| config.tracker.market(asked));
        let asked: Vec<&String> = asked.collect::<Result<_, UnknownMarket>>()?;
        // In the order of the configuration, and each market once, for any arguments.
        markets.retain(|market| asked.contains(&market));
    }
    let note = |note: &String| {
        let remedy = "nothing, if that is intended; `state-tracker check` shows the configuration in effect";
        Finding::note("configuration", "configuration", note, remedy)
    };
    let mut findings: Vec<Finding> = loaded.notes.iter().map(note).collect();
    // The configuration accepts JSON arrays, but the Monitor API splits the same variable at commas and keeps the
    // brackets. Quotes may surround the array: `docker run --env-file` passes them on.
    if listed.is_some_and(|text| text.trim_start().trim_start_matches(['"', '\'']).starts_with('[')) {
        let problem = "it is a JSON array: the Monitor API looks for keys with the brackets in their names";
        let remedy = "write a comma list: both programs read that";
        findings.push(Finding::warning("brackets", "DATA_MARKET_ADDRESSES", problem, remedy));
    }
    let (time_limit, watch) = (args.within, args.watch);
    // On standard error, so that the report on standard output stays parseable; without it, minutes would pass silently.
    if !watch.is_zero() && !args.json {
        let markets = counted(markets.len(), "market");
        print_to_stderr(&format!(
            "watching {WATCHED} of {markets} for {}…",
            humantime::format_duration(watch)
        ));
    }
    let report = examine(Scope { config, markets, time_limit, watch, findings }).await?;
    let code = report.exit_code().into();
    Ok((report, code))
}

/// `doctor --acl`: the access list that the configuration needs, with notes that say what the present user lacks of it. It is written
/// for the asked version of Redis, else for that of the server, else for Redis 7: nothing else about it depends on the server.
///
/// # Errors
/// Settings that make no connection.
pub async fn access_list(args: &DoctorArgs, loaded: &Loaded) -> Result<AccessList> {
    let Present { notes, dialect } = present_user(&loaded.config).await;
    let asked = args.redis.map(|version| if version < 7 { Dialect::Redis6 } else { Dialect::Redis7 });
    let mut list = AccessList::of(&loaded.config, asked.or(dialect).unwrap_or(Dialect::Redis7))?;
    if asked == Some(Dialect::Redis7) && dialect == Some(Dialect::Redis6) {
        list.notes
            .push("this server is older than Redis 7 and refuses it: print it without --redis 7".to_owned());
    }
    // The server's words are among them.
    list.notes.extend(notes.iter().map(|note| escaped(note).into_owned()));
    Ok(list)
}
