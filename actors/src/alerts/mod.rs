//! The alerts: reports what operators should see to a webhook, such as one of Slack.
//!
//! It gets the notices that the notifier writes to the log, and looks at the records of all actors for crashes. It touches nothing else.
//! Promises:
//! - nothing waits for it: its edge drops the oldest notice, it looks at records by itself, and a slow receiver only fills a short queue;
//! - one alert a cause at once, its repetitions together with their number, and one when it is over;
//! - what is not delivered is counted. A crash of this actor repeats no alert: what is known and what waits outlives it.

mod book;
mod causes;
pub(crate) mod metrics;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use errors::{Kind, Operation};
use retry::{Attempts, clamp_requested, table::WEBHOOK};
use supervision::{Actor, ActorHealth, Clock, Context, Failure, Inbox};
use webhook::{SendError, Webhook};

pub use self::{book::AlertBook, metrics::AlertMetrics};
use crate::{
    collector::Notice,
    env::{Services, lock::lock, report::Report},
    operations::{SEND_ALERT, WEBHOOK_FAILED},
};

/// The pause between two alerts: Slack takes one a second.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How often the records of the actors are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the alerts that wait may take once the actor is stopped.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// Reads the records of all actors.
pub type Records = Arc<dyn Fn() -> Vec<ActorHealth> + Send + Sync>;

/// A report could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("{}: {name}: {cause}; {what}", SEND_ALERT)]
struct NotSent {
    name: String,
    what: &'static str,
    #[source]
    cause: SendError,
}

impl Report for NotSent {
    fn operation(&self) -> Operation {
        SEND_ALERT
    }

    fn kind(&self) -> Kind {
        WEBHOOK_FAILED
    }

    fn subject(&self) -> String {
        String::new()
    }
}

/// The actor.
pub struct Alerts {
    webhook: Webhook,
    records: Records,
    book: AlertBook,
    services: Services,
}

/// A delivery under way.
type Sending = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

impl Alerts {
    /// Alerts to this webhook, from notices and from these records.
    #[must_use]
    pub fn new(webhook: Webhook, records: Records, book: AlertBook, services: Services) -> Self {
        Self { webhook, records, book, services }
    }

    /// The delivery of the first alert that waits, with its number.
    fn sending(&self) -> Option<(u64, Sending)> {
        let (number, report) = lock(&self.book.0).first()?;
        let webhook = self.webhook.clone();
        Some((number, Box::pin(async move { webhook.send(&report).await })))
    }

    /// Takes the result of the delivery of the alert of this number; returns the pause before the next one.
    fn sent(
        &self,
        number: u64,
        result: Result<(), SendError>,
        attempts: &mut Attempts,
        failed: &mut u32,
    ) -> Duration {
        let mut book = lock(&self.book.0);
        let error = match result {
            Ok(()) => {
                book.leaves(number);
                book.counts.sent += 1;
                attempts.succeeded();
                *failed = 0;
                return SEND_EVERY;
            }
            Err(error) => error,
        };
        *failed += 1;
        let own = attempts.failed();
        let pause = error.retry_after().map_or(own, |asked| clamp_requested(asked, own)).max(SEND_EVERY);
        let is_over = error.is_final() || *failed >= WEBHOOK.attempts;
        let name = book.first().map(|(_, report)| report.name).unwrap_or_default();
        if is_over {
            // One that had to make room meanwhile is counted already.
            book.counts.undelivered += u64::from(book.leaves(number));
            *failed = 0;
        }
        drop(book);
        let what = if is_over { "it is not delivered" } else { "it is sent again" };
        self.services.report(&NotSent { name, what, cause: error });
        pause
    }

    fn look(&self, clock: &Clock) {
        let actors = (self.records)();
        lock(&self.book.0).look(&actors, clock.now(), system_time(clock));
    }
}

fn system_time(clock: &Clock) -> SystemTime {
    SystemTime::UNIX_EPOCH + clock.unix()
}

impl Actor for Alerts {
    type Message = Notice;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Notice>) -> Result<(), Failure> {
        let clock = cx.clock();
        let (mut attempts, mut failed) = (Attempts::new(WEBHOOK), 0);
        let mut sending: Option<(u64, Sending)> = None;
        let (mut look_at, mut send_at) = (clock.now(), clock.now());
        while !cx.is_stopping() {
            let now = clock.now();
            if now >= look_at {
                self.look(clock);
                look_at = now + LOOK_EVERY;
            }
            if sending.is_none() && now >= send_at {
                sending = self.sending();
            }
            // One that may be sent and is not under way does not exist.
            let wake = if sending.is_none() && now < send_at { look_at.min(send_at) } else { look_at };
            tokio::select! {
                biased;
                () = cx.stopped() => break,
                result = async { match sending.as_mut() {
                    Some((number, sending)) => (*number, sending.await),
                    None => std::future::pending().await,
                } } => {
                    sending = None;
                    let (number, result) = result;
                    send_at = clock.now() + self.sent(number, result, &mut attempts, &mut failed);
                }
                notice = inbox.recv() => {
                    let Some(notice) = notice else { break };
                    lock(&self.book.0).notice(&notice, clock.now(), system_time(clock));
                    notice.ack();
                }
                () = clock.sleep_until(wake) => {}
            }
        }
        // The last words of a service are often the reason of its end.
        let last = async {
            loop {
                if sending.is_none() {
                    // The receiver's limit holds to the end.
                    clock.sleep_until(send_at).await;
                }
                let Some((number, sending)) = sending.take().or_else(|| self.sending()) else { return };
                let result = sending.await;
                send_at = clock.now() + self.sent(number, result, &mut attempts, &mut failed);
            }
        };
        let _ = clock.timeout(FINISH_WITHIN, last).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
