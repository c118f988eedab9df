//! The failure points that an operator arms by an environment variable, in a build that has them.
//!
//! All of it is checked before it acts: the points before anything starts, the actors once they exist. An armed point that
//! never acts would make a test of failures pass without a failure.

use supervision::fail::Written;

use crate::{
    config::{ConfigErrors, FAILURES_VARIABLE, Problem, nearest},
    service::Service,
};

/// What the environment asks for; empty without the variable.
///
/// # Errors
/// A text that can't be parsed, or points that no actor passes.
pub(super) fn from_environment() -> Result<Vec<Written>, ConfigErrors> {
    let Ok(text) = std::env::var(FAILURES_VARIABLE) else { return Ok(Vec::new()) };
    let refused = |text: String| ConfigErrors::new(vec![Problem::general(text)]);
    let all = Written::all(&text).map_err(|error| refused(format!("{FAILURES_VARIABLE}: {error}")))?;
    let known: Vec<&'static str> = actors::tables::failure_points().map(|point| point.name).collect();
    for written in &all {
        if !known.contains(&written.point.as_str()) {
            let near = nearest(known.clone(), &written.point);
            let hint = near.map_or("docs/reference/failure-points.md lists them".to_owned(), |near| {
                format!("did you mean {near}?")
            });
            return Err(refused(format!(
                "{FAILURES_VARIABLE}: {} is no failure point: {hint}",
                written.point
            )));
        }
    }
    Ok(all)
}

/// Arms them in the tree.
///
/// # Errors
/// Actors that the tree does not have.
pub(super) fn arm(service: &Service, all: &[Written]) -> Result<(), ConfigErrors> {
    let paths: Vec<String> = service.tree().health().into_iter().map(|actor| actor.path).collect();
    let is_unknown = |written: &&Written| !paths.iter().any(|path| path.ends_with(&written.actor));
    if let Some(written) = all.iter().find(is_unknown) {
        let text = format!(
            "{FAILURES_VARIABLE}: no actor has a path that ends with {}: the actors are {}",
            written.actor,
            paths.join(", ")
        );
        return Err(ConfigErrors::new(vec![Problem::general(text)]));
    }
    for written in all {
        service.tree().failure_points().arm_written(written);
    }
    if !all.is_empty() {
        // A build with failure points may reach production by mistake: its log must show why actors crash.
        let points: Vec<&str> = all.iter().map(|written| written.point.as_str()).collect();
        tracing::warn!("failure points are armed: {}", points.join(", "));
    }
    Ok(())
}
