//! Looks: the trackers come to rest, and the judge compares all keys.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use testkit::contents::query;

use super::{
    super::{
        judge::{Held, Rest, Seen},
        node::Node,
        script::{Id, MARKETS},
        tracker::Tracker,
    },
    BEGIN, History,
};

/// How far the clock moves while a rest is waited for, each time it is looked.
pub(super) const TICK: u64 = 100;
/// How often a tracker that rests has asked for the head without doing anything, beside two probes of each node.
const POLLS: u64 = 4;
/// The queues of finalizers and attestors.
pub(super) const QUEUES: [&str; 2] = ["finalizerQueue", "attestorQueue"];
/// The longest wait for a rest, in real time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all keys hold, as a short text.
#[derive(Default)]
struct Digest {
    written: String,
    keys: String,
}

impl Digest {
    /// Reads it, but for keys that have expired since something was last written: reading all keys takes long.
    async fn of(&mut self, connection: &mut MultiplexedConnection) -> &str {
        let counters: String = query(connection, &["INFO", "persistence"]).await;
        let written = counters.lines().find(|line| line.starts_with("rdb_changes_since_last_save"));
        let written = written.unwrap_or_default().to_owned();
        if written.is_empty() || written != self.written {
            self.keys = query(connection, &["DEBUG", "DIGEST"]).await;
            self.written = written;
        }
        &self.keys
    }
}

impl History {
    pub(super) async fn look(&mut self) {
        self.settle().await;
        let [queue, attested] = [self.queued(0).await, self.queued(1).await];
        let heads = self.heads();
        self.asked.values_mut().for_each(|asked| asked.extend(&heads));
        let seen = self.read().await;
        let rest = Rest {
            from: self.looked,
            to: self.now,
            tips: self.tips(),
            closed_to: self.closed_to(),
            hindered: self.hindered.clone(),
            prepared: self.prepared(|_| true),
            steady: self.prepared(|reader| !self.started.contains(&reader)),
            failing: self.failing.clone(),
            asked: std::mem::take(&mut self.asked),
            queue,
            attested,
            running: self.trackers.iter().any(Option::is_some),
        };
        self.looked = self.now;
        self.started.clear();
        if self.judge.tip.is_none() && !rest.running {
            return;
        }
        let script = self.script().clone();
        if let Err(faults) = self.judge.look(&script, &self.inputs, &rest, &seen) {
            self.fail(&faults.join("\n"));
        }
        self.tell(format!("looked: at {:?}", self.judge.tip));
        let tip = self.judge.tip;
        let is_head = rest.running && self.heads() == BTreeSet::from_iter(tip);
        self.caught = match self.caught {
            _ if !is_head => None,
            Some((known, since)) if Some(known) == tip => Some((known, since)),
            _ => tip.map(|tip| (tip, self.now)),
        };
    }

    pub(super) fn heads(&self) -> BTreeSet<Id> {
        self.nodes.iter().flat_map(Node::heads).collect()
    }

    /// Where the trackers may rest, and whether that is the head that they see.
    pub(super) fn tips(&self) -> Vec<(Id, bool)> {
        let running = self.trackers.iter().any(Option::is_some);
        if let Some(shown) = self.shown.as_ref().filter(|_| running) {
            return shown.clone();
        }
        let (script, heads) = (self.script(), self.heads());
        // What the trackers have followed of several branches is not known.
        let turmoil = !self.judge.visited.is_empty();
        let Some(accepted) = self.judge.tip else {
            return heads.into_iter().map(|head| (head, true)).collect();
        };
        if !running {
            return vec![(accepted, false)];
        }
        let mut tips = Vec::new();
        for head in &heads {
            let is_lower = script.blocks[*head].number < script.blocks[accepted].number;
            if script.is_on(*head, accepted) {
                tips.push((accepted, *head == accepted));
            } else {
                // "A chain that is lower than what was accepted is followed once it is as high."
                if is_lower {
                    tips.push((accepted, false));
                }
                if !is_lower || turmoil {
                    tips.push((*head, true));
                }
            }
        }
        if heads.is_empty() {
            tips.push((accepted, false));
        }
        tips
    }

    /// The chain's time that the trackers must know of: that of the head, and what has passed since they have seen it.
    fn closed_to(&self) -> u64 {
        let Some((head, since)) = self.caught.filter(|(head, _)| self.heads() == BTreeSet::from([*head]))
        else {
            return 0;
        };
        (self.script().blocks[head].time * 1_000 + (self.now - since)).saturating_sub(3_000)
    }

