//! The chain grows and loses blocks, collectors submit, other programs write.

use std::collections::BTreeSet;

use testkit::contents::query;

use super::{
    super::{
        judge::{Held, INPUTS_LIVE},
        script::{Event, Id, MARKETS},
    },
    History,
    looks::QUEUES,
};

impl History {
    pub(super) async fn grow(&mut self) {
        let blocks = if self.chance(10) { self.within(17, 40) } else { self.within(1, 5) };
        self.advance_chain(blocks).await;
    }

    pub(super) async fn advance_chain(&mut self, blocks: u64) {
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
    pub(super) async fn mine(&mut self, time: u64) {
        let (head, markets, start) = (self.head, self.settings.markets, self.settings.start);
        let (branch, number, earliest) = {
            let script = self.script();
            (script.branch(head), script.blocks[head].number + 1, script.blocks[head].time)
        };
        let mut events = Vec::new();
        for market in 0..MARKETS.len() {
            let known = self.script().releases(market, &branch, 0);
            // Markets other than the followed ones release epochs too.
            self.add_events(if market < markets { market } else { 3 }, &known, &mut events);
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

    /// Random events of a market, of which these epochs were released on the branch.
    fn add_events(&mut self, market: usize, known: &[(u64, usize)], events: &mut Vec<Event>) {
        let last = known.last().map_or(100 * (market as u64 + 1), |(epoch, _)| *epoch);
        if self.chance(6) {
            let day = self.script().day(market, self.head) + 1;
            events.push(Event::Day { market, day });
        }
        if self.settings.contracts_vary && self.chance(6) {
            let seconds = [2, 4, 10, 20, 60][self.dice.roll(5) as usize];
            events.push(Event::Length { market, seconds });
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
        // Few different ones, so that a new branch often has those of the dropped one again.
        for _ in 0..self.dice.roll(8).saturating_sub(5) {
            let batch = self.dice.roll(2);
            events.push(Event::Submitted { market, epoch: last, batch });
        }
        if self.chance(8) {
            events.push(Event::Completed { market, epoch: last });
        }
        if self.chance(3) {
            events.push(Event::Broken { market, epoch: last + 7 });
        }
    }

    /// The epochs of a market that were released while it was followed, with the indices of their blocks on a branch.
    fn followed_releases(&self, market: usize, branch: &[Id]) -> Vec<(u64, usize)> {
        let Some(first) = self.judge.followed_since(market) else { return Vec::new() };
        self.script().releases(market, branch, first.max(self.settings.start))
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
                let length = self.script().length(market, branch[at]).unwrap_or(self.settings.window);
                if time > released + length + 20 || !self.chance(60) {
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
    pub(super) async fn reorganise(&mut self) {
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
    pub(super) fn fall_back(&mut self) {
        let blocks = self.within(1, 4);
        let shorter = self.script().back(self.head, blocks);
        if shorter != 0 && self.script().blocks[shorter].number >= self.settings.start {
            self.head = shorter;
            self.tell(format!("the chain falls back to block {shorter}"));
        }
    }

    pub(super) async fn wait(&mut self) {
        // Windows that nobody prepares are given up long after they have expired.
        let prepared = self.prepared(|_| true);
        let is_left = (0..self.settings.markets).any(|it| self.judge.follows(it) && !prepared.contains(&it));
        let seconds = match self.dice.roll(10) {
            0..=3 if is_left && !prepared.is_empty() => self.within(1_150, 2_400),
            0..=5 => self.within(1, 60),
            6..=7 => self.within(60, 400),
            8 => self.within(1_000, 1_300),
            _ => self.within(1_700, 2_000),
        };
        self.tell(format!("{seconds} s pass"));
        self.pass(seconds * 1_000);
    }

    pub(super) async fn consume(&mut self) {
        let many = self.dice.roll(20);
        for (which, queue) in QUEUES.iter().enumerate() {
            for _ in 0..many {
                let job: Option<String> = query(&mut self.connection, &["RPOP", queue]).await;
                self.consumed[which].extend(job);
            }
        }
        self.tell(format!("finalizer and attestor take {many} batches"));
    }

    /// A key of an open epoch has another type; the next time it is mended.
    pub(super) async fn hinder(&mut self) {
        if !self.hindered.is_empty() {
            return self.mend().await;
        }
        let branch = self.script().branch(self.head);
        let market = self.dice.roll(self.settings.markets as u64) as usize;
        let releases = self.followed_releases(market, &branch);
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
        if self.chance(50) {
            // The clock closes the window, and the block with which it does so is dropped.
            self.look().await;
            let seconds = self.within(30, 95);
            self.tell(format!("{seconds} s pass"));
            self.pass(seconds * 1_000);
            self.look().await;
            self.reorganise().await;
        }
    }

    pub(super) async fn mend(&mut self) {
        for (market, epoch) in std::mem::take(&mut self.hindered) {
            let key = format!("BatchCountKey.{}.{epoch}", MARKETS[market]);
            let _: u64 = query(&mut self.connection, &["DEL", &key]).await;
            self.judge.foreign.remove(&key);
            self.tell(format!("{key} is mended"));
        }
    }

    /// Another program marks an epoch that is over.
    pub(super) async fn plant(&mut self) {
        let market = self.dice.roll(self.settings.markets as u64) as usize;
        let done = self.judge.handed_over(market);
        if done.is_empty() {
            return;
        }
        let epoch = done[self.dice.roll(done.len() as u64) as usize];
        let set = format!("EpochMarkerSetKey.{}", MARKETS[market]);
        let _: u64 = query(&mut self.connection, &["SADD", &set, &epoch.to_string()]).await;
        self.judge.plant(market, epoch);
        self.tell(format!("another program marks {epoch} of {market}"));
    }
}
