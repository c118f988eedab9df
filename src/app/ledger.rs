//! `ledger`: exports, imports, resets and removes what the tracker keeps of a market, beside trackers that may run.
//!
//! Results go to standard output, questions and notes to standard error.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use color_eyre::eyre::{Result, WrapErr, bail, ensure};
use domain::{Address, chain::ContractAddress};
use serde::Serialize;
use store_redis::{ErrorKind, Operation, Session, StoreError};
use store_tracker::{
    Archive, Import, MarketKeys, Output, SCHEMA, Spelling, TransferError, export_ledger, import_ledger,
    inspect,
    operations::{EXPORT_LEDGER, IMPORT_LEDGER, RESET_LEDGER},
    remove_datasets, remove_index, reset_ledger,
};
use supervision::Clock;

use super::{
    consent::{Consent, consent},
    output::{print, print_to_stderr},
};
use crate::{
    cli::{ExportArgs, ImportArgs, LedgerAction, ResetArgs},
    config::{Config, Loaded},
    escape::escaped,
    exit::{FAILURE, SUCCESS, USAGE},
    service,
};

/// Only an export that is unchanged has a ledger that can be trusted.
const BAD_ARCHIVE: &str =
    "nothing was written: give a file that `state-tracker ledger export` has written, whole and unchanged";
/// How often a market is tried to be removed from the chain state, which other trackers change meanwhile.
const ATTEMPTS: usize = 20;
/// What a reset means for the numbers.
const ANEW: &str =
    "totals begin anew: the next full pass of a tracker counts what the producers' keys still show";

/// Runs a command about a market's ledger.
///
/// # Errors
/// A ledger that is absent, damaged or in the way, files that can't be read or written, and a server that does not answer.
pub async fn ledger(action: &LedgerAction, loaded: &Loaded) -> Result<ExitCode> {
    let config = &loaded.config;
    match action {
        LedgerAction::Export(args) => export(args, config).await,
        LedgerAction::Import(args) => import(args, config).await,
        LedgerAction::Reset(args) => remove(args, config, Extent::Ledger).await,
        LedgerAction::Remove(args) => remove(args, config, Extent::Everything).await,
    }
}

/// A market that a command names.
struct Market {
    keys: MarketKeys,
    is_configured: bool,
}

impl Market {
    /// The market of an argument: that of the configuration where an address is the same one in another spelling.
    fn new(config: &Config, asked: &str) -> Self {
        let address = Address::new(asked);
        let known = config.tracker.markets.iter().map(|market| Address::new(market));
        let known = known.into_iter().find(|known| known.checksummed() == address.checksummed());
        let is_configured = known.is_some();
        let market = known.unwrap_or(address);
        let keys = MarketKeys::new(&Address::new(&config.tracker.protocol), &market);
        Self { keys: keys.with_output(&config.output), is_configured }
    }

    /// The keys of its outputs in every spelling: that of the configuration; without one, that of the argument, and lower case.
    fn spelled(&self, config: &Config) -> Vec<MarketKeys> {
        let market = self.keys.market();
        let mut spelled = vec![market.clone()];
        let lower = Address::new(&market.checksummed().to_lowercase());
        if !self.is_configured && lower.checksummed() == market.checksummed() && lower != *market {
            spelled.push(lower);
        }
        let of = |market: &Address| {
            [Spelling::Checksum, Spelling::Configured].map(|spelling| {
                let output = Output { spelling, ..config.output.clone() };
                MarketKeys::new(&Address::new(&config.tracker.protocol), market).with_output(&output)
            })
        };
        spelled.iter().flat_map(of).collect()
    }

    /// As messages name it.
    fn name(&self) -> String {
        format!("market {}", escaped(self.keys.market().checksummed()))
    }

    /// The notes about trackers that serve it now.
    async fn notes(&self, session: &mut Session, effect: &str) -> Result<Vec<String>> {
        let shown = inspect::watched_datasets(session, &self.keys).await?;
        let shown = shown.into_iter().flatten().find(|shown| shown.exists);
        Ok(shown.map_or_else(Vec::new, |shown| {
            let key = escaped(&shown.key).into_owned();
            vec![format!(
                "{key} was written within its TTL, so a tracker seems to serve this market: {effect}"
            )]
        }))
    }
}

async fn session(config: &Config, operation: Operation) -> Result<Session> {
    Ok(service::connect(config)?.session(operation).await?)
}

fn now() -> u64 {
    Clock::system().unix().as_secs()
}