    /// Waits until the trackers rest: they have asked for the head and changed nothing.
    pub(super) async fn settle(&mut self) {
        let began = Instant::now();
        let (mut last, mut marks, mut since) = (String::new(), Vec::new(), self.now);
        let mut digest = Digest::default();
        let is_silent = self.heads().is_empty();
        let must = match self.tips().as_slice() {
            [(tip, true)] if !is_silent => Some(*tip),
            _ => None,
        };
        while self.trackers.iter().any(Option::is_some) {
            self.pass(TICK);
            tokio::time::sleep(Duration::from_millis(4)).await;
            let keys = digest.of(&mut self.connection).await;
            let polls: Vec<u64> = (0..self.trackers.len())
                .map(|reader| self.nodes.iter().map(|node| node.polls(reader)).sum())
                .collect();
            // Who still asks contracts is not at rest.
            let calls: u64 = self.nodes.iter().map(Node::calls).sum();
            let now = format!("{keys} {calls}");
            if now != last {
                (last, marks, since) = (now, polls, self.now);
                continue;
            }
            // A step that crashes has asked too, and is made again.
            let needed = POLLS * if self.settings.crashes > 0 { 4 } else { 1 } + 2 * self.nodes.len() as u64;
            let polled = polls.iter().zip(&marks).all(|(polls, mark)| *polls >= mark + needed);
            let rested = self.now >= since + if is_silent { 3_000 } else { 500 };
            let is_there = |tracker: &Tracker| {
                let checkpoint = tracker.progress.now().checkpoint.map(|block| block.hash.to_string());
                must.is_none_or(|must| checkpoint.as_deref() == Some(self.script().hash(must)))
            };
            let are_there = polled && self.trackers.iter().flatten().all(is_there);
            if rested && (are_there || is_silent) && self.due().await == 0 {
                return;
            }
            if began.elapsed() > PATIENCE {
                let (due, now) = (self.due().await, (self.now - BEGIN) as f64 / 1e3);
                let progress: Vec<_> =
                    self.trackers.iter().flatten().map(|tracker| tracker.progress.now()).collect();
                self.fail(&format!(
                    "the trackers don't come to rest at {must:?}: {due} windows are due, polls {marks:?} to {polls:?}, the last change \
                     at {}, now {now}: {progress:#?}",
                    (since - BEGIN) as f64 / 1e3
                ));
            }
        }
    }

    /// How many closed windows wait for their batches, of markets with a tracker, but for hindered ones. The only look at a key of the
    /// tracker's own: without it a look could come too early, never too late.
    async fn due(&mut self) -> u64 {
        const DUE: &str = "
local due, hindered = 0, {}
for index, name in ipairs(ARGV) do hindered[name] = true end
for _, market in ipairs(KEYS) do
  local windows = redis.call('HGETALL', 'tracker:chain:' .. market .. ':windows')
  for at = 1, #windows, 2 do
    local is_closed = string.find(windows[at + 1], 'Closed')
    if is_closed and not hindered[market .. '.' .. windows[at]] then due = due + 1 end
  end
end
return due";
        let prepared = self.prepared(|_| true);
        let many = prepared.len().to_string();
        let hindered = self.hindered.iter().map(|(market, epoch)| format!("{}.{epoch}", MARKETS[*market]));
        let hindered: Vec<String> = hindered.collect();
        let mut words = vec!["EVAL", DUE, &many];
        words.extend(prepared.iter().map(|market| MARKETS[*market]));
        words.extend(hindered.iter().map(String::as_str));
        query(&mut self.connection, &words).await
    }

    /// The markets of the trackers that are running.
    pub(super) fn prepared(&self, is_so: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let running = self.trackers.iter().enumerate().filter(|(reader, it)| it.is_some() && is_so(*reader));
        running.flat_map(|(reader, _)| self.wanted[reader].markets.iter().copied()).collect()
    }

    /// The finalizers' queue, or the attestors', in the order of its writing.
    async fn queued(&mut self, which: usize) -> Vec<String> {
        let mut waiting: Vec<String> =
            query(&mut self.connection, &["LRANGE", QUEUES[which], "0", "-1"]).await;
        waiting.reverse();
        let mut queue = self.consumed[which].clone();
        queue.extend(waiting);
        queue
    }

    /// All keys.
    pub(super) async fn read(&mut self) -> Seen {
        const READ: &str = "
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, words = redis.call('TYPE', key)['ok'], {}
  if kind == 'string' then words = { redis.call('GET', key) } end
  if kind == 'list' then words = redis.call('LRANGE', key, 0, -1) end
  if kind == 'set' then words = redis.call('SMEMBERS', key) end
  if kind == 'hash' then words = redis.call('HGETALL', key) end
  all[#all + 1] = { key, kind, redis.call('PEXPIRETIME', key), words }
end
return all";
        let mut command = redis::cmd("EVAL");
        command.arg(READ).arg(0);
        let all: Vec<(String, String, i64, Vec<String>)> =
            command.query_async(&mut self.connection).await.expect("read");
        let held = |(key, kind, expires, mut words): (String, String, i64, Vec<String>)| {
            if kind == "hash" {
                words = words.chunks_exact(2).map(|pair| format!("{} = {}", pair[0], pair[1])).collect();
            }
            if kind != "list" {
                words.sort();
            }
            (key, Held { kind, words, expires: u64::try_from(expires).ok() })
        };
        all.into_iter().map(held).collect()
    }
}
