//! The errors that the tracker's actors report in addition to those of the stores.

use domain::tracker::Sums;
use errors::{Kind, Operation};

use crate::{
    env::report::Report,
    operations::{KEEP_LEDGER, LOST},
};

/// Redis was emptied or restored from an older state: the ledger of a market is younger, or counts less, than it did when
/// this process last read it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: market {market}: {what}; totals count what is left", step = KEEP_LEDGER)]
pub struct LedgerLost {
    /// The market.
    pub market: String,
    /// What was lost.
    what: String,
}

impl LedgerLost {
    /// Compares a ledger with an earlier reading: `before` is its time of creation (Unix seconds) and its sums, `born` and `sums`
    /// are those of now. A ledger that had counted nothing can't lose anything.
    pub(super) fn between(
        market: &str,
        before: &(f64, Sums),
        born: Option<f64>,
        sums: &Sums,
    ) -> Option<Self> {
        let (known, before) = before;
        // A report would send the operator to search for a loss that does not exist.
        if before.fields().iter().all(|(_, count)| *count == 0) {
            return None;
        }
        let fields = before.fields().into_iter().zip(sums.fields());
        let fell: Vec<String> = fields
            .filter(|((_, before), (_, now))| now < before)
            .map(|((name, before), (_, now))| format!("{name} fell from {before} to {now}"))
            .collect();
        // A new ledger may have counted up to the old sums again, so equal sums prove nothing.
        let is_younger = born.is_none_or(|born| born > *known);
        let what = match (fell.is_empty(), is_younger) {
            (true, false) => return None,
            (true, true) => "the ledger is gone".to_owned(),
            (false, _) => fell.join(", "),
        };
        Some(Self { market: market.to_owned(), what })
    }
}

impl Report for LedgerLost {
    fn operation(&self) -> Operation {
        KEEP_LEDGER
    }

    fn kind(&self) -> Kind {
        LOST
    }

    fn subject(&self) -> String {
        self.market.clone()
    }

    fn needs_operator(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(epochs: u64, submissions: u64) -> Sums {
        Sums { epochs, submissions, ..Sums::default() }
    }

    #[test]
    fn a_loss_names_the_market_and_what_fell() {
        let lost = LedgerLost::between("0xM", &(10.0, sums(5, 12)), Some(20.0), &sums(2, 12)).expect("lost");
        assert_eq!(
            lost.to_string(),
            "keep the ledger: market 0xM: epochs fell from 5 to 2; totals count what is left"
        );
        assert!(lost.needs_operator());
        let gone = LedgerLost::between("0xM", &(10.0, sums(5, 12)), None, &sums(5, 12)).expect("gone");
        assert!(gone.to_string().contains("the ledger is gone"), "{gone}");
    }

    #[test]
    fn an_empty_ledger_and_an_unchanged_one_have_lost_nothing() {
        let empty = (10.0, sums(0, 0));
        assert_eq!(LedgerLost::between("0xM", &empty, None, &sums(0, 0)), None);
        assert_eq!(LedgerLost::between("0xM", &empty, Some(20.0), &sums(0, 0)), None);
        assert_eq!(LedgerLost::between("0xM", &(10.0, sums(5, 12)), Some(10.0), &sums(6, 12)), None);
    }
}
