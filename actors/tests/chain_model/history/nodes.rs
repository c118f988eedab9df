//! What nodes and contracts do.

use std::time::Duration;

use super::{super::script::Id, History, looks::TICK};

impl History {
    pub(super) fn show_head(&mut self) {
        let head = self.head;
        self.nodes.iter().for_each(|node| node.behave(|it| it.heads = vec![head]));
    }

    pub(super) async fn be_silent(&mut self) {
        self.asked.clear();
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
    pub(super) async fn disagree(&mut self) {
        self.asked.clear();
        let (others, mut kind) = (self.nodes.len() - 1, self.dice.roll(5));
        // Where a market was taken over meanwhile, it would not be known from which block on it is followed.
        if self.is_young() {
            kind = self.dice.roll(2);
        }
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
        if !self.is_young() {
            self.part().await;
        }
    }

    /// Two branches, of which nobody knows which one will stay.
    async fn part(&mut self) {
        let (head, others) = (self.head, self.nodes.len() - 1);
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

    /// The contract of a market answers nothing, or again.
    pub(super) fn vary_contract(&mut self) {
        if self.is_young() {
            return;
        }
        let market = self.dice.roll(self.settings.markets as u64) as usize;
        if !self.failing.remove(&market) {
            self.failing.insert(market);
        }
        let failing = self.failing.clone();
        self.nodes.iter().for_each(|node| node.behave(|it| it.failing.clone_from(&failing)));
        self.asked.clear();
        self.tell(format!("the contracts of {failing:?} answer nothing"));
    }
}
