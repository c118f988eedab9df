//! The shape of a simulated tree: supervisors, actors, policies, limits and edges, all by chance.

use std::{collections::BTreeMap, sync::Arc};

use supervision::{
    Backoff, Child, Clock, Intensity, Limits, Mailbox, Name, OnLimit, Overflow, Policy, Restart, Shutdown,
};

use super::{
    actors::{Parts, Player, Source, ms},
    lives::{Kind, Life},
    mailboxes::BoxModel,
    message::Msg,
    random::Random,
    sending::Way,
    world::World,
};

pub(crate) const OVERFLOWS: [Overflow; 4] =
    [Overflow::Wait, Overflow::Coalesce, Overflow::CoalesceOrWait, Overflow::DropOldest];

/// A member before it is in the tree.
struct Draft {
    me: usize,
    name: Name,
    policy: Policy,
    kind: Kind,
    at: Option<usize>,
    ways: Vec<Way>,
    parts: Option<Arc<Parts>>,
    below: Vec<Draft>,
}

/// A member that may be added later: its edges into the mailboxes of the tree have to be declared before these are in it.
struct Later {
    name: Name,
    ways: Vec<Way>,
}

/// Describes members, and tells the world about them.
pub(crate) struct Builder {
    pub(crate) world: World,
    pub(crate) clock: Clock,
    pub(crate) faults: u64,
    /// The edges of senders outside the tree, one of each kind for each mailbox.
    pub(crate) outside: Vec<Way>,
    /// The edges of actors: the numbers of sender and mailbox.
    pub(crate) edges: Vec<(usize, usize, Overflow)>,
    /// The mailboxes that are in no tree yet.
    mailboxes: BTreeMap<usize, Mailbox<Msg>>,
    later: Vec<Later>,
    made: u64,
}

fn policy(random: &mut Random, is_top: bool) -> Policy {
    // Some restart at once, while sub-tasks of their predecessors are still ending.
    let first = if random.chance(15) { 0 } else { random.between(1, 400) };
    let stall_after = random.chance(70).then(|| ms(random.between(100, 6_000)));
    let escalates = random.chance(if is_top { 2 } else { 20 });
    Policy {
        restart: match random.below(10) {
            0 => Restart::Temporary,
            1 | 2 => Restart::Transient,
            _ => Restart::Permanent,
        },
        intensity: Intensity {
            max_restarts: random.below(5) as u32,
            within: ms(random.between(500, 20_000)),
        },
        on_limit: if escalates { OnLimit::Escalate } else { OnLimit::Degrade },
        backoff: Backoff {
            first: ms(first),
            max: ms(random.between(first, 4_000)),
            jitter: random.chance(60),
            reset_after: ms(random.between(300, 20_000)),
        },
        start_within: ms(random.between(20, 2_000)),
        shutdown: match random.below(10) {
            0 => Shutdown::AtOnce,
            // Only where a hang ends by the watch, else its stop may last for ever.
            1 | 2 if stall_after.is_some() => Shutdown::Unlimited,
            _ => Shutdown::Within(ms(random.between(5, 1_500))),
        },
        stall_after,
        degraded_retry: ms(random.between(50, 5_000)),
        give_up_after: random.chance(if is_top { 6 } else { 12 }).then(|| ms(random.between(1_000, 30_000))),
    }
}

fn limits(random: &mut Random) -> Limits {
    Limits {
        capacity: random.between(1, 6) as usize,
        bytes: random.between(6, 60) as usize,
        batch: random.between(1, 4) as usize,
        max_attempts: random.between(1, 3) as u32,
        dead_letters: random.below(4) as usize,
    }
}

impl Builder {
    pub(crate) fn new(world: &World, clock: &Clock, faults: u64) -> Self {
        Self {
            world: world.clone(),
            clock: clock.clone(),
            faults,
            outside: Vec::new(),
            edges: Vec::new(),
            mailboxes: BTreeMap::new(),
            later: Vec::new(),
            made: 0,
        }
    }

    /// The children of the root.
    pub(crate) fn tree(&mut self) -> Vec<Child> {
        let count = 1 + self.world.below(3);
        let mut drafts: Vec<Draft> = (0..count).map(|_| self.draft(None, None, 3)).collect();
        drafts.iter_mut().for_each(|draft| self.connect(draft));
        for number in 0..6 {
            let name = Name::new(format!("b{number}"));
            let ways = self.ways(&name, None);
            self.later.push(Later { name, ways });
        }
        drafts.into_iter().map(|draft| self.describe(draft)).collect()
    }

    /// A member to be added below `above`, perhaps with the name of one that was removed.
    pub(crate) fn member(&mut self, above: Option<usize>, name: Option<&str>, levels: u64) -> (usize, Child) {
        let mut draft = self.draft(above, name.map(Name::new), levels);
        self.connect(&mut draft);
        (draft.me, self.describe(draft))
    }

