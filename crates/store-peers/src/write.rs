//! Writing a batch: everything of one flush in one transaction.
//!
//! Samples go to the end of the tail ([`crate::tail`]) and to no level yet. A flush has one sample of each miner, so to add each to its
//! raw row, its minute and its hour would change three pages a sample: the bench `history` measures that alternative.
//! [`crate::compact`] adds what has gathered of a series at once. Readers add the tail to what they read, so nothing waits for the
//! compaction to be seen.

use rusqlite::params;

use crate::{
    error::HistoryError,
    history::History,
    operations::WRITE_HISTORY,
    points::Point,
    sample::{Balance, Quote, Refusal, Refused, Sample, check_amount, check_source, check_time},
    tail::{MOST_IN_RUN, MOST_RUNS, Parts, key, seal},
};

/// What is written together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// Samples of miners and of totals.
    pub samples: &'a [Sample],
    /// New quotes.
    pub quotes: &'a [Quote],
    /// New balances; an older one than the file has is passed over.
    pub balances: &'a [Balance],
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples written.
    pub samples: u64,
    /// Quotes written.
    pub quotes: u64,
    /// What was not written, by reason.
    pub refused: Refused,
}

impl History {
    /// Writes a batch: all of it or, on an error, nothing; only what exceeds the limit of a value is left out and counted.
    ///
    /// Where compaction has fallen behind, it first does that: so the tail never has more than twice its limit and a batch.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk is full or the file can't be written. Whether a batch was written is unknown only when
    /// the process dies within the commit.
    pub fn write(&mut self, batch: &Batch<'_>) -> Result<Written, HistoryError> {
        self.make_room()?;
        let points = [Point::BatchBeforeCommit, Point::BatchAfterCommit];
        self.transact(WRITE_HISTORY, points, |parts| write_batch(parts, batch))
    }

    /// Compacts where both tables of the tail are full.
    fn make_room(&mut self) -> Result<(), HistoryError> {
        while self.tail.sealed.is_some()
            && (self.tail.rows >= self.limits.tail_rows() || self.tail.runs >= MOST_RUNS)
        {
            self.compact_step()?;
        }
        Ok(())
    }
}

/// Writes a batch within a transaction.
pub(crate) fn write_batch(parts: &mut Parts<'_>, batch: &Batch<'_>) -> rusqlite::Result<Written> {
    let mut written = Written::default();
    write_samples(parts, batch.samples, &mut written)?;
    for quote in batch.quotes {
        match write_quote(parts, quote)? {
            Ok(()) => written.quotes += 1,
            Err(refusal) => *written.refused.entry(refusal).or_default() += 1,
        }
    }
    for balance in batch.balances {
        if let Err(refusal) = write_balance(parts, balance)? {
            *written.refused.entry(refusal).or_default() += 1;
        }
    }
    Ok(written)
}

fn write_samples(parts: &mut Parts<'_>, samples: &[Sample], written: &mut Written) -> rusqlite::Result<()> {
    if samples.is_empty() {
        return Ok(());
    }
    let mut accepted = Vec::with_capacity(samples.len());
    for sample in samples {
        let known = match sample.check() {
            Err(refusal) => Err(refusal),
            Ok(()) => {
                parts.dictionary.series(parts.connection, parts.limits, &sample.subject, sample.timestamp)?
            }
        };
        match known {
            Ok(series) => accepted.push((series, sample)),
            Err(refusal) => *written.refused.entry(refusal).or_default() += 1,
        }
    }
    // In the order of keys SQLite only appends.
    accepted.sort_by_key(|(series, _)| *series);
    append(parts, &accepted)?;
    written.samples = accepted.len() as u64;
    let is_full = parts.tail.rows >= parts.limits.tail_rows() || parts.tail.runs >= MOST_RUNS;
    if is_full && parts.tail.sealed.is_none() {
        seal(parts)?;
    }
    Ok(())
}

/// Appends samples as a run of the tail.
fn append(parts: &mut Parts<'_>, accepted: &[(i64, &Sample)]) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO tail_{} VALUES (?1, ?2, ?3, ?4, ?5)", parts.tail.active);
    let mut insert = parts.connection.prepare_cached(&sql)?;
    let (mut of, mut number) = (0, 0);
    for (series, sample) in accepted {
        number = if *series == of { number + 1 } else { 0 };
        of = *series;
        if number == MOST_IN_RUN {
            // The rest of the batch is a run of its own.
            (parts.tail.runs, number) = (parts.tail.runs + 1, 0);
        }
        let key = key(parts.tail.runs, of, number);
        insert.execute(params![key, sample.timestamp, sample.seconds, sample.work, sample.declared_hs])?;
    }
    if !accepted.is_empty() {
        parts.tail.runs += 1;
        parts.tail.rows += accepted.len();
    }
    Ok(())
}

fn write_quote(parts: &mut Parts<'_>, quote: &Quote) -> rusqlite::Result<Result<(), Refusal>> {
    let checked = check_time(quote.timestamp).and_then(|()| check_source(&quote.source));
    let amount = match checked.and_then(|()| check_amount(quote.amount)) {
        Ok(amount) => amount,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let source = match parts.dictionary.source(parts.connection, parts.limits, &quote.source)? {
        Ok(source) => source,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // Two equal quotes of one second are two quotes.
    let mut insert = parts.connection.prepare_cached(
        "INSERT INTO quotes SELECT ?1, ?2, ?3, ?4, coalesce(max(n) + 1, 0) FROM quotes \
         WHERE timestamp = ?1 AND source = ?2 AND downstream_id = ?3 AND amount = ?4",
    )?;
    insert.execute(params![quote.timestamp, source, quote.downstream_id, amount])?;
    Ok(Ok(()))
}

/// Keeps a balance, unless the file has a newer one.
pub(crate) fn write_balance(
    parts: &mut Parts<'_>,
    balance: &Balance,
) -> rusqlite::Result<Result<(), Refusal>> {
    let checked = check_time(balance.timestamp).and_then(|()| check_source(&balance.source));
    let amount = match checked.and_then(|()| check_amount(balance.balance)) {
        Ok(amount) => amount,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let source = match parts.dictionary.source(parts.connection, parts.limits, &balance.source)? {
        Ok(source) => source,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut insert = parts.connection.prepare_cached(
        "INSERT INTO balances(source, balance, timestamp) VALUES (?1, ?2, ?3) \
         ON CONFLICT(source) DO UPDATE SET balance = excluded.balance, timestamp = excluded.timestamp \
         WHERE excluded.timestamp >= timestamp",
    )?;
    insert.execute(params![source, amount, balance.timestamp])?;
    Ok(Ok(()))
}
