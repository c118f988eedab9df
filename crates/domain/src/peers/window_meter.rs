//! Work out of sliding windows, which overlap.
//!
//! A window tells a rate. The rate holds for the time since the sample before it of that peer, at most for the length of
//! the window; the work is the rate times that time. Adding up windows would count most work several times.

use std::{collections::HashMap, sync::Arc};

use super::sample::{Measured, PeerKind, Sample, Total, is_quantity};

/// The longest time that one window counts for, in seconds.
pub const LONGEST_WINDOW: u64 = 3_600;
/// The most peers that are remembered of a source. Beyond that, those that are not in the newest picture are dropped.
const MOST_PEERS: usize = 50_000;
/// A sender's clock may be this far behind ours, in seconds: pictures may have been held up on their way.
const BEHIND: u64 = 600;
/// A sender's clock may be this far ahead of ours, in seconds.
const AHEAD: u64 = 60;
/// The clock of a sender that was further off is used again once it is no further behind than this, in seconds.
const BEHIND_AGAIN: u64 = 300;

/// What a sender measured of one peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window<'a> {
    /// The number of the peer in its source.
    pub downstream_id: u32,
    /// Its name.
    pub name: &'a str,
    /// The work in the window: the sum of the difficulties of its shares.
    pub work: f64,
    /// The length of the window, in seconds.
    pub seconds: u64,
    /// The end of the window, in Unix seconds of the sender.
    pub timestamp: u64,
}

/// Measures the peers of one source.
#[derive(Clone, Debug)]
pub struct WindowMeter {
    source: Arc<str>,
    /// Nothing up to here is counted for a peer that is new to this meter, in Unix seconds.
    floor: Option<u64>,
    peers: HashMap<(u32, String), Peer>,
    /// The end of the last total.
    total: Option<u64>,
    /// Work of peers that came when no time had passed for the total; it is part of the next total.
    left_over: f64,
    /// The longest window of the last picture that had one.
    window: u64,
    /// The number of pictures.
    pictures: u64,
    /// Whether the sender's clock is too far off, so that ours is used.
    is_off: bool,
}

/// What is remembered of a peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// The end of its last sample.
    until: u64,
    /// The number of the last picture that it was in.
    picture: u64,
}

impl WindowMeter {
    /// A meter of a source. `measured_until` is the end of the last sample that the history has of it, in Unix seconds: no
    /// time is counted twice after a restart.
    #[must_use]
    pub fn new(source: Arc<str>, measured_until: Option<u64>) -> Self {
        Self {
            source,
            floor: measured_until,
            peers: HashMap::new(),
            total: measured_until,
            left_over: 0.0,
            window: 0,
            pictures: 0,
            is_off: false,
        }
    }

    /// Takes the windows of one picture. `timestamp` is that of the picture, `now` our clock; both in Unix seconds.
    ///
    /// A peer that occurs several times at one time is one peer, whose windows add up.
    pub fn measure<'a>(
        &mut self,
        windows: impl IntoIterator<Item = Window<'a>>,
        timestamp: u64,
        now: u64,
    ) -> Measured {
        self.pictures += 1;
        self.judge_clock(timestamp, now);
        let mut windows: Vec<Window<'_>> = windows
            .into_iter()
            .filter(|window| window.seconds > 0 && is_quantity(window.work))
            .map(|window| Window { timestamp: self.time(window.timestamp, now), ..window })
            .collect();
        windows.sort_by(|one, other| {
            (one.downstream_id, one.name, one.timestamp).cmp(&(
                other.downstream_id,
                other.name,
                other.timestamp,
            ))
        });
        let mut measured = Measured::default();
        for same in windows.chunk_by(|one, other| {
            (one.downstream_id, one.name, one.timestamp) == (other.downstream_id, other.name, other.timestamp)
        }) {
            measured.samples.extend(self.sample(same));
        }
        let longest = windows.iter().map(|window| window.seconds.min(LONGEST_WINDOW)).max();
        self.window = longest.unwrap_or(self.window);
        let end = windows.iter().map(|window| window.timestamp).max();
        measured.total = self.total(end.unwrap_or_else(|| self.time(timestamp, now)), &measured.samples);
        self.drop_old(end);
        measured
    }

    /// How many peers are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.peers.len()
    }

    /// Decides by whose clock samples are placed.
    fn judge_clock(&mut self, timestamp: u64, now: u64) {
        let behind = if self.is_off { BEHIND_AGAIN } else { BEHIND };
        self.is_off = timestamp > now.saturating_add(AHEAD) || timestamp.saturating_add(behind) < now;
    }

    /// A time of the sender by a clock that can be trusted; never ahead of ours.
    fn time(&self, timestamp: u64, now: u64) -> u64 {
        if self.is_off || timestamp.saturating_add(BEHIND) < now { now } else { timestamp.min(now) }
    }

    /// The sample of one peer at one time; `None` if no time has passed.
    fn sample(&mut self, same: &[Window<'_>]) -> Option<Sample> {
        let first = same.first()?;
        let longest = same.iter().map(|window| window.seconds).max()?.min(LONGEST_WINDOW);
        let key = (first.downstream_id, first.name.to_owned());
        let before = self.peers.get(&key).map(|peer| peer.until).or(self.floor);
        let (elapsed, until) = elapsed(before, first.timestamp, longest);
        self.peers.insert(key, Peer { until, picture: self.pictures });
        if elapsed == 0 {
            return None;
        }
        let work = |window: &Window<'_>| {
            let rate = window.work / window.seconds as f64;
            rate * elapsed.min(window.seconds) as f64
        };
        Some(Sample {
            timestamp: first.timestamp,
            source: Arc::clone(&self.source),
            downstream_id: first.downstream_id,
            name: first.name.to_owned(),
            kind: PeerKind::Pushed,
            work: same.iter().map(work).sum(),
            seconds: elapsed as f64,
            declared_hs: None,
        })
    }

    fn total(&mut self, end: u64, samples: &[Sample]) -> Option<Total> {
        let (elapsed, until) = elapsed(self.total, end, self.window);
        self.total = Some(until);
        self.left_over += samples.iter().map(|sample| sample.work).sum::<f64>();
        if elapsed == 0 {
            return None;
        }
        let work = std::mem::take(&mut self.left_over);
        let source = Arc::clone(&self.source);
        Some(Total { timestamp: end, source, work, seconds: elapsed as f64, declared_hs: None })
    }

    /// Drops peers that would count as new anyway, and what exceeds the limit.
    fn drop_old(&mut self, end: Option<u64>) {
        let Some(end) = end else { return };
        if self.pictures.is_multiple_of(64) {
            self.peers.retain(|_, peer| peer.until.saturating_add(LONGEST_WINDOW) >= end);
        }
        if self.peers.len() > MOST_PEERS {
            // One that comes back must not count the same time again.
            self.floor = self.floor.max(Some(end));
            self.peers.retain(|_, peer| peer.picture == self.pictures);
        }
    }
}

/// The time that a sample at `timestamp` counts for, and the end of what is counted then. `before` is the end of what was
/// counted before, and `longest` the length of the window; all in seconds.
fn elapsed(before: Option<u64>, timestamp: u64, longest: u64) -> (u64, u64) {
    match before {
        None => (longest.min(timestamp), timestamp),
        Some(before) if timestamp > before => ((timestamp - before).min(longest), timestamp),
        // The clock leapt back, further than a window reaches: time begins anew here.
        Some(before) if before - timestamp > longest => (0, timestamp),
        // A little back: this time has been counted.
        Some(before) => (0, before),
    }
}