    fn draft(&mut self, above: Option<usize>, name: Option<Name>, levels: u64) -> Draft {
        self.made += 1;
        let (kind, policy, limits) = self.world.with(|world| {
            let supervises = levels > 1 && world.random.chance(if above.is_none() { 65 } else { 35 });
            let kind = match world.random.below(6) {
                0 if !supervises => Kind::Worker,
                _ if !supervises => Kind::Actor,
                0 | 1 => Kind::RestForOne,
                2 | 3 => Kind::OneForAll,
                4 => Kind::Independent,
                _ => Kind::OneForOne,
            };
            (kind, policy(&mut world.random, above.is_none()), limits(&mut world.random))
        });
        let may_be_later = name.is_none() && !kind.supervises() && !self.later.is_empty();
        let (name, ways) = if may_be_later && self.world.chance(70) {
            let Later { name, ways } = self.later.remove(0);
            (name, ways)
        } else {
            let letter = if kind.supervises() { 's' } else { 'a' };
            (name.unwrap_or_else(|| Name::new(format!("{letter}{}", self.made))), Vec::new())
        };
        let (me, path) = self.world.with(|world| {
            let path = match above {
                Some(above) => format!("{}/{}", world.lives[above].path, name.as_str()),
                None => name.as_str().to_owned(),
            };
            world.note(format!("{path}: {kind:?} {policy:?}"));
            let mut life = Life::new(&path, policy, above, kind);
            life.start_within = policy.start_within.as_millis() as u64;
            world.lives.push(life);
            (world.lives.len() - 1, path)
        });
        let at = (kind == Kind::Actor).then(|| self.mailbox(me, &path, &name, limits));
        let count = if kind.supervises() { 1 + self.world.below(3) } else { 0 };
        let below: Vec<Draft> = (0..count).map(|_| self.draft(Some(me), None, levels - 1)).collect();
        if kind.supervises() {
            self.world.with(|world| {
                let children = below.iter().map(|draft| world.lives[draft.me].start_within).sum::<u64>();
                world.lives[me].start_within = 1_000 + children;
            });
        }
        Draft { me, name, policy, kind, at, ways, parts: None, below }
    }

    fn mailbox(&mut self, me: usize, path: &str, name: &Name, limits: Limits) -> usize {
        let mailbox = Mailbox::new(name, limits, &self.clock);
        let at = self.world.with(|world| {
            world.note(format!("{path}: {limits:?}"));
            world.boxes.push(BoxModel::new(path, me, limits, mailbox.view()));
            world.lives[me].mailbox = Some(world.boxes.len() - 1);
            world.boxes.len() - 1
        });
        for overflow in OVERFLOWS {
            let from = format!("outside-{overflow:?}");
            self.outside.push(Way { address: mailbox.address(&*from, overflow), overflow, to: at, from });
        }
        self.mailboxes.insert(at, mailbox);
        at
    }

    /// Edges into mailboxes that are in no tree yet. One that waits leads from a later mailbox to an earlier one, so they form no
    /// cycle; an actor without a mailbox can be in none.
    fn ways(&self, name: &Name, at: Option<usize>) -> Vec<Way> {
        let mut ways: Vec<Way> = Vec::new();
        for _ in 0..self.world.below(4) {
            let nth = self.world.below(self.mailboxes.len() as u64) as usize;
            let overflow = OVERFLOWS[self.world.below(4) as usize];
            let Some((&to, mailbox)) = self.mailboxes.iter().nth(nth) else { continue };
            if (overflow.waits() && at.is_some_and(|at| to >= at)) || ways.iter().any(|way| way.to == to) {
                continue;
            }
            let from = name.as_str().to_owned();
            ways.push(Way { address: mailbox.address(name, overflow), overflow, to, from });
        }
        ways
    }

    /// Gives an actor, and all below it, its edges.
    fn connect(&mut self, draft: &mut Draft) {
        let (me, at) = (draft.me, draft.at);
        if !draft.kind.supervises() {
            let mut ways = std::mem::take(&mut draft.ways);
            if ways.is_empty() {
                ways = self.ways(&draft.name, at);
            }
            let own = at.map(|at| {
                let overflow = if self.world.chance(50) { Overflow::DropOldest } else { Overflow::Coalesce };
                let from = draft.name.as_str().to_owned();
                Way { address: self.mailboxes[&at].address(&draft.name, overflow), overflow, to: at, from }
            });
            self.edges.extend(ways.iter().chain(&own).map(|way| (me, way.to, way.overflow)));
            let at = at.unwrap_or(usize::MAX);
            let (world, faults) = (self.world.clone(), self.faults);
            draft.parts = Some(Arc::new(Parts { world, me, at, ways, own, faults }));
        }
        draft.below.iter_mut().for_each(|draft| self.connect(draft));
    }

    fn describe(&mut self, draft: Draft) -> Child {
        let Draft { name, policy, kind, at, parts, below, .. } = draft;
        let children: Vec<Child> = below.into_iter().map(|draft| self.describe(draft)).collect();
        let child = match (kind, parts) {
            (Kind::RestForOne, _) => Child::rest_for_one(&name, children),
            (Kind::Independent, _) => Child::independent(&name, children),
            (Kind::OneForAll, _) => Child::one_for_all(&name, children),
            (Kind::Worker, Some(parts)) => Child::worker(&name, move || Source::new(&parts)),
            (Kind::Actor, Some(parts)) => {
                let mailbox = at.and_then(|at| self.mailboxes.remove(&at)).expect("an actor has a mailbox");
                Child::actor(mailbox, move || Player::new(&parts))
            }
            (..) => Child::supervisor(&name, children),
        };
        child.policy(policy)
    }
}
