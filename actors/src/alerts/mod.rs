//! The alerts: reports what operators should see to a webhook, such as one of Slack.
//!
//! It gets the notices that the notifier writes to the log, and looks at the records of all actors for crashes. It touches nothing else.
//! Promises:
//! - nothing waits for it: its edge drops the oldest notice, it looks at records by itself, and a slow receiver only fills a short queue;
//! - one alert a cause at once, its repetitions together with their number, and one when it is over;
//! - what is not delivered is counted. A crash of this actor repeats no alert: what is known and what waits outlives it.

mod causes;
pub(crate) mod metrics;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use errors::{Kind, Operation, sanitise};
use retry::{Attempts, clamp_requested, table::WEBHOOK};
use supervision::{Actor, ActorHealth, Clock, Context, Crash, Failure, Inbox, State};
use webhook::{Report as Sent, SendError, Webhook};

use self::causes::{Alert, Cause, Causes, Gravity};
pub use self::metrics::AlertMetrics;
use crate::{
    collector::{Notice, Severity},
    env::{Services, lock::lock, report::Report},
    operations::{SEND_ALERT, WEBHOOK_FAILED},
};

/// The most alerts that wait.
const MOST_WAITING: usize = 100;
/// The pause between two alerts: Slack takes one a second.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How often the records of the actors are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an actor has to run after a crash until that is told.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// How long the alerts that wait may take once the actor is stopped.
const FINISH_WITHIN: Duration = Duration::from_millis(500);
/// Notices that tell that others are over, of the same market.
const RECOVERIES: [(&str, &[&str]); 1] = [("relayer_back", &["relayer_away", "relayer_denies"])];

/// Reads the records of all actors.
pub type Records = Arc<dyn Fn() -> Vec<ActorHealth> + Send + Sync>;

/// What outlives a crash of the actor. Clones share it.
#[derive(Clone, Default)]
pub struct AlertBook(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    causes: Causes,
    waiting: VecDeque<Sent>,
    /// For each actor the number of its last crash, and since when it was well; none while it is not.
    crashes: BTreeMap<String, (u64, Option<Instant>)>,
    counts: Counts,
}

/// What came of alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sent: u64,
    undelivered: u64,
}

impl Book {
    fn add(&mut self, alert: Alert, at: SystemTime) {
        let Alert { name, text, gravity, is_recovery } = alert;
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.counts.undelivered += 1;
        }
        self.waiting.push_back(Sent {
            name,
            text: sanitise(text),
            at,
            severity: gravity.as_str(),
            is_recovery,
        });
    }

    /// Takes a notice.
    fn notice(&mut self, notice: &Notice, now: Instant, at: SystemTime) {
        let subject = notice.place.market.map(|market| market.to_string()).unwrap_or_default();
        let cause = |name: &str| Cause { name: name.to_owned(), subject: subject.clone() };
        if let Some((_, ends)) = RECOVERIES.iter().find(|(kind, _)| *kind == notice.kind) {
            for name in *ends {
                let over = self.causes.ended(&cause(name), &notice.text);
                over.into_iter().for_each(|alert| self.add(alert, at));
            }
            return;
        }
        let gravity = match notice.severity {
            Severity::Low => return,
            Severity::Medium => Gravity::Medium,
            Severity::High => Gravity::High,
        };
        let new = self.causes.came(cause(&notice.kind), gravity, notice.text.clone(), now);
        new.into_iter().for_each(|alert| self.add(alert, at));
    }

    /// Looks at the records of the actors: tells crashes, and actors that are well again.
    fn look(&mut self, actors: &[ActorHealth], now: Instant, at: SystemTime) {
        for actor in actors {
            let Some(crash) = &actor.last_crash else { continue };
            let (known, well) = self.crashes.entry(actor.path.clone()).or_default();
            let cause = Cause { name: actor.path.clone(), subject: String::new() };
            if crash.id > *known {
                (*known, *well) = (crash.id, None);
                let text = crash_text(actor, crash);
                let new = self.causes.came(cause, Gravity::High, text, now);
                new.into_iter().for_each(|alert| self.add(alert, at));
                continue;
            }
            if actor.state != State::Running || actor.degraded || actor.wedged {
                *well = None;
                continue;
            }
            let since = *well.get_or_insert(now);
            if now.saturating_duration_since(since) >= WELL_AFTER {
                let text = format!("the actor {} runs again, for a minute now", actor.path);
                let over = self.causes.ended(&cause, &text);
                over.into_iter().for_each(|alert| self.add(alert, at));
            }
        }
        for alert in self.causes.due(now) {
            self.add(alert, at);
        }
        // Actors of removed markets.
        self.crashes.retain(|path, _| actors.iter().any(|actor| actor.path == *path));
    }
}

fn crash_text(actor: &ActorHealth, crash: &Crash) -> String {
    let place = crash.location.as_deref().map(|place| format!(" at {place}")).unwrap_or_default();
    format!(
        "the actor {path} crashed{place}: {}; it is restarted alone (incarnation {}); its backtrace is number {} of /crashes?actor={path} at \
         the operators' port",
        crash.message,
        crash.generation,
        crash.id,
        path = actor.path
    )
}

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

    fn sending(&self) -> Option<Sending> {
        let report = lock(&self.book.0).waiting.front().cloned()?;
        let webhook = self.webhook.clone();
        Some(Box::pin(async move { webhook.send(&report).await }))
    }

    /// Takes the result of a delivery; returns the pause before the next one.
    fn sent(&self, result: Result<(), SendError>, attempts: &mut Attempts, failed: &mut u32) -> Duration {
        let mut book = lock(&self.book.0);
        let error = match result {
            Ok(()) => {
                book.waiting.pop_front();
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
        let name = book.waiting.front().map(|report| report.name.clone()).unwrap_or_default();
        if is_over {
            book.waiting.pop_front();
            book.counts.undelivered += 1;
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
        let mut sending: Option<Sending> = None;
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
                    Some(sending) => sending.await,
                    None => std::future::pending().await,
                } } => {
                    sending = None;
                    send_at = clock.now() + self.sent(result, &mut attempts, &mut failed);
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
            while let Some(sending) = sending.take().or_else(|| self.sending()) {
                let result = sending.await;
                self.sent(result, &mut attempts, &mut failed);
            }
        };
        let _ = clock.timeout(FINISH_WITHIN, last).await;
        Ok(())
    }
}

impl AlertBook {
    /// Exposes its counts.
    pub fn observe(&self, metrics: &AlertMetrics) {
        metrics.observe(self.clone());
    }
}

#[cfg(test)]
mod tests;
