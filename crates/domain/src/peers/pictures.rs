//! The newest picture of each source and kind: replaced as a whole, stale when its source is silent, emptied when its
//! connection has ended, forgotten in the end.
//!
//! The content of a picture is the caller's. A clone shares all pictures, so a holder may change one copy and swap it in.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    interval::Interval,
    kind::{List, PictureKind},
};

/// A source is stale after so many of its own intervals.
const STALE_INTERVALS: f64 = 3.0;
/// The interval after which an ended connection empties its lists while the sender's is not known, in seconds.
const UNKNOWN_INTERVAL: f64 = 10.0;
/// A picture this far ahead of our clock, in seconds, gives way to the next one, however old that claims to be.
const AHEAD: f64 = 60.0;

/// The time, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Unix seconds. This clock may leap.
    pub unix: f64,
    /// Seconds of a clock that never leaps; ages are measured by it.
    pub steady: f64,
}

/// How long pictures are believed, and how many sources there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// A source whose interval is not known is stale after this, in seconds.
    pub stale_after: f64,
    /// A picture is forgotten after this, in seconds.
    pub forget_after: f64,
    /// The most sources.
    pub most_sources: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { stale_after: 45.0, forget_after: 600.0, most_sources: 10_000 }
    }
}

/// Where a picture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// The number of the connection. A later connection has a larger number.
    pub connection: u64,
}

/// How a picture was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its source and kind.
    First,
    /// It replaces an older one.
    Newer,
    /// It claims to be older than the one that it replaces, which is ahead of our clock.
    Clock,
}

/// Why a picture was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A newer one is held.
    #[error("a newer picture of this source is held")]
    Older,
    /// There are too many sources.
    #[error("there are too many sources")]
    TooManySources,
}

impl Refused {
    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Older => "older",
            Self::TooManySources => "too_many_sources",
        }
    }
}

/// A picture that is held.
#[derive(Debug)]
struct Held<C> {
    content: Arc<C>,
    /// As the sender told it, in Unix seconds.
    timestamp: u64,
    /// By our steady clock.
    arrived: f64,
    connection: u64,
    interval: Interval,
    end: Option<End>,
}

// Not derived: that would ask for a content that can be cloned.
impl<C> Clone for Held<C> {
    fn clone(&self) -> Self {
        Self { content: Arc::clone(&self.content), ..*self }
    }
}

/// The end of the connection that a picture came by.
#[derive(Clone, Copy, Debug)]
struct End {
    /// When it was, by our steady clock.
    at: f64,
    /// Whether the source has come back since, and was given another interval for its picture. Once only, so that a source
    /// that connects again and again without a picture has no lists.
    is_extended: bool,
}

impl<C> Held<C> {
    fn age(&self, now: Now) -> f64 {
        (now.steady - self.arrived).max(0.0)
    }

    /// When its lists count as empty, by our steady clock.
    fn emptied_at(&self) -> Option<f64> {
        self.end.map(|end| end.at + self.interval.known().unwrap_or(UNKNOWN_INTERVAL))
    }

    /// After when it has been silent for too long, by our steady clock.
    fn silent_after(&self, rules: &Rules) -> f64 {
        let limit = self.interval.known().map_or(rules.stale_after, |interval| STALE_INTERVALS * interval);
        self.arrived + limit
    }

    fn is_emptied(&self, now: Now) -> bool {
        self.emptied_at().is_some_and(|at| now.steady >= at)
    }

    fn is_stale(&self, now: Now, rules: &Rules) -> bool {
        self.is_emptied(now) || now.steady > self.silent_after(rules)
    }

    /// When time alone changes how it is seen next, by our steady clock.
    fn changes_at(&self, now: Now, rules: &Rules) -> Option<f64> {
        let emptied = self.emptied_at().filter(|at| now.steady < *at);
        let silent = Some(self.silent_after(rules)).filter(|at| now.steady <= *at);
        emptied.into_iter().chain(silent).reduce(f64::min)
    }
}

type Source<C> = BTreeMap<PictureKind, Held<C>>;

/// A picture as readers see it.
#[derive(Debug)]
pub struct PictureView<'a, C> {
    /// The name of its source.
    pub source: &'a str,
    /// Its kind.
    pub kind: PictureKind,
    /// Its content.
    pub content: &'a Arc<C>,
    /// When it was taken, in Unix seconds of the sender.
    pub timestamp: u64,
    /// How long ago it arrived, in seconds.
    pub age: f64,
    /// Whether its source has been silent for too long.
    pub is_stale: bool,
    /// Whether its connection has ended and did not come back: its lists count as empty.
    pub is_emptied: bool,
}

