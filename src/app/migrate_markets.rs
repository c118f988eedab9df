//! `migrate-markets`: copies what was counted for old markets to those that replace them.

use std::process::ExitCode;

use color_eyre::eyre::{Result, ensure};
use serde::Serialize;
use store_collector::migration::{CopiedKeys, Migrated, Migration};

use super::output::print;
use crate::{
    cli::MigrateMarketsArgs,
    config::Config,
    escape::escaped,
    exit::{FAILURE, SUCCESS},
    service,
};

/// One migration, as it is printed.
#[derive(Serialize)]
struct Report {
    from: String,
    to: String,
    dry_run: bool,
    /// The day of the old market, if it has one.
    today: Option<u64>,
    keys: Vec<CopiedKeys>,
    /// The keys that could not be read or written, and why.
    faults: Vec<String>,
}

impl Report {
    fn new(migration: &Migration, migrated: Migrated, dry_run: bool) -> Self {
        let Migrated { today, keys, faults } = migrated;
        let fault = |fault: &store_redis::Fault| escaped(&format!("{}: {fault}", fault.key)).into_owned();
        Self {
            from: migration.from.to_string(),
            to: migration.to.to_string(),
            dry_run,
            today,
            keys,
            faults: faults.iter().map(fault).collect(),
        }
    }

    fn text(&self) -> String {
        let (from, to) = (&self.from, &self.to);
        let Some(today) = self.today else {
            return format!("{from} to {to}: the old market has no day, so nothing was counted for it\n");
        };
        let would = if self.dry_run { "would be copied" } else { "copied" };
        let mut text = format!("{from} to {to}, up to day {today}:\n");
        for CopiedKeys { key, day, found, copied, kept } in &self.keys {
            let name = key.split('.').next().unwrap_or_default();
            let day = day.map_or_else(String::new, |day| format!(" of day {day}"));
            text += &format!("  {name}{day}: {found} found, {copied} {would}");
            text += &if *kept > 0 { format!(", {kept} left that differ\n") } else { "\n".to_owned() };
        }
        self.faults.iter().for_each(|fault| text += &format!("  not copied: {fault}\n"));
        text
    }
}

/// Migrates the markets of the configuration. The exit code is 1 where a key could not be copied.
///
/// # Errors
/// No mappings, and a server that does not answer.
pub async fn migrate_markets(args: &MigrateMarketsArgs, config: &Config) -> Result<ExitCode> {
    let migrations = config.migration.all();
    ensure!(
        !migrations.is_empty(),
        "no market is to be migrated; set migration.mappings (MARKET_MIGRATION_MAPPINGS)"
    );
    ensure!(
        config.output.prefix.is_empty(),
        "a shadow migrates no market, since the counters of finalizers have no prefix; migrate without output.prefix"
    );
    let store = service::connect(config)?;
    let mut reports = Vec::new();
    for migration in &migrations {
        let migrated = service::migrate_market(&store, migration, args.dry_run).await?;
        reports.push(Report::new(migration, migrated, args.dry_run));
    }
    match args.json {
        true => print(&format!("{:#}\n", serde_json::to_value(&reports)?))?,
        false => print(&reports.iter().map(Report::text).collect::<Vec<_>>().concat())?,
    }
    let is_whole = reports.iter().all(|report| report.faults.is_empty());
    Ok(if is_whole { SUCCESS } else { FAILURE }.into())
}
