//! The members that a supervisor should have, whether or not it runs now.
//!
//! To add or remove a member, change this list: its supervisor is notified, and starts or stops the member. It touches only the
//! slots.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    cell::Life,
    edges::Edge,
    name::Name,
    plan::{Index, KILL_GRACE},
    policy::Strategy,
    slot::Slot,
    state::State,
    sync::{CancellationToken, Mutex, MutexGuard, lock},
};

/// A member of a group: its slot, and the actor or the group in it.
pub(crate) struct Member {
    pub(crate) name: Name,
    pub(crate) slot: Arc<Slot>,
    pub(crate) kind: MemberKind,
    /// Whether it is to end for good.
    leaving: AtomicBool,
    /// Cancelled when it has left: it ended, or could not be ended. Made when somebody needs it.
    left: OnceLock<CancellationToken>,
}

pub(crate) enum MemberKind {
    Actor(MakeLife),
    Supervisor(Arc<Group>),
}

/// Creates one incarnation, from its slot, its stop token and a callback for when it is ready.
pub(crate) type MakeLife =
    Box<dyn Fn(Arc<Slot>, CancellationToken, Box<dyn FnOnce() + Send>) -> Life + Send + Sync>;

impl Member {
    pub(crate) fn new(name: Name, slot: Arc<Slot>, kind: MemberKind) -> Self {
        Self { name, slot, kind, leaving: AtomicBool::new(false), left: OnceLock::new() }
    }

    /// The group below it, if it is a supervisor.
    pub(crate) fn group(&self) -> Option<&Arc<Group>> {
        match &self.kind {
            MemberKind::Actor(_) => None,
            MemberKind::Supervisor(group) => Some(group),
        }
    }

    /// Calls `visit` with it and everything below it, in start order.
    pub(crate) fn walk(self: &Arc<Self>, visit: &mut impl FnMut(&Arc<Member>)) {
        visit(self);
        self.group().into_iter().for_each(|group| group.walk(visit));
    }

    /// The declared edges to it and all below it.
    pub(crate) fn edges(self: &Arc<Self>) -> Vec<Edge> {
        let mut edges = Vec::new();
        self.walk(&mut |member| edges.extend(member.slot.edges()));
        edges
    }

    fn left(&self) -> &CancellationToken {
        self.left.get_or_init(CancellationToken::new)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// How long it may take to stop; `None` without a limit. A supervisor may have more children than when it was described.
    pub(crate) fn stop_within(&self) -> Option<Duration> {
        match &self.kind {
            MemberKind::Actor(_) => self.slot.policy.shutdown.limit(),
            MemberKind::Supervisor(group) => {
                let own = self.slot.policy.shutdown.limit()?;
                let members = group.members();
                let needed =
                    stop_within_of(group.strategy, members.values().map(|member| member.stop_within()))?;
                Some(own.max(needed))
            }
        }
    }

    /// Accepts nothing more, so that no sender waits for it.
    pub(crate) fn close(&self) {
        self.slot.mailbox.iter().for_each(|mailbox| mailbox.close());
    }

    /// Marks everything below an ended supervisor as down. If it ended for good, closes their mailboxes and lets go of the
    /// leaving members.
    pub(crate) fn fell(&self, for_good: bool) {
        let MemberKind::Supervisor(group) = &self.kind else { return };
        for member in group.members().values() {
            member.slot.show_state(if for_good { State::Stopped } else { State::Waiting });
            if for_good {
                member.close();
            }
            member.fell(for_good);
        }
        if for_good {
            group.dismiss_leaving();
        }
    }

    /// Marks it and everything below it as left.
    pub(crate) fn dismiss(&self) {
        self.close();
        self.slot.show_state(State::Stopped);
        if let MemberKind::Supervisor(group) = &self.kind {
            group.members().values().for_each(|member| member.dismiss());
        }
        self.left().cancel();
    }
}

/// How long a supervisor may take to stop, from what its children may take: it must not be killed while it still waits
/// for them. `None` without a limit.
pub(crate) fn stop_within_of(
    strategy: Strategy,
    mut children: impl Iterator<Item = Option<Duration>>,
) -> Option<Duration> {
    let own = Duration::from_secs(1);
    let needed = |child: Option<Duration>| child.map(|child| child.saturating_add(KILL_GRACE));
    match strategy {
        // All at once: as long as the slowest of them.
        Strategy::Independent => {
            let slowest = children.try_fold(Duration::ZERO, |all, child| Some(all.max(needed(child)?)));
            Some(own.saturating_add(slowest?))
        }
        _ => children.try_fold(own, |all, child| Some(all.saturating_add(needed(child)?))),
    }
}

/// The members under one supervisor, in start order. This is the wanted state; the supervisor establishes it.
pub(crate) struct Group {
    pub(crate) strategy: Strategy,
    state: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// The next number. No number is used twice: a late message about a removed member must not reach a new one.
    next: Index,
    present: BTreeMap<Index, Arc<Member>>,
    by_name: HashMap<Box<str>, Index>,
    /// Added or leaving since their supervisor last read the list.
    changed: Vec<Index>,
    /// Tells the supervisor that runs now.
    on_change: Option<Box<dyn Fn() + Send>>,
}

impl Members {
    fn take(&mut self, index: Index) -> Option<Arc<Member>> {
        let member = self.present.remove(&index)?;
        self.by_name.remove(member.name.as_str());
        Some(member)
    }