async fn export(args: &ExportArgs, config: &Config) -> Result<ExitCode> {
    let market = Market::new(config, &args.market);
    let mut session = session(config, EXPORT_LEDGER).await?;
    let archive = match export_ledger(&mut session, &market.keys, now()).await {
        Err(error @ TransferError::Absent(_)) => {
            return Err(error)
                .wrap_err("nothing was exported; check the market, tracker.protocol and output.prefix");
        }
        archive => archive?,
    };
    let text = archive.to_text();
    match &args.to {
        None => print(&text)?,
        Some(path) => {
            write_new(path, &text)?;
            let (name, elements) = (market.name(), archive.elements());
            print_to_stderr(&format!(
                "{name}: exported {elements} elements in one transaction to {}",
                shown(path)
            ));
        }
    }
    // A damaged ledger is exported as it is, as evidence. The exit code tells scripts that it is no backup.
    Archive::read(text.as_bytes()).wrap_err(
        "the export is whole, but the ledger is damaged and can't be imported; see docs/operations.md, \"The ledger\"",
    )?;
    Ok(SUCCESS.into())
}

/// Writes a file that does not exist yet, and removes it again where that fails.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let open = File::options().write(true).create_new(true).open(path);
    let mut file =
        open.wrap_err_with(|| format!("{} can't be made; name a file that does not exist", shown(path)))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.wrap_err_with(|| {
        // The first error says why; a part of a file would be mistaken for an export.
        let _ = std::fs::remove_file(path);
        format!("{} can't be written; free the disk", shown(path))
    })
}

fn shown(path: &Path) -> String {
    escaped(&path.display().to_string()).into_owned()
}

async fn import(args: &ImportArgs, config: &Config) -> Result<ExitCode> {
    let market = Market::new(config, &args.market);
    // A ledger under a mistyped name would wait there unnoticed, without an end.
    ensure!(
        market.is_configured,
        "{} is no market of tracker.markets; name one of these, or add it to the configuration first",
        market.name()
    );
    // Before anything is connected: a file with errors changes nothing.
    let archive = read(args.from.as_ref())?;
    let space = &archive.head().space;
    ensure!(
        args.other_market || market.keys.name() == space,
        "the export is of {}, and not of {}; check the file, or accept it by --other-market",
        escaped(space),
        market.name()
    );
    let mut session = session(config, IMPORT_LEDGER).await?;
    let mut notes = market.notes(&mut session, "its next pass goes on with the imported ledger").await?;
    // 53 random bits: two imports at once must not share keys.
    let id = format!("{:014x}", (retry::random() * (1_u64 << 53) as f64) as u64);
    let import = Import { archive: &archive, replace: args.replace, now: now(), id: &id };
    let imported = match import_ledger(&mut session, &market.keys, import).await {
        Err(error @ TransferError::Exists(_)) => {
            return Err(error).wrap_err(
                "the ledger was not imported; export it first if it is needed, then repeat with --replace",
            );
        }
        imported => imported?,
    };
    if imported.expired > 0 {
        notes.push(format!("the validators of {} hours have expired since the export", imported.expired));
    }
    if archive.head().schema != SCHEMA.to_string() {
        notes.push(format!(
            "it has version {}: the next pass of a tracker upgrades it",
            archive.head().schema
        ));
    }
    let text = format!("imported {} elements in {} keys, in one step", imported.elements, imported.keys);
    let done = Done { imported: Some(imported.elements), ..Done::new(&market, notes) };
    done.print(&text, args.json)?;
    Ok(SUCCESS.into())
}

fn read(file: Option<&PathBuf>) -> Result<Archive> {
    let Some(path) = file else {
        ensure!(!io::stdin().is_terminal(), "an export is read from standard input; name a file with --from");
        return Archive::read(io::stdin().lock())
            .wrap_err_with(|| format!("standard input is no usable export; {BAD_ARCHIVE}"));
    };
    let file = File::open(path)
        .wrap_err_with(|| format!("{} can't be read; check its name and rights", shown(path)))?;
    Archive::read(BufReader::new(file))
        .wrap_err_with(|| format!("{} is no usable export; {BAD_ARCHIVE}", shown(path)))
}

/// What is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Ledger,
    Everything,
}

/// The result of a command, for programs.
#[derive(Default, Serialize)]
struct Done {
    market: String,
    /// How many elements were imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    imported: Option<usize>,
    /// Parts of the ledger that were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Vec<String>>,
    /// Datasets that were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    datasets: Option<Vec<String>>,
    /// How many entities of the state index were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// Whether the market was followed on the chain, until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    followed: Option<bool>,
    notes: Vec<String>,
}

impl Done {
    fn new(market: &Market, notes: Vec<String>) -> Self {
        Self { market: market.keys.market().checksummed().to_owned(), notes, ..Self::default() }
    }

    fn print(&self, text: &str, json: bool) -> Result<()> {
        if json {
            return print(&format!("{:#}\n", serde_json::to_value(self)?));
        }
        print(&format!("market {}: {text}\n", escaped(&self.market)))?;
        self.notes.iter().for_each(|note| print_to_stderr(&format!("note: {note}")));
        Ok(())
    }
}

