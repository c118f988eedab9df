//! What a correct tracker knows of one epoch, by the passes that it has made: certainly and possibly.
//!
//! The contract leaves open: at which pass after its end an epoch is sealed ("when it is finished it is sealed"), so whatever
//! comes between the end and [`GRACE`] may count or be late; whether a broken pass had an effect; what a timeless id counts for.

use std::collections::BTreeSet;

use crate::{
    keys::{DAY, HOUR, OWN},
    range::{Maybe, Range},
    view::Seen,
};

/// How long after its end an epoch is certainly sealed, in seconds. The tracker may wait for a list of validators, and looks for
/// keys under other spellings every minute.
pub const GRACE: i64 = 180;
/// "60 when unknown"
pub(crate) const USUAL_WINDOW: i64 = 60;
/// "60 minutes after its window closed"
pub(crate) const SEALED_AFTER: i64 = HOUR;

/// Whether a pass has taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Effect {
    /// No pass was made.
    None,
    /// It broke off, before or after it took effect.
    Perhaps,
    /// It ended well.
    Whole,
}

/// What the keys prove of one epoch at one moment: as much as must count.
#[derive(Clone, Debug, Default)]
struct Proof {
    opened: bool,
    submissions: u64,
    local: bool,
    aggregated: bool,
    included: bool,
    listed: bool,
    opened_at: Option<i64>,
    local_at: Option<i64>,
    aggregated_at: Option<i64>,
    named: BTreeSet<String>,
}

/// What is known of one epoch.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Since when the tracker certainly knows the id, and possibly.
    pub found: Maybe<i64>,
    /// Whether it was opened.
    pub opened: Range,
    /// Processed submissions.
    pub submissions: Range,
    /// Whether there is a local batch.
    pub local: Range,
    /// Whether there is an aggregated batch.
    pub aggregated: Range,
    /// Whether the aggregated batch names this validator.
    pub included: Range,
    /// Whether its validators are listed.
    pub listed: Range,
    /// When it was opened.
    pub opened_at: Maybe<i64>,
    /// When the local batch was made.
    pub local_at: Maybe<i64>,
    /// When the aggregated batch was made.
    pub aggregated_at: Maybe<i64>,
    /// The validators in the aggregated batch: certainly known, and possibly.
    pub named: [BTreeSet<String>; 2],
    /// The earliest and the latest time that can be taken for the end of its window.
    pub ends: Option<(i64, i64)>,
    /// The most submissions that were visible at any pass, before or after the seal.
    pub visible: u64,
    /// Whether level 1, and level 2, was visible as done at any pass, before or after the seal: what comes after it changes no total, but
    /// "is stored in its sealed entry", so that phase and gap may depend on it.
    pub visibly_done: [bool; 2],
    /// The latest time that any key tells.
    pub last_sign: i64,
    /// It may be sealed.
    pub may_be_sealed: bool,
    /// It is sealed.
    pub is_sealed: bool,
    /// Its id may be taken for one that was forgotten.
    pub may_be_forgotten: bool,
    /// Its entry may have been forgotten: its numbers stay in the totals, and nothing new of it is noticed.
    pub may_be_pruned: bool,
    ids: BTreeSet<String>,
    held: Option<Proof>,
    window_closed: bool,
    has_window: bool,
    batch_times: [Option<i64>; 2],
}

fn at_most(at: Option<i64>, now: i64) -> Option<i64> {
    at.filter(|at| *at <= now)
}

/// Whether the keys may be taken to say that level 1, and level 2, is done.
fn done(seen: &Seen, now: i64) -> [bool; 2] {
    let local = at_most(seen.local_at, now).is_some() || seen.has_local;
    let aggregated = at_most(seen.aggregated_at, now).is_some() || seen.has_aggregated;
    [local || seen.step(0) == "completed", aggregated || seen.named.is_some() || seen.step(1) == "completed"]
}

impl Proof {
    fn of(seen: &Seen, now: i64) -> Self {
        // "Times up to 5 minutes ahead of Redis' clock are waited for (not yet true)".
        // "timelines 24 h": an older entry may be pruned at any moment.
        let young = |at: Option<i64>| at_most(at, now).filter(|at| *at > now - DAY);
        let opened_at =
            seen.opened_without_timeline().filter(|at| *at <= now).chain(young(seen.open_at)).max();
        let (local_at, aggregated_at) = (young(seen.local_at), young(seen.aggregated_at));
        // "existence marks level 1 / level 2 done". With a time that is ahead it is not yet true.
        let local = local_at.is_some() || seen.has_local && seen.local_at.is_none();
        let aggregated = aggregated_at.is_some() || seen.has_aggregated && seen.aggregated_at.is_none();
        let named = seen.named.clone().unwrap_or_default();
        Self {
            opened: opened_at.is_some(),
            submissions: seen.submissions(),
            local,
            aggregated,
            included: aggregated && named.contains(OWN),
            listed: aggregated && seen.named.is_some(),
            opened_at,
            local_at,
            aggregated_at,
            named,
        }
    }

