//! What a listener has heard and the monitor has not read yet. Pure but for its lock.

use std::{collections::BTreeSet, sync::Mutex};

use domain::campaigns::RunId;

use crate::env::lock::lock;

/// The most runs that are noted one by one; for more, all are read.
const MOST: usize = 1_000;

/// Runs that have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// These.
    pub(super) runs: BTreeSet<RunId>,
    /// Any: all are to be read.
    pub(super) is_all: bool,
}

/// The news since the monitor took some.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<News>);

impl Heard {
    pub(super) fn run(&self, run: RunId) {
        let mut news = lock(&self.0);
        if news.runs.len() >= MOST {
            news.is_all = true;
        }
        if !news.is_all {
            news.runs.insert(run);
        }
    }

    pub(super) fn all(&self) {
        lock(&self.0).is_all = true;
    }

    pub(super) fn take(&self) -> News {
        std::mem::take(&mut lock(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_are_all_runs_and_what_was_taken_is_gone() {
        let heard = Heard::default();
        for number in 0..=MOST {
            heard.run(format!("{number:032x}").parse().expect("an id"));
        }
        let news = heard.take();
        assert!(news.is_all && news.runs.len() == MOST);
        assert_eq!(heard.take(), News::default());
    }
}
