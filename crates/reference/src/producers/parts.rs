//! The parts of which an opening, a close or a batch consists: one key or member each, which may be written at different moments.

use super::{
    Epoch, Producers,
    part::Part,
    part::Part::{
        AggregatedMetadata, AggregatedNamed, AggregatedState, AggregatedTimeline, CloseInfo, CloseState,
        CloseTimeline, LocalMetadata, LocalOwn, LocalState, LocalTimeline, OpenActive, OpenInfo, OpenState,
        OpenTimeline,
    },
};
use crate::{
    database::Write,
    keys::{Key, MARKET, OWN},
};

impl Producers {
    /// Writes these parts, or postpones some of them.
    pub(super) fn begin(&mut self, epoch: u64, parts: &[Part]) {
        let is_split = self.is_late && self.random.chance(40);
        for part in parts {
            if is_split && self.random.chance(50) {
                self.postponed.push((epoch, *part));
            } else {
                self.put(epoch, *part);
            }
        }
    }

    /// Writes some of the parts that were postponed.
    pub(super) fn catch_up(&mut self) {
        for _ in 0..self.random.within(1, 4) {
            if self.postponed.is_empty() {
                return;
            }
            let at = self.random.within(0, self.postponed.len() as i64 - 1) as usize;
            let (epoch, part) = self.postponed.remove(at);
            self.put(epoch, part);
        }
    }

    /// Writes a part, and before it what its producer writes before it.
    pub(super) fn put(&mut self, epoch: u64, part: Part) {
        if part.is_new() && self.is_old {
            return;
        }
        if let Some(before) = part.before()
            && let Some(at) = self.postponed.iter().position(|known| *known == (epoch, before))
        {
            self.postponed.remove(at);
            self.put(epoch, before);
        }
        self.tell(&format!("{epoch}: {part:?}"));
        if !self.written.contains(&(epoch, part)) {
            self.written.push((epoch, part));
        }
        let Some(known) = self.epochs.get(&epoch).cloned() else { return };
        match part {
            OpenActive => {
                let member = self.member(epoch);
                self.write(Key::Active, Write::Member(member));
            }
            OpenTimeline => self.timed(Key::Epochs, "open", epoch, known.opened),
            OpenInfo => self.open_info(epoch, &known),
            OpenState => self.open_state(epoch, &known),
            CloseTimeline => self.timed(Key::Epochs, "close", epoch, known.closed.unwrap_or(self.now)),
            CloseInfo => {
                self.field(Key::Info(epoch), "status", "closed");
                self.field(Key::Info(epoch), "end", known.closed.unwrap_or(self.now));
            }
            CloseState => self.field(Key::State(epoch), "window_status", "closed"),
            LocalTimeline => self.timed(Key::Batches, "local", epoch, known.local.unwrap_or(self.now)),
            LocalOwn => {
                let at = known.local.unwrap_or(self.now);
                self.write(Key::BatchesOf(OWN), Write::Timed(epoch.to_string(), at));
            }
            LocalMetadata => self.write(Key::Local(epoch), Write::Text("{}".to_owned())),
            LocalState => self.field(Key::State(epoch), "level1_status", "completed"),
            AggregatedTimeline => {
                self.timed(Key::Batches, "aggregated", epoch, known.aggregated.unwrap_or(self.now));
            }
            AggregatedMetadata => self.write(Key::Aggregated(epoch), Write::Text("{}".to_owned())),
            AggregatedNamed => {
                let mut named = known.named.clone();
                if self.random.chance(20) {
                    named.push("");
                }
                self.write(Key::Named(epoch), Write::Text(serde_json::json!(named).to_string()));
            }
            AggregatedState => self.field(Key::State(epoch), "level2_status", "completed"),
        }
    }

    fn timed(&mut self, key: Key, what: &str, epoch: u64, at: i64) {
        let member = format!("{what}:{}", self.member(epoch));
        self.write(key, Write::Timed(member, at));
    }

    fn open_info(&mut self, epoch: u64, known: &Epoch) {
        let key = Key::Info(epoch);
        self.field(key, "status", "open");
        self.field(key, "data_market", MARKET[self.configured]);
        self.field(key, if known.has_start { "start" } else { "timestamp" }, known.opened);
        self.field(key, "duration", known.window);
        self.field(key, "start_block", epoch * 3);
    }

    fn open_state(&mut self, epoch: u64, known: &Epoch) {
        let key = Key::State(epoch);
        self.field(key, "window_status", "open");
        self.field(key, "phase", "submission");
        self.field(key, "window_opened_at", known.opened);
        self.field(key, "window_closes_at", known.opened + known.window);
    }
}
