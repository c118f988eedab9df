//! What every actor works with: the way to Redis, the metrics, the status, and the log throttle.

use std::{error::Error, sync::Arc};

use errors::{Operation, sanitise};
use store_redis::{Fault, Store, StoreError};
use supervision::{Clock, Failure};

use super::report::{Advised, Place, Remedy, Report, line};
use crate::{
    env::{
        log_throttle::{LogThrottle, field},
        readiness::Readiness,
        telemetry::Telemetry,
    },
    operations::READ_INPUT,
};

/// The services that all actors of a tree share. A clone shares them.
#[derive(Clone)]
pub struct Services {
    /// The connection pool of Redis.
    pub store: Store,
    /// The metrics.
    pub telemetry: Telemetry,
    /// The readiness conditions.
    pub readiness: Arc<Readiness>,
    /// Of our own errors: their subjects are markets, servers and steps, which are few.
    log_throttle: Arc<LogThrottle>,
    /// Of what is wrong with keys and members. These are as many as producers like, and must not use up the room for our errors.
    input_throttle: Arc<LogThrottle>,
    remedy: Remedy,
}

impl Services {
    /// Creates the services of one tree, without remedies, and registers the metrics of the pool.
    #[must_use]
    pub fn new(store: Store, telemetry: Telemetry, clock: &Clock) -> Self {
        let readiness = Arc::new(Readiness::new(clock));
        let [log_throttle, input_throttle] = [LogThrottle::new(clock), LogThrottle::new(clock)].map(Arc::new);
        // Here, so that no tree can forget it: the pool's metrics exist from the first scrape.
        telemetry.observe_pool(store.clone());
        Self { store, telemetry, readiness, log_throttle, input_throttle, remedy: |_| None }
    }

    /// Adds the function that finds remedies.
    #[must_use]
    pub fn with_remedy(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }

