//! The dataset `dashboard:summary`, whose fields are also those of `stats:current`.

use serde_json::{Map, Value};

use super::fields::{Field, field, whole_second};
use crate::{
    Number,
    tracker::{MeasurementWindow, Observation, Priorities, Reading, Recent, Totals},
};

/// The smallest divisor of a rate, in seconds.
const LEAST_DIVISOR: f64 = 1.0;

/// The inputs of a summary.
#[derive(Clone, Copy, Debug)]
pub struct SummaryInput<'a> {
    /// The totals of the ledger.
    pub totals: &'a Totals,
    /// The measurement window.
    pub window: MeasurementWindow,
    /// Counts of the last minutes.
    pub recent: Recent,
    /// Submissions waiting.
    pub queue: Option<u64>,
    /// Distinct active validators.
    pub active_validators: Option<u64>,
    /// How many epochs have a gap.
    pub gaps: Option<u64>,
    /// The counts of the keys `vpa:*`.
    pub priorities: Priorities,
    /// When the pass began, in Unix seconds.
    pub now: f64,
}

impl<'a> SummaryInput<'a> {
    /// Everything that one pass saw, with the ledger and the window that follow from it.
    #[must_use]
    pub fn of(seen: &Observation, totals: &'a Totals, window: MeasurementWindow, gaps: u64) -> Self {
        Self {
            totals,
            window,
            recent: seen.recent(),
            queue: seen.queue,
            active_validators: seen.active_validators(),
            gaps: seen.has_all_states().then_some(gaps),
            priorities: seen.priorities,
            now: seen.now,
        }
    }
}

impl SummaryInput<'_> {
    fn batches(&self) -> u64 {
        self.totals.all.local + self.totals.all.aggregated
    }

    /// How long the measurement window has lasted, in seconds.
    fn elapsed(&self) -> f64 {
        (self.now - self.window.began).max(0.0)
    }

    /// Per second of the measurement window.
    fn rate(&self, total: u64, at_start: u64) -> Option<Number> {
        Some(Number::Real(total.saturating_sub(at_start) as f64 / self.elapsed().max(LEAST_DIVISOR)))
    }

    /// A total of submissions; unknown if some are, since a total without them would look like a drop.
    fn whole(&self, number: Option<Number>) -> Option<Number> {
        number.filter(|_| !self.totals.lack_submissions())
    }

    fn gap_rate(&self) -> Option<Number> {
        let (gaps, epochs) = self.gaps.zip(self.recent.epochs_5m)?;
        Some(Number::Real(gaps as f64 / (epochs as f64 + 1.0)))
    }

    /// No rate without submissions; an unknown rate when a count can't be read.
    fn success_rate(&self) -> Option<Option<Number>> {
        let (succeeded, failed) = match (self.priorities.succeeded, self.priorities.failed) {
            (Reading::Absent, _) | (_, Reading::Absent) => return None,
            (Reading::Value(succeeded), Reading::Value(failed)) => (succeeded, failed),
            _ => return Some(None),
        };
        // As floats: the sum of two large counts would overflow.
        let (succeeded, failed) = (succeeded as f64, failed as f64);
        let rate = 100.0 * succeeded / (succeeded + failed);
        (succeeded + failed > 0.0).then_some(Some(Number::Real(rate)))
    }
}

