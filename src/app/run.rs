//! `run`: the service, from the first log line to the exit code.

use std::{convert::Infallible, process::ExitCode, sync::Arc, time::Duration};

use color_eyre::eyre::Result;
use errors::rounded;
use supervision::{Outcome, WatchSettings};

use super::{bar, last_resort, logging::log_to_stderr, signals::Signals};
use crate::{
    config::{ConfigErrors, Loaded, Supervision},
    exit::{GAVE_UP, SUCCESS},
    remedy,
    service::{Reloaded, Service},
};

/// How long the endpoints, and what had to be killed, may take when the time of the actors is over.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// Runs the service until SIGTERM, SIGINT or its own end. At SIGHUP the configuration is loaded again.
///
/// # Errors
/// Anything that keeps it from starting.
pub async fn run(load: impl Fn() -> Result<Loaded, ConfigErrors>) -> Result<ExitCode> {
    let loaded = load()?;
    let log = log_to_stderr(&loaded.config.log)?;
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    let config = &loaded.config;
    // Signals are caught before anything starts, so that none can fall into a gap.
    let signals = Signals::catch(Some(config.supervision.shutdown_timeout + STOP_SLACK))?;
    let markets = config.tracker.markets.len();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), markets, redis = config.redis.address(), "starting");
    let service = Service::start(config, watch(&config.supervision, signals.is_told_to_stop())).await?;
    let dropped = log.clone();
    service.observe_log(move || dropped.dropped());
    signals.watch_over(service.tree());
    arm_failure_points(&service)?;
    let outcome = tokio::select! {
        outcome = service.tree().ended() => outcome,
        never = keep_reloading(&service, &loaded, &load, &signals) => match never {},
        never = bar::keep_showing(|frame| log.draw(frame), || service.following()) => match never {},
        _ = signals.told_to_stop() => {
            log.draw(None);
            let report = service.stop().await;
            tracing::info!(took = %rounded(report.took), abandoned = ?report.abandoned, "stopped");
            // Who was told to stop has done so, even if something had to be killed for it.
            return Ok(SUCCESS.into());
        }
    };
    log.draw(None);
    match outcome {
        Outcome::Stopped => Ok(SUCCESS.into()),
        Outcome::GaveUp { path, reason } => {
            tracing::error!("gave up: {path} could not be kept running, and is mandatory: {reason}");
            Ok(GAVE_UP.into())
        }
        Outcome::RootEnded { reason } => {
            tracing::error!("the root supervisor ended: {reason}");
            Ok(GAVE_UP.into())
        }
    }
}

/// At each SIGHUP applies the markets of the configuration as it is then, and logs what needs a restart.
async fn keep_reloading(
    service: &Service,
    started: &Loaded,
    load: &impl Fn() -> Result<Loaded, ConfigErrors>,
    signals: &Signals,
) -> Infallible {
    loop {
        signals.hangup().await;
        let new = match load() {
            Ok(new) => new,
            Err(errors) => {
                tracing::error!("SIGHUP: nothing is changed, {errors}");
                continue;
            }
        };
        match service.reload(&new.config).await {
            Ok(Reloaded { added, removed, replaced }) => {
                tracing::info!(
                    ?added,
                    ?removed,
                    ?replaced,
                    "SIGHUP: the markets of the configuration are in effect"
                );
            }
            Err(error) => tracing::error!("SIGHUP: {}", remedy::line(error.as_ref())),
        }
        if let Some(variable) = new.markets_variable() {
            tracing::warn!(
                "SIGHUP: no market is added or removed: tracker.markets comes from the environment variable {variable}, \
                 which can't change while the process runs; list the markets in the file of --config instead"
            );
        }
        for key in new.differs_from(started) {
            tracing::warn!("SIGHUP: {key} has changed since the start; it takes effect with a restart");
        }
    }
}

/// What is done about a handler that never yields: nothing inside the process can replace it, so the process
/// ends and its own supervisor takes over. One that is being stopped anyway ends by its own deadline.
fn watch(
    settings: &Supervision,
    is_told_to_stop: impl Fn() -> bool + Send + Sync + 'static,
) -> WatchSettings {
    WatchSettings {
        every: (settings.stall_timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1)),
        report_after: settings.stall_timeout,
        wedged_after: settings.wedge_timeout,
        on_wedged: Arc::new(move |actor, polling| {
            if is_told_to_stop() {
                return;
            }
            let actor = actor.to_owned();
            last_resort::exit(i32::from(GAVE_UP.code), move || {
                tracing::error!(
                    actor,
                    "a handler has not yielded for {}, the process ends",
                    rounded(polling)
                );
            });
        }),
    }
}

/// Arms what the operator of a build with failure points asks for.
#[cfg(feature = "failure-points")]
fn arm_failure_points(service: &Service) -> Result<()> {
    use crate::config::FAILURES_VARIABLE;
    use color_eyre::eyre::WrapErr;
    if let Ok(text) = std::env::var(FAILURES_VARIABLE) {
        service.tree().failure_points().arm_all(&text).wrap_err(FAILURES_VARIABLE)?;
        tracing::warn!("failure points are armed: {text}");
    }
    Ok(())
}

#[cfg(not(feature = "failure-points"))]
#[allow(clippy::unnecessary_wraps)]
fn arm_failure_points(_service: &Service) -> Result<()> {
    Ok(())
}