    /// The log line of an error: operation, object, kind, cause, remedy.
    pub(crate) fn line(&self, error: &(dyn Error + 'static)) -> String {
        line(error, self.remedy)
    }

    /// The failure with which an actor ends; its text includes the remedy.
    pub(crate) fn fatal(&self, error: impl Error + Send + Sync + 'static) -> Failure {
        Advised::new(error, self.remedy).into()
    }

    /// Counts an error, and logs it at most once a minute for each subject: at ERROR when an operator has to act, else at WARN.
    pub(crate) fn report(&self, error: &impl Report) {
        let (operation, kind) = (error.operation(), error.kind());
        // Counted before the throttle: the metric must not depend on the log.
        self.telemetry.error(operation, kind);
        let subject = format!("{} {} {}", operation.label, kind.label, error.subject());
        let Some(suppressed) = self.log_throttle.admit(&subject) else { return };
        let (operation, kind, suppressed) = (operation.label, kind.label, field(suppressed));
        let Place { market, epoch, block } = error.place();
        let market = market.map(|market| market.to_string());
        if error.needs_operator() {
            tracing::error!(operation, kind, market, epoch, block, suppressed, "{}", self.line(error));
        } else {
            tracing::warn!(operation, kind, market, epoch, block, suppressed, "{}", self.line(error));
        }
    }

    /// Counts an error of Redis that a client of the program has met, and logs it at most once a minute. The clients choose the keys, so
    /// these lines have the room of inputs.
    pub fn note_client_error(&self, error: &StoreError) {
        let key = if error.kind.is_outage() { "Redis" } else { &error.object };
        self.note_unwritten(error.operation, &[Fault::new(key, error.kind, error.detail())]);
    }

    /// Counts inputs that could not be read and were skipped, and logs each at most once a minute.
    pub fn note_faults(&self, faults: &[Fault]) {
        self.note_unwritten(READ_INPUT, faults);
    }

    /// Logs a condition of an object that is no error, at most once a minute.
    pub(crate) fn warn(&self, operation: Operation, object: &str, condition: &str) {
        let Some(suppressed) = self.log_throttle.admit(&format!("{} {object}", operation.label)) else {
            return;
        };
        let (label, object, suppressed) = (operation.label, sanitise(object), field(suppressed));
        tracing::warn!(operation = label, suppressed, "{operation}: {object}: {condition}");
    }

    /// Counts keys that an operation could not read or write and therefore skipped, and logs each at most once a minute.
    pub(crate) fn note_unwritten(&self, operation: Operation, faults: &[Fault]) {
        for fault in faults {
            let kind = fault.kind.row();
            self.telemetry.error(operation, kind);
            // By key: one broken key must not hide another.
            let Some(suppressed) = self.input_throttle.admit(&format!("{} {kind}", fault.key)) else {
                continue;
            };
            let (label, kind, suppressed) = (operation.label, kind.label, field(suppressed));
            tracing::warn!(operation = label, kind, suppressed, "{operation}: {}", self.line(fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use redis::IntoConnectionInfo;
    use store_redis::{ErrorKind, RedisSettings, StoreError};
    use store_tracker::operations::{PRUNE_INDEX, READ_LEDGER};

    use super::*;

    /// The log of a test, one JSON object a line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn of(work: impl FnOnce()) -> Vec<serde_json::Value> {
            let lines = Self::default();
            let writer = lines.clone();
            let log =
                tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
            tracing::subscriber::with_default(log.finish(), work);
            let text = String::from_utf8(std::mem::take(&mut *lines.bytes())).expect("text");
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        }

        fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn services(clock: &Clock) -> Services {
        let second = Duration::from_secs(1);
        let server = "redis://127.0.0.1:1".into_connection_info().expect("an address");
        let store = Store::new(RedisSettings {
            servers: server.into(),
            certificates: None,
            address: "redis".to_owned(),
            pool_size: 1,
            connect_timeout: second,
            command_timeout: second,
            check_after: Duration::ZERO,
        });
        let telemetry = Telemetry::new().expect("metrics");
        let services = Services::new(store.expect("a pool"), telemetry, clock);
        services.with_remedy(|error| Some(format!("mend {}", error.downcast_ref::<StoreError>()?.object)))
    }

    fn error(kind: ErrorKind) -> StoreError {
        StoreError::new(READ_LEDGER, "the ledger", kind, "why")
    }

    #[test]
    fn an_outage_is_a_warning_and_any_other_error_is_an_error() {
        for &kind in ErrorKind::ALL {
            use ErrorKind::{Loading, PoolExhausted, ReadOnly, Timeout, Unavailable};
            let is_outage = matches!(kind, Unavailable | Timeout | PoolExhausted | Loading | ReadOnly);
            let level = if is_outage { "WARN" } else { "ERROR" };
            let lines = Lines::of(|| services(&Clock::system()).report(&error(kind)));
            assert_eq!(lines.len(), 1);
            assert_eq!((&lines[0]["level"], &lines[0]["kind"]), (&level.into(), &kind.as_str().into()));
        }
    }

    #[test]
    fn an_operator_reads_operation_object_cause_and_remedy_in_one_line() {
        let lines = Lines::of(|| services(&Clock::system()).report(&error(ErrorKind::Torn)));
        assert_eq!(lines[0]["message"], "read the ledger: the ledger: torn: why; mend the ledger");
        assert_eq!((&lines[0]["operation"], &lines[0]["kind"]), (&"read_ledger".into(), &"torn".into()));
        assert!(lines[0].get("suppressed").is_none(), "{}", lines[0]);
    }

    #[test]
    fn a_skipped_key_is_a_warning_that_names_the_operation_and_the_key() {
        let fault = Fault::new("key", ErrorKind::WrongType, "it is a list");
        let lines = Lines::of(|| services(&Clock::system()).note_unwritten(PRUNE_INDEX, &[fault]));
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["message"], "prune the state index: key: wrong_type: it is a list");
    }

    #[test]
    fn a_line_counts_the_lines_of_its_subject_that_were_suppressed_before() {
        let clock = Clock::manual(Duration::ZERO);
        let services = services(&clock);
        let lines = Lines::of(|| {
            (0..5).for_each(|_| services.report(&error(ErrorKind::Timeout)));
            clock.advance(Duration::from_secs(60));
            services.report(&error(ErrorKind::Timeout));
        });
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["suppressed"], 4);
    }

    #[test]
    fn any_number_of_spoilt_keys_hides_no_error_of_our_own_and_what_is_left_out_is_told() {
        let services = services(&Clock::manual(Duration::ZERO));
        let fault = |key| Fault::new(format!("key {key}"), ErrorKind::WrongType, "it is a list");
        let spoilt: Vec<Fault> = (0..1_100).map(fault).collect();
        let lines = Lines::of(|| {
            services.note_faults(&spoilt);
            services.report(&error(ErrorKind::Torn));
        });
        assert_eq!(lines.last().map(|line| &line["kind"]), Some(&"torn".into()));
        let told: Vec<_> = lines.iter().filter_map(|line| line["left_out"].as_u64()).collect();
        assert_eq!(told, [1], "the rest within the next minute");
    }

    #[test]
    fn an_error_that_ends_an_actor_keeps_its_cause_and_shows_the_remedy() {
        let failure = services(&Clock::system()).fatal(error(ErrorKind::Torn));
        assert_eq!(failure.to_string(), "read the ledger: the ledger: torn: why; mend the ledger");
        assert!(failure.source().is_some_and(|cause| cause.is::<StoreError>()));
    }
}
