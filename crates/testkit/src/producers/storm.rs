//! Many events on the channel, at a steady rate, to load a listener. Publishes only; writes no key.

use std::time::Duration;

use redis::pipe;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{CHANNEL, Link, ProducerError};

const TICK: Duration = Duration::from_millis(4);
/// Events of one pipeline at most, so that a late tick does not become one huge pipeline.
const PIPELINE_LIMIT: u64 = 4_000;
const RETRY: Duration = Duration::from_millis(20);

/// The result of a storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StormReport {
    /// Events that Redis confirmed.
    pub published: u64,
    /// Pipelines that Redis did not confirm; their events may or may not have gone out.
    pub failed_pipelines: u64,
    /// How long it lasted.
    pub elapsed: Duration,
}

/// Publishes `events_per_second` on `state:change` until `stop` is ready, in pipelines every few
/// milliseconds. When it can't keep up, it catches up as fast as it can; after an outage of Redis too. All events
/// name epoch `epoch`, or submissions of it.
///
/// # Errors
/// When the URL can't be read, or Redis isn't there at the start.
pub async fn event_storm(
    redis_url: &str,
    epoch: u64,
    events_per_second: u64,
    stop: impl Future<Output = ()>,
) -> Result<StormReport, ProducerError> {
    let mut link = Link::new(redis_url)?;
    let mut hello = pipe();
    hello.cmd("PING").ignore();
    link.run(&hello, || "connect".to_owned()).await?;

    let started = Instant::now();
    let mut report = StormReport { published: 0, failed_pipelines: 0, elapsed: Duration::ZERO };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = ticks.tick() => {}
        }
        // `stop` never cancels a pipeline half-way, so the count stays true.
        let due = started.elapsed().as_secs_f64() * events_per_second as f64;
        // Float to integer saturates; a storm of 2^53 events does not happen.
        let count = (due as u64).saturating_sub(report.published).min(PIPELINE_LIMIT);
        if count == 0 {
            continue;
        }
        let mut events = pipe();
        for number in report.published..report.published + count {
            events.publish(CHANNEL, event(epoch, number)).ignore();
        }
        match link.run(&events, || "storm".to_owned()).await {
            Ok(()) => report.published += count,
            Err(_) => {
                report.failed_pipelines += 1;
                sleep(RETRY).await;
            }
        }
        if count == PIPELINE_LIMIT {
            ticks.reset_immediately();
        }
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

/// Mostly submissions, some of everything else.
fn event(epoch: u64, number: u64) -> String {
    match number % 40 {
        0 => format!("epoch:open:{epoch}"),
        10 => format!("part:created:{epoch}:{}", number / 40),
        20 => format!("batch:validator:validator{}:{epoch}", number % 3),
        30 => format!("peers:connected:{}", number % 9),
        odd if odd % 2 == 1 => format!("submission:received:{epoch}-project{}-{number}", number % 7),
        _ => {
            format!("submission:validated:{epoch}-project{}-{}-bafkrei{number}", number % 7, number % 10_000)
        }
    }
}