/// The value of a field: `None` where there is no source of it, so that the field is left out, `Some(None)` where its source
/// could not be read.
type SummaryValue = fn(&SummaryInput<'_>) -> Option<Option<Number>>;

fn count(count: u64) -> Option<Number> {
    Some(Number::Count(count))
}

fn read(count: Option<u64>) -> Option<Option<Number>> {
    Some(count.map(Number::Count))
}

/// A count that some producers write.
fn written(count: Reading<u64>) -> Option<Option<Number>> {
    match count {
        Reading::Absent => None,
        Reading::Unreadable => Some(None),
        Reading::Value(count) => Some(Some(Number::Count(count))),
    }
}

/// The fields of the summary, in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary(Vec<(&'static str, Option<Number>)>);

impl Summary {
    /// The fields of the dataset.
    pub const FIELDS: &'static [Field<SummaryValue>] = &[
        field(
            "active_validators",
            |input| read(input.active_validators),
            "The distinct validators of the unfinished epochs, and of the aggregated batches of the last 5 minutes.",
        ),
        field(
            "batch_rate",
            |input| Some(input.rate(input.batches(), input.window.batches)),
            "Batches per second of the measurement window.",
        ),
        field(
            "batches_1m",
            |input| read(input.recent.batches_1m),
            "Local and aggregated batches of the last minute.",
        ),
        field(
            "batches_5m",
            |input| read(input.recent.batches_5m),
            "Local and aggregated batches of the last 5 minutes.",
        ),
        field("batches_total", |input| Some(count(input.batches())), "All local and aggregated batches."),
        field(
            "epoch_gaps_count",
            |input| read(input.gaps),
            "The number of gaps, at most one an epoch, of epochs whose window closed in the last hour.",
        ),
        field(
            "epoch_gaps_rate",
            |input| Some(input.gap_rate()),
            "`epoch_gaps_count` divided by `epochs_5m` + 1.",
        ),
        field(
            "epoch_rate",
            |input| Some(input.rate(input.totals.all.epochs, input.window.epochs)),
            "Opened epochs per second of the measurement window.",
        ),
        field("epochs_1m", |input| read(input.recent.epochs_1m), "Epochs opened in the last minute."),
        field("epochs_5m", |input| read(input.recent.epochs_5m), "Epochs opened in the last 5 minutes."),
        field("epochs_total", |input| Some(count(input.totals.all.epochs)), "All epochs that were opened."),
        field(
            "measurement_duration",
            |input| Some(Some(Number::Real(input.elapsed()))),
            "The age of the measurement window in seconds; a new window starts when it is over.",
        ),
        field(
            "processed_submissions",
            |input| Some(input.whole(count(input.totals.unfinished_submissions))),
            "The processed submissions of the unfinished epochs.",
        ),
        field(
            "submission_rate",
            |input| Some(input.whole(input.rate(input.totals.all.submissions, input.window.submissions))),
            "Processed submissions per second of the measurement window.",
        ),
        field(
            "submissions_1m",
            |input| read(input.recent.submissions_1m),
            "Submissions processed in the last minute.",
        ),
        field(
            "submissions_5m",
            |input| read(input.recent.submissions_5m),
            "Submissions processed in the last 5 minutes.",
        ),
        field(
            "submissions_queue",
            |input| read(input.queue),
            "The number of submissions that wait for the dequeuer.",
        ),
        field(
            "submissions_total",
            |input| Some(input.whole(count(input.totals.all.submissions))),
            "All processed submissions.",
        ),
        field(
            "unaccounted_epochs",
            |input| Some(count(input.totals.all.unaccounted)),
            "Epochs that were sealed without their submissions being known; `epochs_total` includes them.",
        ),
        field(
            "updated_at",
            |input| Some(count(whole_second(input.now))),
            "When the tracker wrote it, in Unix seconds.",
        ),
        field(
            "vpa_no_priority_count",
            |input| written(input.priorities.none),
            "The producers' count of epochs without a priority; absent where they have none.",
        ),
        field(
            "vpa_priority_assignments_24h",
            |input| read(input.priorities.assignments_24h),
            "Priorities assigned in the last 24 hours.",
        ),
        field(
            "vpa_priority_assignments_total",
            |input| written(input.priorities.assignments),
            "The producers' count of assigned priorities; absent where they have none.",
        ),
        field(
            "vpa_submission_success_rate",
            |input| input.success_rate(),
            "The share of successful submissions with a priority, in percent; absent where there are none.",
        ),
        field(
            "vpa_submissions_24h",
            |input| read(input.priorities.submissions_24h),
            "Submissions made with a priority in the last 24 hours.",
        ),
        field(
            "vpa_submissions_failed",
            |input| written(input.priorities.failed),
            "The producers' count of failed submissions with a priority; absent where they have none.",
        ),
        field(
            "vpa_submissions_success",
            |input| written(input.priorities.succeeded),
            "The producers' count of successful submissions with a priority; absent where they have none.",
        ),
    ];

    /// Computes all fields.
    #[must_use]
    pub fn of(input: &SummaryInput<'_>) -> Self {
        Self(Self::FIELDS.iter().filter_map(|field| Some((field.name, (field.value)(input)?))).collect())
    }

    /// The fields with their values; `None` where a value could not be computed.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Option<Number>)> + '_ {
        self.0.iter().copied()
    }

    /// Fills each missing field from `last`, which gives the last good value while it may still be used.
    pub fn fill_from(&mut self, last: impl Fn(&str) -> Option<Number>) {
        for (name, value) in &mut self.0 {
            if value.is_none() {
                *value = last(name);
            }
        }
    }

    /// As the JSON object of `dashboard:summary`; what is not known is null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let json = |value: Option<Number>| value.map_or(Value::Null, Number::to_json);
        Value::Object(
            self.fields().map(|(name, value)| (name.to_owned(), json(value))).collect::<Map<_, _>>(),
        )
    }

    /// As the fields of the hash `stats:current`; what is not known is absent.
    #[must_use]
    pub fn to_hash(&self) -> Vec<(&'static str, String)> {
        self.fields().filter_map(|(name, value)| Some((name, value?.to_text()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Sums;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_measurement_window_holds_the_present_and_never_counts_more_than_there_is(
            present in proptest::option::of((0_f64..2e9, 0_u64..100, 0_u64..100, 0_u64..100)),
            sums in (0_u64..100, 0_u64..100, 0_u64..50, 0_u64..50), now in 0_f64..2e9, length in 1_f64..1e6,
        ) {
            let totals = totals(sums.0, sums.1, sums.2, sums.3);
            let present = present.map(|(began, submissions, epochs, batches)| {
                MeasurementWindow { began, submissions, epochs, batches }
            });
            let window = MeasurementWindow::at(present, &totals.all, now, length);
            prop_assert!(window.began <= now && now < window.began + length);
            prop_assert!(window.epochs <= sums.0 && window.submissions <= sums.1);
            prop_assert!(window.batches <= sums.2 + sums.3);
            prop_assert!(Some(window) == present || window.began == now, "it is the old one, or begins now");
            prop_assert_eq!(MeasurementWindow::at(Some(window), &totals.all, now, length), window);
        }
    }

    fn totals(epochs: u64, submissions: u64, local: u64, aggregated: u64) -> Totals {
        Totals {
            all: Sums { epochs, submissions, local, aggregated, ..Sums::default() },
            ..Totals::default()
        }
    }

    fn summary(totals: &Totals, window: MeasurementWindow, now: f64) -> Value {
        let recent = Recent { epochs_5m: Some(3), ..Recent::default() };
        let priorities =
            Priorities { succeeded: Reading::Value(3), failed: Reading::Value(1), ..Priorities::default() };
        let (queue, active_validators, gaps) = (None, Some(2), Some(2));
        let input = SummaryInput { totals, window, recent, queue, active_validators, gaps, priorities, now };
        Summary::of(&input).to_json()
    }

    #[test]
    fn rates_are_per_second_of_the_window_and_never_divide_by_less_than_one() {
        let totals = totals(10, 50, 3, 4);
        let window = MeasurementWindow { began: 1000.0, submissions: 20, epochs: 5, batches: 1 };
        let json = summary(&totals, window, 1010.0);
        assert_eq!((&json["submission_rate"], &json["epoch_rate"]), (&3.into(), &0.5.into()));
        assert_eq!((&json["batch_rate"], &json["batches_total"]), (&0.6.into(), &7.into()));
        assert_eq!(json["measurement_duration"], 10);
        assert_eq!(summary(&totals, window, 1000.5)["submission_rate"], 30);
    }

    #[test]
    fn priorities_and_gaps_have_their_fields_where_they_have_a_source() {
        let json = summary(
            &totals(1, 1, 1, 1),
            MeasurementWindow::at(None, &totals(1, 1, 1, 1).all, 5.0, 60.0),
            5.0,
        );
        assert_eq!(
            (&json["vpa_submission_success_rate"], &json["vpa_submissions_success"]),
            (&75.into(), &3.into())
        );
        assert!(json.get("vpa_no_priority_count").is_none() && json["vpa_submissions_24h"].is_null());
        assert_eq!((&json["epoch_gaps_count"], &json["epoch_gaps_rate"]), (&2.into(), &0.5.into()));
    }

    #[test]
    fn a_success_rate_needs_both_counts_and_is_unknown_when_one_can_not_be_read() {
        let totals = totals(1, 1, 1, 1);
        let rate = |succeeded, failed| {
            let input = SummaryInput {
                totals: &totals,
                window: MeasurementWindow::at(None, &totals.all, 5.0, 60.0),
                recent: Recent::default(),
                queue: None,
                active_validators: None,
                gaps: None,
                priorities: Priorities { succeeded, failed, ..Priorities::default() },
                now: 5.0,
            };
            Summary::of(&input).to_json().get("vpa_submission_success_rate").cloned()
        };
        use Reading::{Absent, Unreadable, Value as Is};
        assert_eq!(rate(Is(1), Is(3)), Some(25.into()));
        assert_eq!(rate(Is(u64::MAX), Is(u64::MAX)), Some(50.into()));
        assert_eq!(rate(Is(0), Is(0)), None);
        assert_eq!((rate(Absent, Is(3)), rate(Is(3), Absent)), (None, None));
        assert_eq!(rate(Unreadable, Is(3)), Some(Value::Null));
    }

    #[test]
    fn fields_are_in_the_order_of_their_names() {
        assert!(Summary::FIELDS.is_sorted_by_key(|field| field.name));
    }

    #[test]
    fn an_error_is_null_and_never_zero() {
        let json = summary(
            &totals(1, 1, 1, 1),
            MeasurementWindow::at(None, &totals(1, 1, 1, 1).all, 5.0, 60.0),
            5.0,
        );
        assert!(json["submissions_queue"].is_null() && json["epochs_1m"].is_null());
        assert_eq!(json["epochs_5m"], 3);
    }

    #[test]
    fn a_window_lasts_its_length_and_begins_with_the_totals_of_that_moment() {
        let (few, many) = (totals(1, 10, 0, 0), totals(2, 30, 1, 0));
        let first = MeasurementWindow::at(None, &few.all, 100.0, 60.0);
        assert_eq!(first, MeasurementWindow { began: 100.0, submissions: 10, epochs: 1, batches: 0 });
        assert_eq!(MeasurementWindow::at(Some(first), &many.all, 159.9, 60.0), first);
        assert_eq!(MeasurementWindow::at(Some(first), &many.all, 160.0, 60.0).submissions, 30);
        // A clock set back, or a ledger that was lost, makes the old window useless.
        assert_eq!(MeasurementWindow::at(Some(first), &many.all, 99.0, 60.0).began, 99.0);
        assert_eq!(MeasurementWindow::at(Some(first), &totals(0, 0, 0, 0).all, 130.0, 60.0).began, 130.0);
    }

    #[test]
    fn every_field_shows_its_own_input() {
        let all =
            Sums { epochs: 30, submissions: 50, local: 3, aggregated: 4, unaccounted: 9, ..Sums::default() };
        let totals = Totals { all, unfinished_submissions: 8, ..Totals::default() };
        let input = SummaryInput {
            totals: &totals,
            window: MeasurementWindow { began: 1_000.0, submissions: 20, epochs: 5, batches: 1 },
            recent: Recent {
                epochs_1m: Some(11),
                epochs_5m: Some(12),
                batches_1m: Some(13),
                batches_5m: Some(14),
                submissions_1m: Some(15),
                submissions_5m: Some(16),
            },
            queue: Some(17),
            active_validators: Some(18),
            gaps: Some(26),
            priorities: Priorities {
                assignments: Reading::Value(19),
                none: Reading::Value(21),
                succeeded: Reading::Value(3),
                failed: Reading::Value(1),
                assignments_24h: Some(22),
                submissions_24h: Some(23),
            },
            now: 1_010.9,
        };
        let expected = serde_json::json!({
            "active_validators": 18, "batches_1m": 13, "batches_5m": 14, "batches_total": 7, "epoch_gaps_count": 26,
            "epoch_gaps_rate": 2, "epochs_1m": 11, "epochs_5m": 12, "epochs_total": 30, "processed_submissions": 8,
            "submissions_1m": 15, "submissions_5m": 16, "submissions_queue": 17, "submissions_total": 50,
            "unaccounted_epochs": 9, "updated_at": 1_010, "vpa_no_priority_count": 21,
            "vpa_priority_assignments_24h": 22, "vpa_priority_assignments_total": 19,
            "vpa_submission_success_rate": 75, "vpa_submissions_24h": 23, "vpa_submissions_failed": 1,
            "vpa_submissions_success": 3,
        });
        let mut shown = Summary::of(&input).to_json();
        let rates = ["batch_rate", "epoch_rate", "submission_rate", "measurement_duration"];
        let rates = rates.map(|name| shown.as_object_mut().and_then(|fields| fields.remove(name)));
        assert!(rates.iter().all(Option::is_some), "{rates:?}");
        assert_eq!(shown, expected);
        // A total without the submissions that are unknown would look like a drop.
        let lacking = Totals { unknown_submissions: 1, ..totals.clone() };
        let shown = Summary::of(&SummaryInput { totals: &lacking, ..input }).to_json();
        for name in ["submissions_total", "submission_rate", "processed_submissions"] {
            assert!(shown[name].is_null(), "{name}");
        }
    }

    #[test]
    fn a_field_without_a_value_is_filled_and_one_with_a_value_is_not() {
        let mut summary = Summary(vec![("a", None), ("b", count(1)), ("c", None)]);
        summary.fill_from(|name| (name != "c").then_some(Number::Count(7)));
        let fields: Vec<_> = summary.fields().collect();
        assert_eq!(fields, [("a", count(7)), ("b", count(1)), ("c", None)]);
        assert_eq!(summary.to_hash(), [("a", "7".to_owned()), ("b", "1".to_owned())]);
    }

    #[test]
    fn the_number_of_gaps_is_unknown_where_a_state_could_not_be_read() {
        use crate::{EpochId, tracker::EpochFacts};
        let totals = totals(1, 1, 1, 1);
        let window = MeasurementWindow::at(None, &totals.all, 5.0, 60.0);
        let gaps = |state| {
            let epoch = EpochId::parse("7").expect("an id");
            let facts = [(epoch, EpochFacts { state, ..EpochFacts::default() })].into();
            let seen = Observation { now: 5.0, queue: Some(4), facts, ..Observation::default() };
            let input = SummaryInput::of(&seen, &totals, window, 3);
            assert_eq!((input.queue, input.now), (Some(4), 5.0));
            input.gaps
        };
        assert_eq!((gaps(Reading::Absent), gaps(Reading::Unreadable)), (Some(3), None));
    }
}
