//! Figures beside their limits.

use std::time::Duration;

/// What was printed by now.
pub(crate) struct Figures {
    pub(crate) are_kept: bool,
}

impl Figures {
    /// Prints a figure beside its limit.
    pub(crate) fn figure(&mut self, what: &str, is_kept: bool) {
        println!("  {what}: {}", if is_kept { "kept" } else { "MISSED" });
        self.are_kept &= is_kept;
    }
}

/// How a number is spread; nothing of nothing.
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) largest: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let of = |share: usize| {
            values.get(values.len().saturating_sub(1) * share / 1_000).copied().unwrap_or(f64::NAN)
        };
        Self { p50: of(500), p99: of(990), largest: of(1_000) }
    }

    pub(crate) fn of_times(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1_000.0).collect())
    }
}
