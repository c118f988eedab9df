//! `check`: the verdict on a configuration first and last, between them which parts run, what differs from the defaults, and the
//! rest.

use std::{fmt::Write as _, process::ExitCode};

use color_eyre::eyre::Result;
use serde::Serialize;

use super::{
    connect::{Connection, connect},
    failure_points::{self, Armed},
};
use crate::{
    cli::CheckArgs,
    config::{Config, ConfigErrors, Loaded, defaults_toml},
    exit::{CONFIGURATION, Exit, FAILURE, SUCCESS},
};

/// A part of the service, and whether this configuration runs it.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    runs: bool,
    detail: String,
}

/// The text of `check --defaults`, which needs no configuration.
#[must_use]
pub fn defaults() -> String {
    defaults_toml()
}

/// Describes a configuration, and with `--connect` connects to its servers.
///
/// # Errors
/// A configuration with errors, failure points that would never act, and settings that make no connection. A server that does not
/// answer is reported, with exit code 1. With `--json`, errors of the configuration are part of the object too.
pub async fn check(args: &CheckArgs, loaded: Result<Loaded, ConfigErrors>) -> Result<(String, ExitCode)> {
    // As `run` does, before anything is connected.
    let checked = loaded.and_then(|loaded| {
        let armed = failure_points::from_environment(&loaded.config)?;
        Ok((loaded, armed))
    });
    let (loaded, armed) = match checked {
        Ok(checked) => checked,
        Err(errors) if args.json => {
            let json =
                serde_json::json!({ "valid": false, "errors": errors.problems(), "notes": errors.notes() });
            return Ok((format!("{json:#}\n"), CONFIGURATION.into()));
        }
        Err(errors) => return Err(errors.into()),
    };
    let connections = match args.connect {
        true => Some(connect(&loaded.config).await?),
        false => None,
    };
    // The text goes to standard output in either case: a failed connection is a result of `check`, not an error of it.
    let all_answer = connections.iter().flatten().all(|connection| connection.ok);
    let exit: Exit = if all_answer { SUCCESS } else { FAILURE };
    let text = match args.json {
        true => format!("{:#}\n", json(&loaded, &armed, connections.as_deref())),
        false => text(&loaded, &armed, connections.as_deref()),
    };
    Ok((text, exit.into()))
}

fn parts(config: &Config) -> [Part; 4] {
    let markets = config.tracker.markets.len();
    let nodes = config.collector.nodes.len();
    let collector = match nodes {
        0 => "collector.nodes (RPC_NODES) is not set".to_owned(),
        _ => format!("follows the chain through {}", counted(nodes, "node")),
    };
    let api = match config.api.is_enabled() {
        true => format!("serves {}", config.api.address),
        false => "api.read_token (AUTH_READ_TOKEN) is not set".to_owned(),
    };
    [
        Part { name: "tracker", runs: true, detail: format!("serves {}", counted(markets, "market")) },
        Part { name: "collector", runs: config.collector.is_enabled(), detail: collector },
        Part { name: "read API", runs: config.api.is_enabled(), detail: api },
        Part { name: "campaigns", runs: config.campaigns.is_enabled(), detail: campaigns(config) },
    ]
}

fn campaigns(config: &Config) -> String {
    let settings = &config.campaigns;
    match (settings.schedules(), settings.serves()) {
        (true, true) => format!("counts runs, and serves {}", settings.gateway_address),
        (true, false) => "counts runs; campaigns.gateway is false".to_owned(),
        (false, true) => format!("serves {}; campaigns.scheduler is false", settings.gateway_address),
        (false, false) => "campaigns.database_url (DATABASE_URL) is not set".to_owned(),
    }
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn json(loaded: &Loaded, armed: &[Armed], connections: Option<&[Connection]>) -> serde_json::Value {
    let parts = parts(&loaded.config);
    // In every build, so that a script can rely on the field.
    let mut json = serde_json::json!({ "valid": true, "parts": parts, "failure_points": armed });
    if let Some(connections) = connections {
        json["connected"] = connections.iter().all(|connection| connection.ok).into();
        json["connections"] = serde_json::json!(connections);
    }
    // One JSON object, never two documents in a row: scripts parse the whole output at once.
    if let (Some(all), serde_json::Value::Object(settings)) = (json.as_object_mut(), loaded.to_json()) {
        all.extend(settings);
    }
    json
}

fn text(loaded: &Loaded, armed: &[Armed], connections: Option<&[Connection]>) -> String {
    // The verdict first: 90 lines of settings follow, and an operator reads the first one.
    let mut verdict = "The configuration is valid".to_owned();
    if let Some(connections) = connections {
        let failed = connections.iter().filter(|connection| !connection.ok).count();
        verdict += &match failed {
            0 => " and every server answers".to_owned(),
            _ => format!(", but {failed} of {} connections failed", connections.len()),
        };
        verdict += &match connections.iter().filter(|connection| connection.warning.is_some()).count() {
            0 => String::new(),
            warnings => format!(", with {}", counted(warnings, "warning")),
        };
    }
    // In the verdict, since such a configuration is valid for a test only.
    verdict += &match armed.len() {
        0 => ".\n".to_owned(),
        1 => ". 1 failure point is armed.\n".to_owned(),
        n => format!(". {n} failure points are armed.\n"),
    };
    let mut text = verdict.clone();
    // Writing to a String can't fail.
    for Part { name, runs, detail } in parts(&loaded.config) {
        let runs = if runs { "runs" } else { "does not run" };
        let _ = writeln!(text, "  {name:9}  {runs}: {detail}");
    }
    for note in &loaded.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let mut block = |head: &str, lines: &str| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{head}:\n{lines}");
        }
    };
    let connected =
        connections.unwrap_or_default().iter().map(|Connection { server, ok, detail, warning }| {
            let warning = warning.iter().map(|warning| format!("{:6}  {server}: {warning}\n", "warn"));
            format!("{:6}  {server}: {detail}\n", if *ok { "ok" } else { "failed" })
                + &warning.collect::<String>()
        });
    let points = armed.iter().map(|armed| format!("{armed}\n"));
    // Most surprising first: what will fail on purpose, what failed to connect, then what somebody changed, then the long list of defaults.
    block("Failure points", &points.collect::<String>());
    block("Connections", &connected.collect::<String>());
    block("Changed", &loaded.describe_changes());
    block("Defaults", &loaded.describe_defaults());
    // Once more, since on a terminal the first lines have scrolled away.
    text + "\n" + &verdict
}
