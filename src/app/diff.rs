//! `diff`: compares the datasets of markets, and turns the result into an exit code.

use std::{collections::BTreeMap, process::ExitCode};

use color_eyre::eyre::Result;

use crate::{
    cli::DiffArgs,
    config::Loaded,
    diff::{self, Row},
    exit::{FAILURE, SUCCESS},
};

/// Compares the datasets of one configured market, or of all. Returns the text to print, and exit code 0 if each difference in
/// Redis is explained, else 1.
///
/// # Errors
/// A market that is not in the configuration, and a server that does not answer.
pub async fn diff(args: &DiffArgs, loaded: &Loaded) -> Result<(String, ExitCode)> {
    let tracker = &loaded.config.tracker;
    let markets = match &args.market {
        Some(market) => vec![tracker.market(market)?.clone()],
        None => tracker.markets.clone(),
    };
    let mut all: Vec<(String, Vec<Row>)> = Vec::new();
    for market in markets {
        let rows = diff::diff(&loaded.config, &market).await?;
        all.push((market, rows));
    }
    let is_explained = all.iter().flat_map(|(_, rows)| rows).all(|row| row.explained);
    let text = if args.json { json(&all, args.all)? } else { tables(&all, args.all) };
    Ok((text, if is_explained { SUCCESS } else { FAILURE }.into()))
}

/// The rows of one market as an array; with `--all`, an object of such arrays by market.
fn json(all: &[(String, Vec<Row>)], named: bool) -> Result<String> {
    let text = match all {
        // The shape depends on the option and not on the number of markets: a script
        // with --all must not break when one market is left.
        [(_, rows)] if !named => serde_json::to_string_pretty(rows)?,
        all => {
            let named: BTreeMap<_, _> = all.iter().map(|(market, rows)| (market, rows)).collect();
            serde_json::to_string_pretty(&named)?
        }
    };
    Ok(text + "\n")
}

fn tables(all: &[(String, Vec<Row>)], named: bool) -> String {
    let table = |(market, rows): &(String, Vec<Row>)| {
        let title = if named { format!("market {market}\n") } else { String::new() };
        title + &diff::table(rows)
    };
    all.iter().map(table).collect::<Vec<_>>().join("\n")
}
