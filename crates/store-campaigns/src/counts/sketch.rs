//! The sketch of latencies (DDSketch): each bin covers one per cent, so a percentile is known within half of it. No I/O.
//!
//! The bins are rows of the database, made and added there by one expression: no latency travels to us, sketches of two parts are
//! added like counts, and a change is one small row. A crate for sketches would need each value here.

/// How far a value may be from the middle of its bin, relative to it. Rounding to milliseconds adds up to half of one: both
/// together stay within one per cent, since below 100 ms a bin has one value, which its rounded middle is.
const ACCURACY: f64 = 0.005;
/// The bin of zero.
const ZERO: i32 = -1;

/// The ratio of a bin's bounds.
const GAMMA: f64 = (1.0 + ACCURACY) / (1.0 - ACCURACY);

/// The bin of a readable latency, as SQL.
pub(super) fn bin_of(latency: &str) -> String {
    format!(
        "CASE WHEN {latency} = 0 THEN {ZERO} ELSE ceil(ln({latency}::float8) / {})::integer END",
        GAMMA.ln()
    )
}

/// The value that stands for a bin.
fn value_of(bin: i32) -> u64 {
    if bin <= ZERO { 0 } else { (2.0 * GAMMA.powi(bin) / (GAMMA + 1.0)).round() as u64 }
}

/// The value that this many per cent do not exceed, by the nearest rank. The bins are sorted.
pub(super) fn percentile(bins: &[(i32, u64)], per_cent: u64, min: u64, max: u64) -> u64 {
    let total: u64 = bins.iter().map(|(_, count)| count).sum();
    let rank = (total.saturating_mul(per_cent)).div_ceil(100).max(1);
    let mut place = 0;
    for (bin, count) in bins {
        place += count;
        if place >= rank {
            return value_of(*bin).clamp(min, max.max(min));
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the SQL computes it.
    fn bin(latency: u64) -> i32 {
        if latency == 0 { ZERO } else { ((latency as f64).ln() / GAMMA.ln()).ceil() as i32 }
    }

    #[test]
    fn every_latency_of_a_day_is_known_within_one_per_cent() {
        let mut latency = 0;
        while latency <= 86_400_000 {
            let value = value_of(bin(latency));
            assert!(value.abs_diff(latency) * 100 <= latency, "{latency}: {value}");
            latency += 1 + latency / 5_000;
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let bins: Vec<(i32, u64)> = (1..=100).map(|latency| (bin(latency), 1)).collect();
        assert_eq!(percentile(&bins, 95, 1, 100), 95);
        assert_eq!(percentile(&bins, 99, 1, 100), 99);
        assert_eq!(percentile(&bins[..1], 99, 1, 1), 1);
        assert_eq!(percentile(&[], 95, 0, 0), 0);
    }
}
