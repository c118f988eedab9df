//! The members that a supervisor should have, whether or not it runs now.
//!
//! To add or remove a member, change this list and wake the supervisor, which starts or stops the member. It touches only the
//! seats.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::plan::{Index, KILL_GRACE};
use crate::{actor::Life, edges::Edge, health::State, policy::Strategy, seat::Seat};

/// A member of a group: its seat, and the actor or the group in it.
pub(crate) struct Member {
    pub(crate) seat: Arc<Seat>,
    pub(crate) kind: MemberKind,
    /// Whether it is to end for good.
    leaving: AtomicBool,
    /// Cancelled when it has left: it ended, or could not be ended.
    left: CancellationToken,
}

impl Member {
    pub(crate) fn new(seat: Arc<Seat>, kind: MemberKind) -> Self {
        Self { seat, kind, leaving: AtomicBool::new(false), left: CancellationToken::new() }
    }

    /// The declared edges to it and all below it.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let mut edges = self.seat.edges();
        if let MemberKind::Supervisor(group) = &self.kind {
            edges.extend(group.edges());
        }
        edges
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Makes it leave when its supervisor next reads the group. The token is cancelled when it has left.
    pub(crate) fn leave(&self) -> CancellationToken {
        self.leaving.store(true, Relaxed);
        self.left.clone()
    }

    /// The deadline of its stop. A supervisor may have more children than when it was described.
    pub(super) fn stop_within(&self) -> Duration {
        match &self.kind {
            MemberKind::Worker(_) => self.seat.policy.stop_within,
            MemberKind::Supervisor(group) => {
                let needed = stop_within_of(group.members().values().map(|member| member.stop_within()));
                self.seat.policy.stop_within.max(needed)
            }
        }
    }

    /// Marks it and everything below it as left: closes their mailboxes, so that no sender waits for them.
    pub(super) fn dismiss(&self) {
        self.seat.mailbox.iter().for_each(|mailbox| mailbox.close());
        self.seat.set_state(State::Stopped);
        if let MemberKind::Supervisor(group) = &self.kind {
            group.members().values().for_each(|member| member.dismiss());
        }
        self.left.cancel();
    }
}

/// Creates one incarnation, from its stop token and a callback for when it is ready.
pub(crate) type MakeLife =
    Box<dyn Fn(Arc<Seat>, CancellationToken, Box<dyn FnOnce() + Send>) -> Life + Send + Sync>;

pub(crate) enum MemberKind {
    Worker(MakeLife),
    Supervisor(Arc<Group>),
}

/// The members under one supervisor, in start order. This is the wanted state; the supervisor establishes it.
pub(crate) struct Group {
    pub(super) strategy: Strategy,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// The next number. No number is used twice: a late message about a removed member must not reach a new one.
    next: Index,
    present: BTreeMap<Index, Arc<Member>>,
}

/// How long a supervisor may take to stop, from what its children may take: it must not be killed while it still waits
/// for them.
pub(crate) fn stop_within_of(children: impl Iterator<Item = Duration>) -> Duration {
    Duration::from_secs(1) + children.map(|stop_within| stop_within + KILL_GRACE).sum::<Duration>()
}

impl Group {
    pub(crate) fn new(strategy: Strategy, members: impl IntoIterator<Item = Member>) -> Self {
        let group = Self { strategy, members: Mutex::default() };
        members.into_iter().for_each(|member| group.insert(member));
        group
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its members now, by their numbers.
    pub(super) fn members(&self) -> BTreeMap<Index, Arc<Member>> {
        // A copy, so that no lock is held while the caller visits members and their groups.
        self.lock().present.clone()
    }

    pub(super) fn member(&self, index: Index) -> Option<Arc<Member>> {
        self.lock().present.get(&index).cloned()
    }

    pub(super) fn take(&self, index: Index) -> Option<Arc<Member>> {
        self.lock().present.remove(&index)
    }

    /// Adds a member after all others. The caller has to wake the supervisor.
    pub(crate) fn insert(&self, member: Member) {
        let mut members = self.lock();
        let index = members.next;
        members.next += 1;
        members.present.insert(index, Arc::new(member));
    }

    /// Calls `visit` with every member below, in start order, and the seat of its supervisor where that is below too.
    pub(crate) fn visit(
        &self,
        above: Option<&Arc<Seat>>,
        visit: &mut impl FnMut(&Arc<Member>, Option<&Arc<Seat>>),
    ) {
        for member in self.members().values() {
            visit(member, above);
            if let MemberKind::Supervisor(group) = &member.kind {
                group.visit(Some(&member.seat), visit);
            }
        }
    }

    /// Calls `visit` with every seat below, in start order.
    pub(crate) fn walk(&self, visit: &mut impl FnMut(&Arc<Seat>)) {
        self.visit(None, &mut |member, _| visit(&member.seat));
    }

    /// The declared edges to all below.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        self.members().values().flat_map(|member| member.edges()).collect()
    }

    /// Closes every mailbox below.
    pub(crate) fn close_mailboxes(&self) {
        self.walk(&mut |seat| seat.mailbox.iter().for_each(|mailbox| mailbox.close()));
    }

    /// The paths of the actors below that did not end even when they were killed.
    pub(crate) fn overdue(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk(&mut |seat| {
            if matches!(seat.state(), State::Abandoned) || seat.has_incarnation() {
                paths.push(seat.path.clone());
            }
        });
        paths
    }
}
