//! Parts of statements that several of them share.

/// The clock of the database in Unix milliseconds, the same for all replicas.
pub(crate) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The moment at which a statement came, by the clock of the database in Unix microseconds: what it reads is as old as that or newer.
pub(crate) const READ_US: &str = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint";

/// Which rows of `jobs` are ours.
pub(crate) const IS_OURS: &str = "queue = 'status' AND type = 'aggregate-status'";

/// The Unix milliseconds of a column of times; NULL for one that is infinite.
pub(crate) fn millis(column: &str) -> String {
    format!("(CASE WHEN isfinite({column}) THEN (extract(epoch FROM {column}) * 1000)::bigint END)")
}

/// A number of our bookkeeping within a JSON object; NULL where it is none. Other programs may have written it.
pub(crate) fn number(json: &str, field: &str) -> String {
    // Two CASEs: only they promise that the type is looked at before the cast.
    format!(
        "(CASE WHEN jsonb_typeof({json} -> '{field}') = 'number' \
          THEN CASE WHEN ({json} ->> '{field}')::numeric BETWEEN 0 AND 9007199254740991 \
          THEN trunc(({json} ->> '{field}')::numeric)::bigint END END)"
    )
}

/// A JSON object, also where the column has something else.
pub(crate) fn object(json: &str) -> String {
    format!("(CASE WHEN jsonb_typeof({json}) = 'object' THEN {json} ELSE '{{}}'::jsonb END)")
}

/// A moment as clients read it.
pub(crate) fn iso(moment: &str) -> String {
    format!("to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
}

/// A text in a form that PostgreSQL takes, and not longer than this.
pub(crate) fn storable(text: &str, longest: usize) -> String {
    text.chars().filter(|letter| *letter != '\0').take(longest).collect()
}
