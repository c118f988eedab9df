//! `run`: starts the service, reloads it at SIGHUP, and turns its end into an exit code.

use std::{convert::Infallible, process::ExitCode, sync::Arc, time::Duration};

use color_eyre::eyre::{Result, WrapErr};
use errors::rounded;
use supervision::{Outcome, WatchSettings};

use super::{bar, failure_points, last_resort, logging::log_to_stderr, signals::Signals};
use crate::{
    config::{ConfigErrors, Loaded, Supervision},
    exit::{GAVE_UP, SUCCESS},
    remedy,
    service::{Reloaded, Service},
};

/// Time that a stop gets beyond `supervision.shutdown_timeout`, for killed actors and the endpoints. Both together stay below
/// the 10 s after which container runtimes kill.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// Runs the service until SIGTERM, SIGINT, or until its tree ends. A SIGHUP loads the configuration again.
///
/// # Errors
/// Anything that prevents the start.
pub async fn run(
    load: impl Fn() -> Result<Loaded, ConfigErrors> + Send + Sync + 'static,
) -> Result<ExitCode> {
    // First of all: a signal that arrives earlier ends the process by its default action, also SIGHUP.
    let signals = Signals::catch(None)?;
    let load: Load = Arc::new(load);
    let loaded = tokio::select! {
        loaded = load_apart(&load) => loaded??,
        // Nothing has started yet.
        _ = signals.stop_requested() => return Ok(SUCCESS.into()),
    };
    let armed = failure_points::from_environment(&loaded.config)?;
    // Errors of the configuration are reported without a log, since it says how to log.
    let log = log_to_stderr(&loaded.config.log)?;
    for note in &loaded.notes {
        // Logged here and not while loading: the configuration says where and how to log.
        tracing::warn!("{note}");
    }
    let config = &loaded.config;
    signals.limit_stop(config.supervision.shutdown_timeout + STOP_SLACK);
    let markets = config.tracker.markets.len();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), markets, redis = config.redis.address(), "starting");
    let watch = watch(&config.supervision, signals.is_stopping());
    let service = tokio::select! {
        service = Service::start(config, failure_points::options(&armed, watch)) => service?,
        // It may wait for Redis. What has started ends with it.
        _ = signals.stop_requested() => return Ok(SUCCESS.into()),
    };
    let dropped = log.clone();
    // The metric counts what the log itself can't report while its reader is stuck.
    service.observe_log(move || dropped.dropped());
    // Signals came first, the tree exists only now: until here, a stop that is cut short names no actor.
    signals.report_blockers_of(service.tree());
    let outcome = tokio::select! {
        outcome = service.tree().ended() => outcome,
        never = keep_reloading(&service, &loaded, &load, &signals) => match never {},
        // Only drawn while old blocks are read: with a recent checkpoint there is no frame.
        never = bar::keep_showing(|frame| log.draw(frame), || service.chain_progress()) => match never {},
        _ = signals.stop_requested() => {
            log.draw(None);
            let report = service.stop().await;
            tracing::info!(took = %rounded(report.took), abandoned = ?report.abandoned, "stopped");
            // The stop was requested and has happened: success, even if actors had to be killed. The report names them.
            return Ok(SUCCESS.into());
        }
    };
    log.draw(None);
    match outcome {
        Outcome::Stopped => Ok(SUCCESS.into()),
        Outcome::GaveUp { path, reason } => {
            tracing::error!("gave up: the mandatory actor {path} stayed down: {reason}");
            Ok(GAVE_UP.into())
        }
        Outcome::RootEnded { reason } => {
            tracing::error!("the root supervisor ended: {reason}");
            Ok(GAVE_UP.into())
        }
    }
}

/// Loads the configuration.
type Load = Arc<dyn Fn() -> Result<Loaded, ConfigErrors> + Send + Sync>;

/// Loads the configuration in a thread for blocking work: its files may be pipes or on a file system that hangs, and a stop must not
/// wait for them.
async fn load_apart(load: &Load) -> Result<Result<Loaded, ConfigErrors>> {
    let load = load.clone();
    let loaded = tokio::task::spawn_blocking(move || load()).await;
    loaded.wrap_err("the thread that reads the configuration ended")
}

/// At each SIGHUP, loads the configuration, applies its markets, and logs the changes that need a restart.
async fn keep_reloading(service: &Service, started: &Loaded, load: &Load, signals: &Signals) -> Infallible {
    let mut noted = started.notes.clone();
    loop {
        signals.hangup().await;
        let new = match load_apart(load).await {
            Ok(Ok(new)) => new,
            Err(error) => {
                tracing::error!("SIGHUP: nothing is changed, {}", remedy::line(error.as_ref()));
                continue;
            }
            Ok(Err(errors)) => {
                // A typing mistake must not stop a running service: it continues with the configuration in effect.
                tracing::error!("SIGHUP: nothing is changed, {}", errors.one_line());
                continue;
            }
        };
        for note in new.notes.iter().filter(|note| !noted.contains(note)) {
            tracing::warn!("SIGHUP: {note}");
        }
        noted.clone_from(&new.notes);
        match service.reload(&new.config).await {
            // The warning below says why.
            Ok(changes) if changes == Reloaded::default() && new.markets_variable().is_some() => {}
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
        // Compared with the start and not with the last reload: only a restart has applied these settings.
        for key in new.differs_from(started) {
            tracing::warn!(
                "SIGHUP: {key} has changed since the start; the change takes effect with a restart"
            );
        }
    }
}

/// The settings of the watch. A wedged actor ends the process, since nothing inside the process can stop it; systemd or the
/// container runtime then starts the process again. During a stop the watch does nothing: the stop has its own deadline.
fn watch(settings: &Supervision, is_stopping: impl Fn() -> bool + Send + Sync + 'static) -> WatchSettings {
    WatchSettings {
        // Eight checks a timeout: a stall is noticed at most an eighth of it too late.
        every: (settings.stall_timeout / 8).clamp(Duration::from_millis(10), Duration::from_secs(1)),
        report_after: settings.stall_timeout,
        wedged_after: settings.wedge_timeout,
        on_wedged: Arc::new(move |actor, polling| {
            if is_stopping() {
                return;
            }
            let actor = actor.to_owned();
            last_resort::exit(i32::from(GAVE_UP.code), move || {
                tracing::error!(
                    actor,
                    "the actor has not yielded its thread for {}; the process ends",
                    rounded(polling)
                );
            });
        }),
    }
}
