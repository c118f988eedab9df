//! The history of a campaign's summaries: what its query asks for, and how a page of it is shown. Pure.

use std::time::Duration;

use domain::campaigns::{CampaignId, Timestamp};
use serde_json::{Value, json};
use store_campaigns::{HistoryPlace, SummaryPage};

/// The summaries of a page where the query names no number, and the most that it may name.
const USUAL: usize = 100;
const MOST: usize = 1_000;
/// How far back the history goes where the query does not say.
const SPAN_MS: i64 = 24 * 60 * 60 * 1_000;
/// The last moment that ISO 8601 writes with four digits of a year.
const LATEST_MS: i64 = 253_402_300_799_999;

/// What a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HistoryAsked {
    /// The first and the last moment, both included.
    pub(super) between: (Timestamp, Timestamp),
    /// The end of the page before.
    pub(super) after: Option<HistoryPlace>,
    /// The most summaries of the page.
    pub(super) limit: usize,
}

/// Why a query can't be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuery {
    #[error("{0} must be a time in UTC such as 2026-11-30T17:00:00Z, or Unix milliseconds")]
    Time(&'static str),
    #[error("from must not be after to")]
    Order,
    #[error("limit must be a number from 1 to {MOST}")]
    Limit,
    #[error("after must be the `next` of the page before")]
    Place,
}

/// What a query asks for: the last day until `now` where it does not say.
pub(super) fn read(query: &str, now: Duration) -> Result<HistoryAsked, BadQuery> {
    let now = i64::try_from(now.as_millis()).unwrap_or(LATEST_MS).min(LATEST_MS);
    let (mut from, mut to, mut after, mut limit) = (None, None, None, USUAL);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "from" => from = Some(time(&value).ok_or(BadQuery::Time("from"))?),
            "to" => to = Some(time(&value).ok_or(BadQuery::Time("to"))?),
            "after" => after = Some(place(&value).ok_or(BadQuery::Place)?),
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
                limit = number.ok_or(BadQuery::Limit)?;
            }
            _ => {}
        }
    }
    let to = to.unwrap_or(Timestamp(now));
    let from = from.unwrap_or(Timestamp((to.0 - SPAN_MS).max(0)));
    if from > to {
        return Err(BadQuery::Order);
    }
    Ok(HistoryAsked { between: (from, to), after, limit })
}

/// A time: digits are Unix milliseconds; a day alone is its begin.
fn time(text: &str) -> Option<Timestamp> {
    let moment = match text.parse::<i64>() {
        Ok(millis) => Timestamp(millis),
        Err(_) if text.len() == 10 => Timestamp::parse(&format!("{text}T00:00:00Z"))?,
        Err(_) => Timestamp::parse(text)?,
    };
    (0..=LATEST_MS).contains(&moment.0).then_some(moment)
}

/// A place as [`shown`] writes it.
fn place(text: &str) -> Option<HistoryPlace> {
    let mut parts = text.split('.');
    let at = parts.next()?.parse().ok().filter(|at| (0..=LATEST_MS).contains(at))?;
    let (run, version) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(HistoryPlace { at: Timestamp(at), run, version })
}

/// A page.
pub(super) fn shown(campaign: CampaignId, asked: &HistoryAsked, page: &SummaryPage) -> Value {
    let summaries = page.summaries.iter().filter_map(|kept| {
        // What is no object was written by another program.
        let summary = kept.summary.as_ref()?;
        Some(json!({
            "runId": kept.run,
            "at": kept.written_at,
            "final": summary.is_final,
            "metrics": summary.metrics,
        }))
    });
    let HistoryAsked { between: (from, to), .. } = asked;
    let next = page.next.map(|place| format!("{}.{}.{}", place.at.0, place.run, place.version));
    json!({
        "success": true,
        "campaignId": campaign,
        "from": from,
        "to": to,
        "history": summaries.collect::<Vec<Value>>(),
        "next": next,
    })
}

#[cfg(test)]
mod tests {
    use domain::campaigns::Summary;
    use store_campaigns::KeptSummary;

    use super::*;

    const NOW: Duration = Duration::from_millis(1_764_500_000_123);
    const RUN: &str = "9b2b54d2-50a0-4a6e-8f0e-7f8f6d6d0001";

    #[test]
    fn times_are_iso_or_milliseconds_and_the_last_day_where_none_are_given() {
        let between = |query: &str| read(query, NOW).map(|asked| (asked.between.0.0, asked.between.1.0));
        let now = 1_764_500_000_123;
        assert_eq!(between(""), Ok((now - 86_400_000, now)));
        assert_eq!(between("from=5&to=2025-11-30T17:00:00.250Z"), Ok((5, 1_764_522_000_250)));
        assert_eq!(
            between("from=2025-11-30&to=2025-11-30T01%3A00%3A00Z"),
            Ok((1_764_460_800_000, 1_764_464_400_000))
        );
        assert_eq!(between("to=1000"), Ok((0, 1000)), "nothing was before 1970");
        assert_eq!(between("from=7&to=7"), Ok((7, 7)));
        for bad in [
            "from=yesterday",
            "from=",
            "from=-1",
            "from=253402300800000",
            "from=1e3",
            "from=99999999999999999999",
        ] {
            assert_eq!(between(bad), Err(BadQuery::Time("from")), "{bad}");
        }
        assert_eq!(between("to=2025-13-01"), Err(BadQuery::Time("to")));
        assert_eq!(between("from=8&to=7"), Err(BadQuery::Order));
    }

    #[test]
    fn a_limit_is_within_its_bounds_and_a_page_begins_where_the_one_before_ended() {
        let limit = |query: &str| read(query, NOW).map(|asked| asked.limit);
        assert_eq!((limit(""), limit("limit=1"), limit("limit=1000")), (Ok(100), Ok(1), Ok(1000)));
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit="] {
            assert_eq!(limit(bad), Err(BadQuery::Limit), "{bad}");
        }
        let summary = Some(Summary::default());
        let run = RUN.parse().expect("an id");
        let kept = KeptSummary { run, version: 9, written_at: Timestamp(7), summary };
        let page = SummaryPage { next: Some(kept.place()), summaries: vec![kept.clone()] };
        let asked = read("", NOW).expect("a query");
        let shown = shown(RUN.parse().expect("an id"), &asked, &page);
        let next = format!("after={}", shown["next"].as_str().expect("a place"));
        assert_eq!(read(&next, NOW).expect("a query").after, Some(kept.place()));
        assert_eq!(shown["history"][0]["at"], "1970-01-01T00:00:00.007Z");
        for bad in
            ["after=", "after=7", &format!("after=7.{RUN}"), &format!("after=7.{RUN}.9.1"), "after=x.y.z"]
        {
            assert_eq!(read(bad, NOW), Err(BadQuery::Place), "{bad}");
        }
    }
}
