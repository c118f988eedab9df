//! One history from a seed: the chain, its nodes, the collectors, the trackers and what happens to them, and a look whenever the
//! trackers rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use supervision::Clock;
use testkit::{Dice, contents::query};

use super::{
    clock::TimedRedis,
    judge::{Held, INPUTS_LIVE, Inputs, Judge, Rest, Seen},
    node::{Behaviour, Node},
    script::{Event, Id, MARKETS, Script},
    settings::Settings,
    tracker::Tracker,
};

/// Steps of a history.
const STEPS: usize = 30;
/// The beginning, in Unix milliseconds: before the clock of every machine, since blocks of the future are doubted.
const BEGIN: u64 = 1_700_000_000_000;
/// How far the clock moves while a rest is waited for, each time it is looked.
const TICK: u64 = 100;
/// How often a tracker that rests has asked for the head without doing anything, beside two probes of each node.
const POLLS: u64 = 4;
/// The longest wait for a rest, in real time.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct History {
    seed: u64,
    dice: Dice,
    settings: Settings,
    script: Arc<Mutex<Script>>,
    /// The newest block of the chain.
    head: Id,
    nodes: Vec<Node>,
    redis: TimedRedis,
    connection: MultiplexedConnection,
    clock: Clock,
    now: u64,
    trackers: Vec<Option<Tracker>>,
    inputs: Inputs,
    judge: Judge,
    looked: u64,
    /// The head that all trackers have rested at, and since when they know it.
    caught: Option<(Id, u64)>,
    consumed: Vec<String>,
    hindered: BTreeSet<(usize, u64)>,
    acts: Vec<String>,
    /// Where the trackers have to rest, while the nodes show different heads.
    shown: Option<Vec<(Id, bool)>>,
}

impl History {
    pub async fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Settings::of(&mut dice);
        let mut script = Script::new(seed, BEGIN / 1_000);
        let mut head = 0;
        for block in 0..settings.start {
            head = script.add(head, BEGIN / 1_000 + block, Vec::new());
        }
        let now = BEGIN + 10_000;
        let script = Arc::new(Mutex::new(script));
        let mut nodes = Vec::new();
        for _ in 0..settings.nodes {
            let behaviour = Behaviour {
                heads: vec![head],
                window: settings.window,
                serves_receipts: dice.roll(2) == 0,
                has_bloom: dice.roll(3) > 0,
            };
            nodes.push(Node::start(script.clone(), behaviour).await);
        }
        let redis = TimedRedis::start(now).await;
        let connection = redis.server.connection().await.expect("a connection");
        let judge = Judge::new(&settings);
        Self {
            seed,
            dice,
            script,
            head,
            nodes,
            redis,
            connection,
            clock: Clock::manual(Duration::from_millis(now)),
            now,
            trackers: (0..settings.trackers).map(|_| None).collect(),
            settings,
            inputs: Inputs::new(),
            judge,
            looked: now,
            caught: None,
            consumed: Vec::new(),
            hindered: BTreeSet::new(),
            acts: Vec::new(),
            shown: None,
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&mut self, what: impl Into<String>) {
        let at = (self.now - BEGIN) as f64 / 1e3;
        self.acts.push(format!("{at:8.2} {}", what.into()));
    }

    fn fail(&self, why: &str) -> ! {
        let acts = self.acts.join("\n  ");
        panic!("CHAIN_SEED={}: {why}\n{:?}\n  {acts}\nCHAIN_SEED={}", self.seed, self.settings, self.seed)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.dice.roll(100) < percent
    }

    fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.dice.roll(to - from + 1)
    }

    /// What was looked at, by kind.
    pub async fn run(mut self) -> BTreeMap<&'static str, u64> {
        self.write_foreign().await;
        for step in 0..STEPS {
            if self.trackers.iter().all(Option::is_none) && (step == 0 || self.chance(70)) {
                self.start_trackers().await;
            }
            match self.dice.roll(20) {
                0..=7 => self.grow().await,
                8..=10 => self.reorganise().await,
                11 => self.fall_back(),
                12..=13 => self.wait().await,
                14 => self.stop_trackers().await,
                15 => self.be_away().await,
                16 => self.consume().await,
                17 => self.hinder().await,
                18 => self.be_silent().await,
                _ => self.disagree().await,
            }
            self.show_head();
            self.look().await;
        }
        self.mend().await;
        self.start_trackers().await;
        self.advance_chain(3).await;
        self.show_head();
        self.look().await;
        self.stop_trackers().await;
        *self.judge.counts.entry("looks").or_default() += STEPS as u64;
        self.judge.counts
    }

    /// Time passes, in milliseconds.
    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.redis.set(self.now);
        self.clock.advance(Duration::from_millis(millis));
    }

    async fn write_foreign(&mut self) {
        let others = MARKETS[3];
        let hash = self.script().hash(1).to_owned();
        for words in [
            vec![
                "SADD".to_owned(),
                format!("SnapshotCollector.{others}.1.{hash}"),
                format!("{others}.1.p.1"),
            ],
            vec!["SADD".to_owned(), format!("EpochMarkerSetKey.{others}"), "1".to_owned()],
            vec!["SET".to_owned(), format!("EpochMarkerDetailsKey.{others}.1"), "{}".to_owned()],
            vec!["SET".to_owned(), format!("{others}.CurrentEpochID"), "1".to_owned()],
            vec!["SET".to_owned(), "somebody:else".to_owned(), "1".to_owned()],
        ] {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _: redis::Value = query(&mut self.connection, &words).await;
        }
        self.judge.foreign = self.read().await;
    }

    // The trackers.

    async fn start_trackers(&mut self) {
        for reader in 0..self.settings.trackers {
            if self.trackers[reader].is_some() {
                continue;
            }
            let nodes: Vec<String> = self.nodes.iter().map(|node| node.url(reader)).collect();
            let markets: Vec<usize> = (0..self.settings.markets).collect();
            let url = self.redis.server.url();
            let tracker = Tracker::start(&url, &nodes, &markets, &self.settings, &self.clock).await;
            tracker.arm(self.settings.crashes);
            self.trackers[reader] = Some(tracker);
            self.tell(format!("tracker {reader} starts"));
        }
        self.caught = None;
    }

    async fn stop_trackers(&mut self) {
        for reader in 0..self.settings.trackers {
            if let Some(tracker) = self.trackers[reader].take() {
                tracker.stop().await;
                self.tell(format!("tracker {reader} is stopped"));
            }
        }
        self.caught = None;
    }

    /// The trackers are away while the chain goes on, and stops; at last it goes on again.
    async fn be_away(&mut self) {
        self.stop_trackers().await;
        let blocks = self.within(1, 4);
        self.advance_chain(blocks).await;
        self.show_head();
        self.wait().await;
        self.start_trackers().await;
        if self.chance(70) {
            self.look().await;
        }
        self.advance_chain(1).await;
    }

    // The chain and the collectors.

    async fn grow(&mut self) {
        let blocks = if self.chance(10) { self.within(17, 40) } else { self.within(1, 5) };
        self.advance_chain(blocks).await;
    }

    async fn advance_chain(&mut self, blocks: u64) {
        // Running trackers see the blocks at the end: not after more time than a window waits for a block.
        let mut left = if self.trackers.iter().any(Option::is_some) { 20 } else { u64::MAX };
        for _ in 0..blocks {
            let seconds = [0, 1, 2, 2, 5, 12][self.dice.roll(6) as usize].min(left);
            left -= seconds;
            self.pass(seconds * 1_000);
            self.mine(self.now / 1_000).await;
        }
    }

    /// A block on the head, with random events and the submissions that come while it is the newest one.
    async fn mine(&mut self, time: u64) {
        let (head, markets, start) = (self.head, self.settings.markets, self.settings.start);
        let (branch, number, earliest) = {
            let script = self.script();
            (script.branch(head), script.blocks[head].number + 1, script.blocks[head].time)
        };
        let mut events = Vec::new();
        for market in 0..MARKETS.len() {
            let known = self.script().releases(market, &branch, 0);
            let last = known.last().map_or(100 * (market as u64 + 1), |(epoch, _)| *epoch);
            // Markets other than the followed ones release epochs too.
            let market = if market < markets { market } else { 3 };
            if self.chance(6) {
                let day = self.script().day(market, head) + 1;
                events.push(Event::Day { market, day });
            }
            if self.chance(30) {
                let epoch = last + if self.chance(10) { 2 } else { 1 };
                events.push(Event::Released { market, epoch });
                if self.chance(10) {
                    events.push(Event::Released { market, epoch });
                }
            }
            if self.chance(8) && !known.is_empty() {
                let epoch = known[self.dice.roll(known.len() as u64) as usize].0;
                // A second release, unless it would be the current one again by its number.
                events.push(Event::Released { market, epoch });
            }
            if self.chance(8) {
                events.push(Event::Completed { market, epoch: last });
            }
            if self.chance(3) {
                events.push(Event::Broken { market, epoch: last + 7 });
            }
        }
        if number < start {
            events.clear();
        }
        let text = format!("{events:?}");
        let mined = self.script().add(head, time.max(earliest), events);
        self.head = mined;
        let hash = self.script().hash(self.head).to_owned();
        self.tell(format!("block {number} ({}, {}) after {head}: {text}", self.head, &hash[..8]));
        self.submit().await;
    }

    /// Submissions at the newest block, for epochs of the last blocks.
    async fn submit(&mut self) {
        let head = self.head;
        let branch = self.script().branch(head);
        let time = self.script().blocks[head].time;
        for market in 0..self.settings.markets {
            let releases = self.script().releases(market, &branch, self.settings.start);
            for (epoch, at) in releases {
                let released = self.script().blocks[branch[at]].time;
                // Some come late: at a block after the last one, where they don't count.
                if time > released + self.settings.window + 20 || !self.chance(60) {
                    continue;
                }
                self.submit_at(market, epoch, head).await;
            }
        }
    }

    async fn submit_at(&mut self, market: usize, epoch: u64, block: Id) {
        let name = MARKETS[market];
        let mut members = BTreeSet::new();
        for _ in 0..self.within(1, 4) {
            let (project, slot) = (self.dice.roll(6), self.dice.roll(10));
            members.insert(match self.dice.roll(25) {
                0 => format!("{name}.{epoch}.broken"),
                1 => format!("{name}.{epoch}.a.project.{slot}"),
                2 => format!("{name}.{epoch}..{slot}"),
                3 => format!("{}.{epoch}.project-{project}.{slot}", MARKETS[3]),
                4 => format!("{name}.{}.project-{project}.{slot}", epoch + 1),
                _ => format!("{name}.{epoch}.project-{project}.{slot}"),
            });
        }
        let key = format!("SnapshotCollector.{name}.{epoch}.{}", self.script().hash(block));
        let mut pipe = redis::pipe();
        pipe.sadd(&key, members.iter().collect::<Vec<_>>()).expire(&key, (INPUTS_LIVE / 1_000) as i64);
        pipe.query_async::<()>(&mut self.connection).await.expect("written");
        self.tell(format!("submissions for {epoch} of {market} at {block}: {members:?}"));
        let input = self.inputs.entry((market, epoch, block)).or_default();
        input.members.extend(members);
        input.until = self.now + INPUTS_LIVE;
    }

    /// Drops blocks; the new branch is lower, as high, or higher.
    async fn reorganise(&mut self) {
        let number = self.script().blocks[self.head].number;
        let accepted = self.judge.tip.unwrap_or(self.head);
        let depth = self.within(1, 8).min(number.saturating_sub(1));
        let fork = self.script().back(self.head, depth);
        // Deeper ones stop the fetcher for good.
        if depth == 0 || self.script().dropped(accepted, fork) >= self.settings.max_reorg_depth {
            return;
        }
        let blocks = match self.dice.roll(4) {
            0 => self.within(1, depth),
            1 => depth,
            _ => depth + self.within(1, 3),
        };
        self.tell(format!("a reorganisation drops {depth} blocks for {blocks}"));
        self.head = fork;
        let mut time = self.script().blocks[fork].time;
        for _ in 0..blocks {
            let now = self.now / 1_000;
            time = (time + self.dice.roll(4)).min(now);
            self.mine(time).await;
        }
    }

    /// The node's chain gets shorter.
    fn fall_back(&mut self) {
        let blocks = self.within(1, 4);
        let shorter = self.script().back(self.head, blocks);
        if shorter != 0 && self.script().blocks[shorter].number >= self.settings.start {
            self.head = shorter;
            self.tell(format!("the chain falls back to block {shorter}"));
        }
    }

    async fn wait(&mut self) {
        let seconds = match self.dice.roll(10) {
            0..=5 => self.within(1, 60),
            6..=7 => self.within(60, 400),
            8 => self.within(1_000, 1_300),
            _ => self.within(1_700, 2_000),
        };
        self.tell(format!("{seconds} s pass"));
        self.pass(seconds * 1_000);
    }

    async fn consume(&mut self) {
        let many = self.dice.roll(20);
        for _ in 0..many {
            let job: Option<String> = query(&mut self.connection, &["RPOP", "finalizerQueue"]).await;
            self.consumed.extend(job);
        }
        self.tell(format!("the finalizer takes {many} batches"));
    }

    /// A key of an open epoch has another type; the next time it is mended.
    async fn hinder(&mut self) {
        if !self.hindered.is_empty() {
            return self.mend().await;
        }
        let branch = self.script().branch(self.head);
        let market = self.dice.roll(self.settings.markets as u64) as usize;
        let releases = self.script().releases(market, &branch, self.settings.start);
        let Some((epoch, _)) = releases.last().copied() else { return };
        if self.judge.is_done(market, epoch) {
            return;
        }
        let key = format!("BatchCountKey.{}.{epoch}", MARKETS[market]);
        let _: u64 = query(&mut self.connection, &["SADD", &key, "a member"]).await;
        let held = Held { kind: "set".to_owned(), words: vec!["a member".to_owned()], expires: None };
        self.judge.foreign.insert(key.clone(), held);
        self.hindered.insert((market, epoch));
        self.tell(format!("{key} is a set"));
    }

    async fn mend(&mut self) {
        for (market, epoch) in std::mem::take(&mut self.hindered) {
            let key = format!("BatchCountKey.{}.{epoch}", MARKETS[market]);
            let _: u64 = query(&mut self.connection, &["DEL", &key]).await;
            self.judge.foreign.remove(&key);
            self.tell(format!("{key} is mended"));
        }
    }

    // Nodes.

    fn show_head(&mut self) {
        let head = self.head;
        self.nodes.iter().for_each(|node| node.behave(|it| it.heads = vec![head]));
    }

    async fn be_silent(&mut self) {
        self.nodes.iter().for_each(|node| node.behave(|it| it.heads.clear()));
        self.tell("no node answers");
        if self.chance(50) {
            self.wait().await;
        }
        self.look().await;
        if self.chance(70) {
            self.advance_chain(2).await;
        }
        self.tell("the nodes answer");
    }

    /// Nodes that show different heads; at the end all of them show the newest one again.
    async fn disagree(&mut self) {
        let (others, kind) = (self.nodes.len() - 1, self.dice.roll(5));
        // A branch is followed once it is higher than what was accepted.
        let accepted = self.trackers.iter().flatten().filter_map(|tracker| tracker.progress.now().checkpoint);
        let accepted = accepted.map(|block| block.number).max().unwrap_or(0);
        while self.script().blocks[self.head].number <= accepted {
            self.advance_chain(1).await;
        }
        let head = self.head;
        if kind == 0 {
            // A balancer in front of nodes of which one is a block behind.
            self.advance_chain(2).await;
            let heads = vec![self.head, self.script().back(self.head, 1)];
            self.tell(format!("all nodes show the heads {heads:?} by turns"));
            self.nodes.iter().for_each(|node| node.behave(|it| it.heads.clone_from(&heads)));
            return self.look_at_head().await;
        }
        if kind == 1 && others > 0 {
            self.advance_chain(1).await;
            let (silent, head) = (self.dice.roll(self.nodes.len() as u64) as usize, self.head);
            self.tell(format!("node {silent} is silent"));
            self.show_head();
            self.nodes[silent].behave(|it| it.heads.clear());
            debug_assert_eq!(head, self.head);
            return self.look_at_head().await;
        }
        if kind == 2 && others > 0 {
            // Stuck on a branch of its own, which the others leave far behind.
            let stuck = self.side_branch(1).await;
            let node = self.dice.roll(self.nodes.len() as u64) as usize;
            self.nodes[node].behave(|it| it.heads = vec![stuck]);
            self.tell(format!("node {node} is stuck at {stuck}"));
            self.head = head;
            // More than a node may lag.
            self.advance_chain(5).await;
            let head = self.head;
            let well = self.nodes.iter().enumerate().filter(|(at, _)| *at != node);
            well.for_each(|(_, it)| it.behave(|it| it.heads = vec![head]));
            self.judge.visited.push(stuck);
            return self.look_at_head().await;
        }
        // Two branches, of which nobody knows which one will stay.
        let more = self.within(1, 3);
        let side = self.side_branch(more).await;
        self.head = head;
        self.advance_chain(1).await;
        let heads = [self.head, side];
        self.tell(format!("the nodes show {heads:?}"));
        for node in 0..self.nodes.len() {
            let heads = if others == 0 { heads.to_vec() } else { vec![heads[node % 2]] };
            self.nodes[node].behave(|it| it.heads = heads);
        }
        self.judge.visited.extend(heads);
        for _ in 0..100 {
            self.pass(TICK);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if self.dice.roll(2) == 0 {
            self.head = side;
        }
        self.tell(format!("the nodes agree on {}", self.head));
        // Higher than both, so that it is followed.
        self.advance_chain(4).await;
    }

    /// A branch beside the head, from a few blocks before it.
    async fn side_branch(&mut self, blocks: u64) -> Id {
        let depth = self.within(1, 4);
        let fork = self.script().back(self.head, depth);
        self.head = fork;
        for _ in 0..depth + blocks - 1 {
            self.mine(self.now / 1_000).await;
        }
        self.head
    }

    /// A look while nodes show different heads, of which the newest block has to be found.
    async fn look_at_head(&mut self) {
        self.shown = Some(vec![(self.head, true)]);
        self.look().await;
        self.shown = None;
    }

    // Looks.

    async fn look(&mut self) {
        self.settle().await;
        let mut queue = self.consumed.clone();
        let mut waiting: Vec<String> =
            query(&mut self.connection, &["LRANGE", "finalizerQueue", "0", "-1"]).await;
        waiting.reverse();
        queue.extend(waiting);
        let seen = self.read().await;
        let rest = Rest {
            from: self.looked,
            to: self.now,
            tips: self.tips(),
            closed_to: self.closed_to(),
            hindered: self.hindered.clone(),
            queue,
            running: self.trackers.iter().any(Option::is_some),
        };
        self.looked = self.now;
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

    fn heads(&self) -> BTreeSet<Id> {
        self.nodes.iter().flat_map(Node::heads).collect()
    }

    /// Where the trackers may rest, and whether that is the head that they see.
    fn tips(&self) -> Vec<(Id, bool)> {
        let running = self.trackers.iter().any(Option::is_some);
        if let Some(shown) = self.shown.as_ref().filter(|_| running) {
            return shown.clone();
        }
        let (script, heads) = (self.script(), self.heads());
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
                tips.push((*head, true));
                if is_lower {
                    tips.push((accepted, false));
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
    async fn settle(&mut self) {
        let began = Instant::now();
        let (mut last, mut marks, mut since) = (String::new(), Vec::new(), self.now);
        let is_silent = self.heads().is_empty();
        let must = match self.tips().as_slice() {
            [(tip, true)] if !is_silent => Some(*tip),
            _ => None,
        };
        while self.trackers.iter().any(Option::is_some) {
            self.pass(TICK);
            tokio::time::sleep(Duration::from_millis(4)).await;
            let digest: String = query(&mut self.connection, &["DEBUG", "DIGEST"]).await;
            let polls: Vec<u64> = (0..self.trackers.len())
                .map(|reader| self.nodes.iter().map(|node| node.polls(reader)).sum())
                .collect();
            if digest != last {
                (last, marks, since) = (digest, polls, self.now);
                continue;
            }
            // A step that crashes has asked too, and is made again.
            let needed = POLLS * if self.settings.crashes > 0 { 4 } else { 1 } + 2 * self.nodes.len() as u64;
            let polled = polls.iter().zip(&marks).all(|(polls, mark)| *polls >= mark + needed);
            let rested = self.now >= since + if is_silent { 3_000 } else { 500 };
            let hindered = self.hindered.len() as u64;
            let is_there = |tracker: &Tracker| {
                let checkpoint = tracker.progress.now().checkpoint.map(|block| block.hash.to_string());
                must.is_none_or(|must| checkpoint.as_deref() == Some(self.script().hash(must)))
            };
            let are_there = polled && self.trackers.iter().flatten().all(is_there);
            if rested && (are_there || is_silent) && self.due().await <= hindered {
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

    /// How many closed windows wait for their batches. The only look at a key of the tracker's own: without it a look could come too
    /// early, never too late.
    async fn due(&mut self) -> u64 {
        const DUE: &str = "
local due = 0
for _, key in ipairs(redis.call('KEYS', 'tracker:chain:*:windows')) do
  for _, window in ipairs(redis.call('HVALS', key)) do
    if string.find(window, 'Closed') then due = due + 1 end
  end
end
return due";
        query(&mut self.connection, &["EVAL", DUE, "0"]).await
    }

    /// All keys.
    async fn read(&mut self) -> Seen {
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
