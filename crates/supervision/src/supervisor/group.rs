//! The members that a supervisor should have, whether or not it runs now.
//!
//! To add or remove a member, change this list and wake the supervisor, which starts or stops the member. It touches only the
//! seats.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::plan::{Index, KILL_GRACE};
use crate::{actor::Life, edges::Edge, health::State, policy::Strategy, reports::BadDescription, seat::Seat};

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

    /// Notes its place and those below it; see [`Group::note_places`].
    pub(crate) fn note_places(&self, parent: &str, places: &mut Places) -> Result<(), BadDescription> {
        let path = &self.seat.path;
        let name = path.strip_prefix(parent).unwrap_or(path);
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() || name.contains('/') {
            return Err(BadDescription::BadName(name.to_owned()));
        }
        if !places.paths.insert(path.clone()) {
            return Err(BadDescription::Duplicate(path.clone()));
        }
        if let Some(mailbox) = &self.seat.mailbox
            && let Some(first) = places.mailboxes.insert(mailbox.identity(), path.clone())
        {
            return Err(BadDescription::SharedMailbox { first, second: path.clone() });
        }
        match &self.kind {
            MemberKind::Worker(_) => Ok(()),
            MemberKind::Supervisor(group) => group.note_places(path, places),
        }
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

    /// Marks everything below an ended supervisor as down. If it ended for good, closes their mailboxes and lets go of the
    /// leaving members.
    pub(super) fn fell(&self, for_good: bool) {
        let MemberKind::Supervisor(group) = &self.kind else { return };
        for member in group.members().values() {
            member.seat.set_state(if for_good { State::Stopped } else { State::Waiting });
            if for_good {
                member.seat.mailbox.iter().for_each(|mailbox| mailbox.close());
            }
            member.fell(for_good);
        }
        if for_good {
            group.dismiss_leaving();
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

/// The places of a tree, to find out what can't be in it twice.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) paths: HashSet<String>,
    /// Who reads each mailbox.
    pub(crate) mailboxes: HashMap<usize, String>,
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
    let all =
        |all: Duration, stop_within: Duration| all.saturating_add(stop_within).saturating_add(KILL_GRACE);
    children.fold(Duration::from_secs(1), all)
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

    /// Lets go of the leaving members where no supervisor runs that would do it.
    pub(crate) fn dismiss_leaving(&self) {
        let leaving: Vec<_> = self
            .lock()
            .present
            .extract_if(.., |_, member| member.is_leaving())
            .map(|(_, member)| member)
            .collect();
        leaving.iter().for_each(|member| member.dismiss());
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

    /// Notes the places of everything below `path`.
    ///
    /// # Errors
    /// [`BadDescription`] when names are wrong or double, or two members read one mailbox.
    pub(crate) fn note_places(&self, path: &str, places: &mut Places) -> Result<(), BadDescription> {
        self.members().values().try_for_each(|member| member.note_places(path, places))
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