    /// What both prove.
    fn and(self, other: &Self) -> Self {
        Self {
            opened: self.opened && other.opened,
            submissions: self.submissions.min(other.submissions),
            local: self.local && other.local,
            aggregated: self.aggregated && other.aggregated,
            included: self.included && other.included,
            listed: self.listed && other.listed,
            opened_at: self.opened_at.filter(|_| other.opened_at.is_some()),
            local_at: self.local_at.filter(|_| other.local_at.is_some()),
            aggregated_at: self.aggregated_at.filter(|_| other.aggregated_at.is_some()),
            named: self.named.intersection(&other.named).cloned().collect(),
        }
    }
}

/// "Epochs are found through the epochs and batches timelines and `epochs:active`", timelines of 24 hours; by the names of their other
/// keys where these were searched.
fn is_findable(seen: &Seen, now: i64, are_keys_searched: bool) -> bool {
    let times = [seen.open_at, seen.close_at, seen.local_at, seen.aggregated_at];
    let has_keys = seen.has_local
        || seen.has_aggregated
        || seen.named.is_some()
        || seen.ids.is_some()
        || seen.processed.is_some()
        || seen.info.is_some()
        || seen.state.is_some();
    seen.active
        || times.into_iter().flatten().any(|at| at <= now && at > now - DAY)
        || are_keys_searched && has_keys
}

impl Account {
    /// A pass at `now` has read this: `least` is what it certainly saw, `most` what it may have seen. Before it, all keys may have been
    /// searched. `newer_end` is the earliest end of the window of a newer epoch.
    pub fn pass(
        &mut self,
        now: i64,
        effect: Effect,
        are_keys_searched: bool,
        least: Option<&Seen>,
        most: Option<&Seen>,
        newer_end: Option<i64>,
    ) {
        if effect == Effect::None {
            return;
        }
        self.visible = self.visible.max(most.map_or(0, Seen::submissions));
        let [local, aggregated] = most.map(|seen| done(seen, now)).unwrap_or_default();
        self.visibly_done = [self.visibly_done[0] || local, self.visibly_done[1] || aggregated];
        if self.is_sealed {
            return;
        }
        if let Some(seen) = most {
            self.found.possible = self.found.possible.or(Some(now));
            self.possible(seen, now);
        }
        let whole = effect == Effect::Whole;
        let is_findable = |seen: &Seen| is_findable(seen, now, are_keys_searched);
        if whole && self.found.certain.is_none() && least.is_some_and(is_findable) {
            self.found.certain = Some(now);
        }
        if self.found.possible.is_none() {
            return;
        }
        let proof = least.map(|seen| Proof::of(seen, now)).unwrap_or_default();
        let may_seal = self.may_end(now, newer_end);
        if self.found.certain.is_some() {
            // What the sealing pass itself reads counts too.
            match (self.may_be_sealed, whole) {
                (false, true) => self.certain(&proof),
                (false, false) if may_seal => self.held = Some(proof),
                (true, true) => {
                    if let Some(held) = self.held.take() {
                        self.certain(&held.and(&proof));
                    }
                }
                _ => {}
            }
        }
        self.may_be_sealed |= may_seal;
        if let Some(seen) = least.filter(|_| whole) {
            self.window_closed |= seen.closed().any(|at| at <= now) || seen.statuses().any(|closed| closed);
            let young = |at: Option<i64>| at_most(at, now).filter(|at| *at > now - DAY);
            let times = [seen.local_at, seen.aggregated_at].map(young);
            self.batch_times = [self.batch_times[0].or(times[0]), self.batch_times[1].or(times[1])];
        }
        // "waited for (not yet true)": a tracker may wait with the seal, too.
        self.is_sealed = whole && self.has_ended(now) && !most.is_some_and(|seen| seen.is_ahead(now));
    }

    fn certain(&mut self, proof: &Proof) {
        let raise = |range: &mut Range, to: u64| *range = Range::new(range.least.max(to), range.most);
        raise(&mut self.opened, proof.opened.into());
        raise(&mut self.submissions, proof.submissions);
        raise(&mut self.local, proof.local.into());
        raise(&mut self.aggregated, proof.aggregated.into());
        raise(&mut self.included, proof.included.into());
        raise(&mut self.listed, proof.listed.into());
        self.opened_at.certain = self.opened_at.certain.or(proof.opened_at);
        self.local_at.certain = self.local_at.certain.or(proof.local_at);
        self.aggregated_at.certain = self.aggregated_at.certain.or(proof.aggregated_at);
        self.named[0].extend(proof.named.clone());
    }

