//! The failure points that an operator arms by an environment variable, in a build that has them. `run` arms them, `check`
//! shows them; both read them here.
//!
//! All of it is checked before anything starts, and all errors are reported at once: an armed point that never acts would make
//! a test of failures pass without a failure.

#[cfg(test)]
mod tests;

use std::fmt;

use actors::{env::FailurePoint, tables};
use serde::Serialize;
use supervision::{
    TreeOptions, WatchSettings,
    fail::{Fault, When, Written},
};

use crate::{
    config::{Config, ConfigErrors, FAILURES_VARIABLE, Problem, nearest},
    service::actor_list::{ListedActor, actor_list},
};

/// How many paths of actors a message names.
const NAMED: usize = 12;

/// A failure point of the environment, with the actors of the configuration at which it acts.
#[derive(Debug, Serialize)]
pub(super) struct Armed {
    point: &'static str,
    fault: &'static str,
    /// At how many passages it acts; `None` for all.
    times: Option<u64>,
    actors: Vec<String>,
    #[serde(skip)]
    written: Written,
}

impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acts = match self.written.fault {
            Fault::Panic => "panics",
            Fault::Error => "fails with an error",
            Fault::Delay(_) => "waits",
            Fault::Hang => "hangs until it is killed,",
            Fault::Spin => "spins and never yields its thread,",
        };
        write!(f, "{}: {acts} at ", self.point)?;
        match self.times {
            None => f.write_str("every passage")?,
            Some(1) => f.write_str("the next passage")?,
            Some(n) => write!(f, "the next {n} passages")?,
        }
        match (self.actors.as_slice(), self.times) {
            ([only], _) => write!(f, " of {only}"),
            // The count belongs to the point and not to each actor.
            (all, Some(_)) => write!(f, ", counted over {} actors: {}", all.len(), listed(all)),
            (all, None) => write!(f, " of {} actors: {}", all.len(), listed(all)),
        }
    }
}

/// The points that the environment asks for; empty without the variable.
///
/// # Errors
/// All points that can't be parsed, do not exist, or are passed by no actor of this configuration.
pub(super) fn from_environment(config: &Config) -> Result<Vec<Armed>, ConfigErrors> {
    // The configuration has refused a value that is not UTF-8.
    match std::env::var(FAILURES_VARIABLE).unwrap_or_default().as_str() {
        "" => Ok(Vec::new()),
        text => parse(text, &actor_list(config)),
    }
}

/// What this text of the variable arms, a sentence for each point: what `check` shows. Nothing is armed.
///
/// # Errors
/// As when the program starts with it.
pub fn armed_by(config: &Config, text: &str) -> Result<Vec<String>, ConfigErrors> {
    Ok(parse(text, &actor_list(config))?.iter().map(ToString::to_string).collect())
}

/// The options of a tree in which they are armed before the first actor starts.
pub(super) fn options(all: &[Armed], watch: WatchSettings) -> TreeOptions {
    for armed in all {
        // A build with failure points may reach production by mistake: its log must show why actors crash.
        tracing::warn!("a failure point is armed: {armed}");
    }
    let failure_points = all.iter().map(|armed| armed.written.clone()).collect();
    TreeOptions { watch, failure_points, ..TreeOptions::default() }
}

/// Reads a text that is not empty.
fn parse(text: &str, actors: &[ListedActor]) -> Result<Vec<Armed>, ConfigErrors> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match parse_one(text, actors) {
            Ok(armed) => all.extend(armed),
            Err(problem) => problems.push(problem),
        }
    }
    if all.is_empty() && problems.is_empty() {
        problems.push("it names no failure point".to_owned());
    }
    if problems.is_empty() {
        return Ok(all);
    }
    let problem = |text| Problem::general(format!("{FAILURES_VARIABLE}: {text}"));
    Err(ConfigErrors::new(problems.into_iter().map(problem).collect()))
}

/// Reads one point; it has no comma, so the kit reads exactly one.
fn parse_one(text: &str, actors: &[ListedActor]) -> Result<Vec<Armed>, String> {
    // The kit's own reading, so that what is shown is what acts.
    let written = Written::all(text).map_err(|error| error.to_string())?;
    let armed = written.into_iter().map(|written| {
        let point = known_point(&written.point)?;
        let actors = passing(point, &written.actor, actors)?;
        let fault = match written.fault {
            Fault::Panic => "panic",
            Fault::Error => "error",
            Fault::Delay(_) => "delay",
            Fault::Hang => "hang",
            Fault::Spin => "spin",
        };
        let times = match written.when {
            When::Times(times) => Some(times),
            When::Always | When::Nth(_) | When::Every(_) => None,
        };
        Ok(Armed { point: point.name, fault, times, actors, written })
    });
    armed.collect()
}

fn known_point(name: &str) -> Result<&'static FailurePoint, String> {
    if let Some(point) = tables::failure_points().find(|point| point.name == name) {
        return Ok(point);
    }
    let near = nearest(tables::failure_points().map(|point| point.name).collect(), name);
    let hint = near.map_or("docs/reference/failure-points.md lists them".to_owned(), |near| {
        format!("did you mean {near}?")
    });
    Err(format!("{name} is no failure point: {hint}"))
}

/// The actors that pass a point and whose paths end with `ending`.
fn passing(point: &FailurePoint, ending: &str, actors: &[ListedActor]) -> Result<Vec<String>, String> {
    let named: Vec<&ListedActor> = actors.iter().filter(|actor| actor.path.ends_with(ending)).collect();
    let passing: Vec<String> =
        named.iter().filter(|actor| actor.kind == point.actor).map(|actor| actor.path.clone()).collect();
    let FailurePoint { name, actor: kind, .. } = point;
    match (named.is_empty(), passing.is_empty(), ending) {
        (_, false, _) => Ok(passing),
        (true, ..) => Err(unknown_actor(ending, actors)),
        (false, true, "") => Err(format!("{name}: this configuration runs no {kind}, which would pass it")),
        (false, true, _) => Err(format!(
            "{name}: only an actor of kind {kind} passes it, and none has a path that ends with {ending}"
        )),
    }
}

fn unknown_actor(ending: &str, actors: &[ListedActor]) -> String {
    let paths: Vec<String> = actors.iter().map(|actor| actor.path.clone()).collect();
    let endings: Vec<&str> = paths.iter().flat_map(|path| endings(path)).collect();
    // Lower case is the most common spelling of an address, and far from the checksum form in edits.
    let near = endings.iter().find(|known| known.eq_ignore_ascii_case(ending)).copied();
    let hint = match near.or_else(|| nearest(endings.clone(), ending)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the actors are {}", listed(&paths)),
    };
    format!("no actor has a path that ends with {ending}: {hint}")
}

/// A path, and what remains of it after each slash.
fn endings(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.match_indices('/').map(|(at, _)| &path[at + 1..]))
}

/// Paths with commas between them, the first ones only: a service may have hundreds of markets.
fn listed(paths: &[String]) -> String {
    let named = paths[..paths.len().min(NAMED)].join(", ");
    match paths.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}
