//! The node of the demo that lies now and then: a proxy in front of the real one. Which lie it tells at which block follows from a
//! seed. It touches the proxy only.

use testkit::{Dice, RpcFault, RpcProxy};

/// How many blocks behind its old heads are, at least; other nodes then know that it lags.
const BEHIND: u64 = 4;

/// What it does while a block is the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Refuses,
    OldHead,
    OtherBranch,
    HidesEvents,
}

impl Lie {
    const ALL: [Self; 4] = [Self::Refuses, Self::OldHead, Self::OtherBranch, Self::HidesEvents];

    fn words(self) -> &'static str {
        match self {
            Self::Refuses => "refuses to answer",
            Self::OldHead => "reports an old block as the newest",
            Self::OtherBranch => "shows a block of another branch",
            Self::HidesEvents => "hides the events",
        }
    }
}

pub(super) struct Liar<'a> {
    node: &'a RpcProxy,
    dice: Dice,
    seed: u64,
    /// With `--calm` it never lies.
    calm: bool,
    now: Option<Lie>,
    /// How many requests it had when it chose this.
    asked: u64,
    /// At how many blocks it told each lie. While it is set aside nobody asks, and nothing is told.
    told: [u64; Lie::ALL.len()],
}

impl<'a> Liar<'a> {
    pub(super) fn new(node: &'a RpcProxy, seed: u64, calm: bool) -> Self {
        Self { node, dice: Dice::new(seed), seed, calm, now: None, asked: 0, told: [0; Lie::ALL.len()] }
    }

    /// Chooses what it does while the block of this height is the newest one: the truth at every second block, on average.
    pub(super) fn next(&mut self, height: u64) {
        self.count();
        let rolled = self.dice.roll(2 * Lie::ALL.len() as u64) as usize;
        // Rolled before, so that a seed gives the same lies at the same blocks whatever is chosen.
        let refusal = self.dice.roll(3);
        let behind = BEHIND + self.dice.roll(BEHIND);
        self.now = Lie::ALL.get(rolled).copied().filter(|_| !self.calm);
        let Some(lie) = self.now else { return self.node.clear() };
        self.node.set(match (lie, refusal) {
            (Lie::Refuses, 0) => RpcFault::Status(503),
            (Lie::Refuses, 1) => RpcFault::TooManyRequests { retry_after: None },
            (Lie::Refuses, _) => RpcFault::MalformedJson,
            (Lie::OldHead, _) => RpcFault::Frozen(height.saturating_sub(behind)),
            (Lie::OtherBranch, _) => RpcFault::OtherBranch(height),
            (Lie::HidesEvents, 0) => RpcFault::NoLogsNorReceipts,
            (Lie::HidesEvents, _) => RpcFault::NoLogs,
        });
    }

    /// Tells the truth from now on: of the newest block of all nothing could tell a wrong branch.
    pub(super) fn end(&mut self) {
        self.count();
        self.now = None;
        self.node.clear();
    }

    /// Counts the present lie, if a request was answered with it.
    fn count(&mut self) {
        let asked = self.node.requests();
        let lie = self.now.filter(|_| asked > self.asked);
        for (_, told) in Lie::ALL.iter().zip(&mut self.told).filter(|(known, _)| Some(**known) == lie) {
            *told += 1;
        }
        self.asked = asked;
    }

    /// The row of the screen.
    pub(super) fn shown(&self) -> String {
        if self.calm {
            return "two nodes, and both tell the truth".to_owned();
        }
        let (seed, lies) = (self.seed, self.told.iter().sum::<u64>());
        let now = self.now.map_or("tells the truth", Lie::words);
        format!("one of the two nodes lies now and then (seed {seed}): {lies} lies, now it {now}")
    }

    /// What it did, for the end.
    pub(super) fn summary(&self) -> Option<String> {
        let told = Lie::ALL.iter().zip(self.told).map(|(lie, times)| format!("{}: {times}", lie.words()));
        let told: Vec<String> = told.collect();
        let seed = self.seed;
        (!self.calm).then(|| {
            format!("the lying node (blocks at which it {}); --seed {seed} repeats its lies", told.join(", "))
        })
    }
}