/// The newest picture of each source and kind.
#[derive(Debug)]
pub struct Pictures<C> {
    rules: Rules,
    sources: BTreeMap<Arc<str>, Arc<Source<C>>>,
    /// The kinds that have ever come.
    seen: BTreeSet<PictureKind>,
}

impl<C> Clone for Pictures<C> {
    fn clone(&self) -> Self {
        Self { rules: self.rules, sources: self.sources.clone(), seen: self.seen.clone() }
    }
}

impl<C> Pictures<C> {
    /// No picture yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, sources: BTreeMap::new(), seen: BTreeSet::new() }
    }

    /// Takes a picture: it replaces the one before of its source and kind as a whole.
    ///
    /// An older one is dropped, except that a new connection begins a new order, and that a picture ahead of our clock by
    /// more than a minute gives way.
    ///
    /// # Errors
    /// [`Refused`] if it is dropped.
    pub fn accept(
        &mut self,
        from: Origin<'_>,
        kind: PictureKind,
        timestamp: u64,
        content: impl Into<Arc<C>>,
        now: Now,
    ) -> Result<Arrival, Refused> {
        let is_known = self.sources.contains_key(from.source);
        if !is_known && self.sources.len() >= self.rules.most_sources {
            return Err(Refused::TooManySources);
        }
        let before = self.sources.get(from.source).and_then(|source| source.get(&kind));
        let mut interval = before.map(|held| held.interval).unwrap_or_default();
        let arrival = match before {
            None => Arrival::First,
            Some(held) if from.connection > held.connection => Arrival::Newer,
            Some(held) if timestamp >= held.timestamp => {
                let sent = (timestamp - held.timestamp) as f64;
                // A third of the time after which it is forgotten: it is stale before that.
                interval.note(held.age(now), sent, self.rules.forget_after / STALE_INTERVALS);
                Arrival::Newer
            }
            Some(held) if held.timestamp as f64 > now.unix + AHEAD => Arrival::Clock,
            Some(_) => return Err(Refused::Older),
        };
        let (arrived, connection) = (now.steady, from.connection);
        let held = Held { content: content.into(), timestamp, arrived, connection, interval, end: None };
        let source = self.sources.entry(Arc::from(from.source)).or_default();
        Arc::make_mut(source).insert(kind, held);
        self.seen.insert(kind);
        Ok(arrival)
    }

    /// Notes a new connection: pictures whose connection has ended are given one more interval for the next picture.
    pub fn connected(&mut self, source: &str, now: Now) {
        let Some(source) = self.sources.get_mut(source) else { return };
        let returns = |held: &Held<C>| held.end.is_some_and(|end| !end.is_extended) && !held.is_emptied(now);
        // Not without need: it would copy what readers share.
        if source.values().any(returns) {
            let returned = Arc::make_mut(source).values_mut().filter(|held| returns(held));
            returned.for_each(|held| held.end = Some(End { at: now.steady, is_extended: true }));
        }
    }

    /// Notes the end of every connection that is not open: its lists are empty after one interval, unless pictures come again.
    ///
    /// A caller that looks again and again which ones are open misses no end, however short a connection was.
    pub fn note_ends(&mut self, is_open: impl Fn(u64) -> bool, now: Now) {
        let has_ended = |held: &Held<C>| held.end.is_none() && !is_open(held.connection);
        for source in self.sources.values_mut() {
            // Not without need: it would copy what readers share.
            if source.values().any(has_ended) {
                let ended = Arc::make_mut(source).values_mut().filter(|held| has_ended(held));
                ended.for_each(|held| held.end = Some(End { at: now.steady, is_extended: false }));
            }
        }
    }

    /// Forgets pictures that are too old; returns the sources that nothing is left of.
    pub fn forget(&mut self, now: Now) -> Vec<Arc<str>> {
        let is_over = |held: &Held<C>| held.age(now) > self.rules.forget_after;
        for source in self.sources.values_mut() {
            // Not without need: it would copy what readers share.
            if source.values().any(is_over) {
                Arc::make_mut(source).retain(|_, held| !is_over(held));
            }
        }
        let over: Vec<Arc<str>> = self
            .sources
            .iter()
            .filter(|(_, source)| source.is_empty())
            .map(|(name, _)| Arc::clone(name))
            .collect();
        over.iter().for_each(|name| drop(self.sources.remove(name)));
        over
    }

    /// Whether a picture that tells of this list has ever come; it may be forgotten by now.
    #[must_use]
    pub fn has_seen(&self, list: List) -> bool {
        list.groups().iter().copied().flatten().any(|kind| self.seen.contains(kind))
    }

    /// Whether a picture of this kind has ever come.
    #[must_use]
    pub fn has_seen_kind(&self, kind: PictureKind) -> bool {
        self.seen.contains(&kind)
    }

    /// Whether nothing was changed since this copy was made.
    #[must_use]
    pub fn is_still(&self, before: &Self) -> bool {
        self.sources.len() == before.sources.len()
            && self.sources.values().zip(before.sources.values()).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Until when these pictures are seen as they are now, by our steady clock: then time alone makes one stale or empty.
    #[must_use]
    pub fn same_until(&self, now: Now) -> f64 {
        let held = self.sources.values().flat_map(|source| source.values());
        held.filter_map(|held| held.changes_at(now, &self.rules)).fold(f64::INFINITY, f64::min)
    }

    /// The pictures that make up a list, in the order of their sources; those that are emptied are left out.
    pub fn list(&self, list: List, now: Now) -> impl Iterator<Item = PictureView<'_, C>> {
        let groups = list.groups().iter();
        let all = self.sources.iter().flat_map(move |(name, source)| {
            groups
                .clone()
                .filter_map(move |group| newest(source, group).map(|(kind, held)| (name, kind, held)))
        });
        all.map(move |(name, kind, held)| self.view(name, kind, held, now)).filter(|view| !view.is_emptied)
    }

    /// The newest picture of a kind, of all sources or of one. It may be emptied.
    #[must_use]
    pub fn newest(&self, kind: PictureKind, source: Option<&str>, now: Now) -> Option<PictureView<'_, C>> {
        let of_source = |name: &str| source.is_none_or(|wanted| wanted == name);
        let all = self.sources.iter().filter(|(name, _)| of_source(name));
        let held = all.filter_map(|(name, source)| source.get(&kind).map(|held| (name, held)));
        // By its arrival: the clock of a sender may be years ahead.
        let (name, held) = held.max_by(|(_, one), (_, other)| one.arrived.total_cmp(&other.arrived))?;
        Some(self.view(name, kind, held, now))
    }

    /// The pictures of a source.
    pub fn of_source<'a>(&'a self, source: &str, now: Now) -> impl Iterator<Item = PictureView<'a, C>> {
        let found = self.sources.get_key_value(source);
        found.into_iter().flat_map(move |(name, source)| {
            source.iter().map(move |(kind, held)| self.view(name, *kind, held, now))
        })
    }

    fn view<'a>(
        &self,
        source: &'a str,
        kind: PictureKind,
        held: &'a Held<C>,
        now: Now,
    ) -> PictureView<'a, C> {
        PictureView {
            source,
            kind,
            content: &held.content,
            timestamp: held.timestamp,
            age: held.age(now),
            is_stale: held.is_stale(now, &self.rules),
            is_emptied: held.is_emptied(now),
        }
    }

    /// The sources that are held, in order.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = &str> {
        self.sources.keys().map(|name| &**name)
    }

    /// The sources that are not fresh, in order. All is well while there are none.
    #[must_use]
    pub fn stale(&self, now: Now) -> Vec<&str> {
        let is_stale = |source: &Source<C>| {
            let duties = PictureKind::DUTIES.iter().filter_map(|duty| newest(source, duty));
            duties.into_iter().any(|(_, held)| held.is_stale(now, &self.rules))
        };
        self.sources.iter().filter(|(_, source)| is_stale(source)).map(|(name, _)| &**name).collect()
    }
}

/// The newest picture of some kinds.
fn newest<'a, C>(source: &'a Source<C>, kinds: &[PictureKind]) -> Option<(PictureKind, &'a Held<C>)> {
    let held = kinds.iter().filter_map(|kind| source.get(kind).map(|held| (*kind, held)));
    held.max_by(|(_, one), (_, other)| one.arrived.total_cmp(&other.arrived))
}