    fn tell(&mut self, index: Index) {
        self.changed.push(index);
        self.on_change.iter().for_each(|tell| tell());
    }
}

impl Group {
    /// Members whose names are their own, which [`Child`](crate::Child) has checked.
    pub(crate) fn new(strategy: Strategy, members: impl IntoIterator<Item = Member>) -> Self {
        let group = Self { strategy, state: Mutex::default() };
        for member in members {
            group.insert(Arc::new(member));
        }
        group
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.state)
    }

    /// Its members now, by their numbers.
    pub(crate) fn members(&self) -> BTreeMap<Index, Arc<Member>> {
        // A copy, so that no lock is held while the caller visits members and their groups.
        self.lock().present.clone()
    }

    pub(crate) fn member(&self, index: Index) -> Option<Arc<Member>> {
        self.lock().present.get(&index).cloned()
    }

    /// The member with this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Member>> {
        let members = self.lock();
        members.by_name.get(name).and_then(|index| members.present.get(index)).cloned()
    }

    /// The member at a path below this group, after the supervisors above it, the highest first.
    pub(crate) fn find(&self, path: &str) -> Option<(Arc<Member>, Vec<Arc<Member>>)> {
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let mut member = self.named(first)?;
        let mut above = Vec::new();
        for name in rest.into_iter().flat_map(|rest| rest.split('/')) {
            let below = member.group()?.named(name)?;
            above.push(std::mem::replace(&mut member, below));
        }
        Some((member, above))
    }

    /// A supervisor begins: from now on `tell` notifies it of changes. Returns all members.
    pub(crate) fn begin(&self, tell: impl Fn() + Send + 'static) -> BTreeMap<Index, Arc<Member>> {
        let mut members = self.lock();
        members.on_change = Some(Box::new(tell));
        members.changed.clear();
        members.present.clone()
    }

    /// The members that were added or asked to leave since the last call.
    pub(crate) fn take_changed(&self) -> Vec<(Index, Arc<Member>)> {
        let mut members = self.lock();
        let changed = std::mem::take(&mut members.changed);
        changed.into_iter().filter_map(|index| Some((index, members.present.get(&index)?.clone()))).collect()
    }

    pub(crate) fn take(&self, index: Index) -> Option<Arc<Member>> {
        self.lock().take(index)
    }

    /// Lets go of the leaving members where no supervisor runs that would do it.
    pub(crate) fn dismiss_leaving(&self) {
        let leaving: Vec<Arc<Member>> = {
            let mut members = self.lock();
            let leaving = members.present.iter().filter(|(_, member)| member.is_leaving());
            let leaving: Vec<Index> = leaving.map(|(&index, _)| index).collect();
            leaving.into_iter().filter_map(|index| members.take(index)).collect()
        };
        leaving.iter().for_each(|member| member.dismiss());
    }

    /// Adds a member after all others; `false` when its name is taken.
    pub(crate) fn insert(&self, member: Arc<Member>) -> bool {
        let mut members = self.lock();
        if members.by_name.contains_key(member.name.as_str()) {
            return false;
        }
        let index = members.next;
        members.next += 1;
        members.by_name.insert(member.name.as_str().into(), index);
        members.present.insert(index, member);
        members.tell(index);
        true
    }

    /// Makes a member leave. The token is cancelled when it has left.
    pub(crate) fn leave(&self, member: &Member) -> CancellationToken {
        let mut members = self.lock();
        member.leaving.store(true, Relaxed);
        if let Some(&index) = members.by_name.get(member.name.as_str()) {
            members.tell(index);
        }
        member.left().clone()
    }

    /// Calls `visit` with every member below, in start order.
    pub(crate) fn walk(&self, visit: &mut impl FnMut(&Arc<Member>)) {
        // A copy, so that no lock is held while `visit` looks at members and their groups.
        let members: Vec<Arc<Member>> = self.lock().present.values().cloned().collect();
        members.iter().for_each(|member| member.walk(visit));
    }

    /// The declared edges to all below.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        self.members().values().flat_map(|member| member.edges()).collect()
    }

    /// The tree has ended: nothing below runs any more, or is started again.
    pub(crate) fn end(&self) {
        self.walk(&mut |member| {
            member.close();
            if member.slot.state() != State::Abandoned {
                member.slot.show_state(State::Stopped);
            }
        });
    }

    /// Closes every mailbox below.
    pub(crate) fn close_mailboxes(&self) {
        self.walk(&mut |member| member.close());
    }

    /// The paths of the actors below that did not end even when they were killed.
    pub(crate) fn overdue(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk(&mut |member| {
            if member.slot.state() == State::Abandoned || member.slot.has_incarnation() {
                paths.push(member.slot.path().to_owned());
            }
        });
        paths
    }
}