    fn possible(&mut self, seen: &Seen, now: i64) {
        let opened_at = seen.opened().filter(|at| *at <= now).max();
        let local_at = at_most(seen.local_at, now);
        let aggregated_at = at_most(seen.aggregated_at, now);
        let [local, aggregated] = done(seen, now);
        // An id that only other keys tell of was opened at an unknown time: it may count.
        let other = seen.active || seen.info.is_some() || seen.state.is_some() || local || aggregated;
        let more = other || at_most(seen.close_at, now).is_some() || seen.submissions() > 0;
        let most = |range: &mut Range, is: bool| range.most = range.most.max(is.into());
        most(&mut self.opened, opened_at.is_some() || more);
        most(&mut self.local, local);
        most(&mut self.aggregated, aggregated);
        self.named[1].extend(seen.named.iter().flatten().cloned());
        most(&mut self.included, aggregated && self.named[1].contains(OWN));
        most(&mut self.listed, aggregated && seen.named.is_some());
        // The counts of two forms, or of a key that was written anew after it had expired, can't be joined from counts alone.
        // Not more than the distinct ones, though.
        let own = seen.ids.iter().flat_map(|ids| ids.keys()).chain(seen.processed.iter().flatten());
        // "taken from the validations timeline" where that is proven.
        self.ids.extend(own.chain(seen.validated.keys()).cloned());
        self.submissions.most = self.submissions.most.max(self.ids.len() as u64);
        self.opened_at.possible = self.opened_at.possible.or(opened_at);
        self.local_at.possible = self.local_at.possible.or(local_at);
        self.aggregated_at.possible = self.aggregated_at.possible.or(aggregated_at);
        self.extend_ends(seen, now);
    }

    /// Collects every time that can be taken for the end of the window.
    fn extend_ends(&mut self, seen: &Seen, now: i64) {
        let mut ends: Vec<i64> = seen.closed().collect();
        let lengths: Vec<i64> = seen.lengths().chain([USUAL_WINDOW]).collect();
        for opened in seen.opened() {
            ends.extend(lengths.iter().map(|length| opened + length));
        }
        ends.extend(seen.state.as_ref().and_then(|state| state.closes_at));
        ends.extend(seen.info.as_ref().and_then(|info| info.end));
        let times = [seen.local_at, seen.aggregated_at].into_iter().flatten();
        self.last_sign = ends.iter().copied().chain(times.clone()).fold(self.last_sign, i64::max);
        // "timelines 24 h": of older entries a tracker need not know.
        let young = [seen.open_at, seen.close_at].into_iter().flatten().any(|at| at > now - DAY);
        let others = seen.state.as_ref().and_then(|state| state.closes_at);
        let others = others.or(seen.info.as_ref().and_then(|info| info.end));
        self.has_window |= young || others.is_some() || seen.opened_without_timeline().next().is_some();
        if !self.has_window {
            // Without any time of its window: its batches, or the moment at which it was found.
            ends.extend(times.chain(self.ends.is_none().then_some(now)));
        }
        for end in ends {
            let (first, last) = self.ends.unwrap_or((end, end));
            self.ends = Some((first.min(end), last.max(end)));
        }
    }

    /// Whether the epoch may be finished: "both batches, or 60 minutes after its window closed".
    fn may_end(&self, now: i64, newer_end: Option<i64>) -> bool {
        let both = self.local.most > 0 && self.aggregated.most > 0;
        // Ids grow with time: the window of an epoch without a time closed before those of newer epochs.
        let timeless = self.opened_at.possible.is_none();
        let first = self.ends.map(|ends| ends.0).into_iter().chain(newer_end.filter(|_| timeless)).min();
        both || first.is_some_and(|end| now >= end + SEALED_AFTER)
    }

    /// Whether it was finished long ago, so that it is sealed.
    fn has_ended(&self, now: i64) -> bool {
        let (Some(found), Some((_, last))) = (self.found.certain, self.ends) else { return false };
        let long_ago =
            now >= last.max(if self.opened_at.certain.is_some() { 0 } else { found }) + SEALED_AFTER + GRACE;
        let [Some(local), Some(aggregated)] = self.batch_times else { return long_ago };
        long_ago || self.window_closed && now >= last.max(local).max(aggregated).max(found) + GRACE
    }

    /// Nothing of it certainly counts.
    pub fn doubt(&mut self) {
        self.may_be_forgotten = true;
        for range in [
            &mut self.opened,
            &mut self.submissions,
            &mut self.local,
            &mut self.aggregated,
            &mut self.included,
            &mut self.listed,
        ] {
            range.least = 0;
        }
        for time in [&mut self.found, &mut self.opened_at, &mut self.local_at, &mut self.aggregated_at] {
            time.certain = None;
        }
        self.named[0].clear();
    }
}
