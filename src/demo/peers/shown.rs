//! The row of the peers on the screen. Pure.

use super::seen::Seen;

/// The row.
pub(in crate::demo) fn row(seen: Option<&Seen>) -> String {
    let Some(seen) = seen else { return "no answer".to_owned() };
    let measured = seen.miners.iter().filter_map(|miner| miner.measured_hashrate);
    // From 0, since the sum of nothing is -0.
    let measured = measured.fold(0.0, |sum, rate| sum + rate);
    let stale = if seen.stale.is_empty() { "none".to_owned() } else { seen.stale.join(" ") };
    format!(
        "{} miners, {} connections, measured {}, stale {stale}",
        seen.miners.len(),
        seen.connections.len(),
        rate(measured)
    )
}

/// A rate with its unit.
fn rate(hashes: f64) -> String {
    let units = [(1e18, "EH/s"), (1e15, "PH/s"), (1e12, "TH/s"), (1e9, "GH/s")];
    let unit = units.into_iter().find(|(size, _)| hashes >= *size).unwrap_or((1.0, "H/s"));
    format!("{:.2} {}", hashes / unit.0, unit.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::peers::seen::SeenMiner;

    #[test]
    fn the_row_tells_who_is_there_how_fast_and_who_is_silent() {
        let miner = SeenMiner {
            source: "a".to_owned(),
            id: 1,
            name: "rig".to_owned(),
            hashrate: 1e16,
            measured_hashrate: Some(7.5e14),
            shares_submitted: 1,
            connected_at: 1,
        };
        let unmeasured = SeenMiner { measured_hashrate: None, ..miner.clone() };
        let mut seen = Seen { miners: vec![miner.clone(), miner, unmeasured], ..Seen::default() };
        assert_eq!(row(Some(&seen)), "3 miners, 0 connections, measured 1.50 PH/s, stale none");
        seen.stale = vec!["a".to_owned(), "b".to_owned()];
        seen.miners.clear();
        assert_eq!(row(Some(&seen)), "0 miners, 0 connections, measured 0.00 H/s, stale a b");
        assert_eq!(row(None), "no answer");
    }
}