async fn remove(args: &ResetArgs, config: &Config, extent: Extent) -> Result<ExitCode> {
    let market = Market::new(config, &args.market);
    let mut session = session(config, RESET_LEDGER).await?;
    let (what, effect) = match extent {
        Extent::Ledger => ("the ledger", "it reports once that the ledger was lost, and goes on"),
        Extent::Everything => (
            "ledger, datasets, submission windows and state index",
            "it writes all of it again, until the market has left its configuration",
        ),
    };
    let mut notes = with_rights(&market, market.notes(&mut session, effect).await)?;
    match consent(&format!("Delete {what} of {}?", market.name()), &notes, args.yes)? {
        // A reader of JSON gets the notes once more.
        Consent::Given if !args.yes && !args.json => notes.clear(),
        Consent::Given => {}
        Consent::Refused => {
            print_to_stderr("nothing was deleted");
            return Ok(FAILURE.into());
        }
        Consent::Unasked => {
            print_to_stderr(&format!(
                "state-tracker: {what} of {} must not go unconfirmed, and there is no terminal to ask; repeat with --yes",
                market.name()
            ));
            return Ok(USAGE.into());
        }
    }
    let mut done = Done::new(&market, notes);
    let text = match extent {
        Extent::Ledger => reset(&mut session, &market, &mut done).await,
        Extent::Everything => remove_all(&mut session, config, &market, &mut done).await,
    };
    done.print(&with_rights(&market, text)?, args.json)?;
    Ok(SUCCESS.into())
}

async fn reset(session: &mut Session, market: &Market, done: &mut Done) -> Result<String> {
    let parts = reset_ledger(session, &market.keys, now()).await?;
    let hours = parts.iter().filter(|part| part.contains(':')).count();
    let whole: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.contains(':')).collect();
    let text = match parts.len() {
        0 => "it had no ledger".to_owned(),
        _ => format!("deleted the ledger: {}, validators of {hours} hours; {ANEW}", whole.join(", ")),
    };
    done.ledger = Some(parts);
    Ok(text)
}

async fn remove_all(
    session: &mut Session,
    config: &Config,
    market: &Market,
    done: &mut Done,
) -> Result<String> {
    let ledger = reset_ledger(session, &market.keys, now()).await?;
    let (mut datasets, mut index, mut faults) = (Vec::new(), 0, Vec::new());
    let has_index = config.index.enabled && config.index.namespaced;
    for (at, keys) in market.spelled(config).iter().enumerate() {
        // A tracker with these rights has never written under such names.
        let is_foreign = |error: &StoreError, never: bool| never && error.kind == ErrorKind::Denied;
        let mut not_examined = |error: StoreError| {
            done.notes.push(format!("not examined: {}", escaped(&error.to_string())));
        };
        match remove_datasets(session, keys, now()).await {
            Ok(removed) => datasets.extend(removed),
            Err(error) if is_foreign(&error, at > 0) => not_examined(error),
            Err(error) => return Err(error.into()),
        }
        match remove_index(session, keys).await {
            Ok((entities, more)) => {
                index += entities;
                faults.extend(more);
            }
            Err(error) if is_foreign(&error, at > 0 || market.is_configured && !has_index) => {
                not_examined(error)
            }
            Err(error) => return Err(error.into()),
        }
    }
    done.notes.extend(faults.iter().map(|fault| format!("not deleted: {}", escaped(&fault.to_string()))));
    let followed = stop_following(session, config, market).await?;
    let windows = if followed { ", its submission windows" } else { "" };
    let text = format!(
        "deleted {} keys of the ledger, {} datasets{windows} and {index} entities of the state index; keys of producers stay",
        ledger.len(),
        datasets.len()
    );
    (done.ledger, done.datasets, done.index) = (Some(ledger), Some(datasets), Some(index));
    done.followed = Some(followed);
    Ok(text)
}

/// Removes a market from the chain state, where a chain is followed; returns whether it was in it. Every tracker on that state follows
/// the markets of all others, also of those that are gone.
async fn stop_following(session: &mut Session, config: &Config, market: &Market) -> Result<bool> {
    let Ok(address) = market.keys.market().checksummed().parse::<ContractAddress>() else { return Ok(false) };
    if !config.collector.is_enabled() {
        return Ok(false);
    }
    let store = service::collector_store(config)?;
    for _ in 0..ATTEMPTS {
        // A tracker that accepts a block between the read and the write makes it start again.
        if let Some(followed) = store.remove(session, address).await? {
            return Ok(followed);
        }
    }
    bail!(
        "{} is still followed: the trackers changed the chain state {ATTEMPTS} times meanwhile; repeat the command",
        market.name()
    )
}

/// Says which user may delete the keys of a market that the access list of this configuration does not name.
fn with_rights<T>(market: &Market, outcome: Result<T>) -> Result<T> {
    let is_denied = |error: &color_eyre::eyre::Report| {
        let error = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>());
        error.is_some_and(|error| error.kind == ErrorKind::Denied)
    };
    match outcome {
        Err(error) if !market.is_configured && is_denied(&error) => Err(error.wrap_err(format!(
            "the rights for this configuration do not include {}; use a Redis user that has them (redis.username)",
            market.name()
        ))),
        outcome => outcome,
    }
}
