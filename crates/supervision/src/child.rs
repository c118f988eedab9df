//! The description of a member of a tree, before it is part of one.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::{
    Clock,
    actor::{self, Actor, WithoutMessages, Worker},
    env::Env,
    group::{Group, Member, MemberKind, stop_within_of},
    mailbox::{AnyMailbox, Limits, Mailbox},
    name::Name,
    policy::{Policy, Shutdown, Strategy},
    slot::Slot,
};

/// The description of one member of a tree. It runs after [`Tree::start`](crate::Tree::start) or
/// [`Tree::add_child`](crate::Tree::add_child).
pub struct Child {
    name: Name,
    policy: Arc<Policy>,
    kind: ChildKind,
}

enum ChildKind {
    Actor { mailbox: Option<Arc<dyn AnyMailbox>>, kind: MemberKind },
    Supervisor(Strategy, Vec<Child>),
}

/// The path of the root supervisor. The paths of its children do not begin with it.
pub(crate) const ROOT: &str = "root";

/// A description of children that can't become a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDescription {
    /// Two children of one supervisor have this path.
    #[error("two children have the path {0}: give each child of a supervisor its own name")]
    Duplicate(String),
    /// A name is empty, or has a slash, which separates the names of a path, or is that of the root for a child of the root.
    #[error("`{0}` is no name of a child: it must not be empty, have a slash, or be `root` below the root")]
    BadName(String),
    /// The name value of one actor was used for another one.
    #[error("the name of {0} was used for two actors: make a Name for each")]
    NameUsedTwice(String),
}

impl Child {
    /// An actor that reads `mailbox` and has its name; `make` creates the value of each incarnation.
    pub fn actor<A: Actor>(
        mailbox: Mailbox<A::Message>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let (name, any) = (mailbox.name().clone(), mailbox.any());
        let kind = ChildKind::Actor { mailbox: Some(any), kind: member_kind(mailbox, make) };
        Self { name, policy: usual_policy(), kind }
    }

    /// An actor without a mailbox.
    pub fn worker<W: Worker>(name: impl Into<Name>, make: impl Fn() -> W + Send + Sync + 'static) -> Self {
        let name = name.into();
        // Without a sender this mailbox stays empty, and it is not shown.
        let mailbox = Mailbox::new(&name, Limits::default(), &Clock::system());
        let kind = member_kind(mailbox, move || WithoutMessages(make()));
        Self { name, policy: usual_policy(), kind: ChildKind::Actor { mailbox: None, kind } }
    }

    /// A supervisor over `children`, one for one; they start in this order and stop in reverse.
    pub fn supervisor(name: impl Into<Name>, children: Vec<Child>) -> Self {
        Self::group(name.into(), Strategy::OneForOne, children)
    }

    /// A supervisor over `children` that do not need each other, one for one: they start in this order, and when they stop, all are
    /// asked at once, each with its own deadline. The supervisor may take as long as the slowest of them.
    pub fn independent(name: impl Into<Name>, children: Vec<Child>) -> Self {
        Self::group(name.into(), Strategy::Independent, children)
    }

    /// A supervisor over `children` of which each depends on those before it: when one ends, those after it are stopped in
    /// reverse order and started again after it, in order. They keep their mailboxes. Their exits count as
    /// [`ExitKind::Sibling`](crate::ExitKind::Sibling) and not against their restart limits.
    pub fn rest_for_one(name: impl Into<Name>, children: Vec<Child>) -> Self {
        Self::group(name.into(), Strategy::RestForOne, children)
    }

    /// A supervisor over `children` which all depend on each other: when one ends, the others are stopped in reverse order, and
    /// all are started again in order; otherwise like [`Child::rest_for_one`].
    pub fn one_for_all(name: impl Into<Name>, children: Vec<Child>) -> Self {
        Self::group(name.into(), Strategy::OneForAll, children)
    }

    fn group(name: Name, strategy: Strategy, children: Vec<Child>) -> Self {
        let limits = children.iter().map(|child| child.policy.shutdown.limit());
        let shutdown = match stop_within_of(strategy, limits) {
            Some(limit) => Shutdown::Within(limit),
            None => Shutdown::Unlimited,
        };
        let start_within = children
            .iter()
            .fold(Duration::from_secs(1), |all, child| all.saturating_add(child.policy.start_within));
        // No stall: only a `Context` marks an actor as idle, and a supervisor has none.
        let policy = Policy { shutdown, start_within, stall_after: None, ..Policy::default() };
        Self { name, policy: Arc::new(policy), kind: ChildKind::Supervisor(strategy, children) }
    }

    /// Replaces the policy, which many children can share. A supervisor keeps the deadlines that its children need.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<Arc<Policy>>) -> Self {
        let policy = policy.into();
        let Policy { shutdown, start_within, .. } = *self.policy;
        self.policy = match &self.kind {
            ChildKind::Actor { .. } => policy,
            ChildKind::Supervisor(..) => {
                Arc::new(Policy { shutdown, start_within, stall_after: None, ..*policy })
            }
        };
        self
    }

    /// Its path below `parent`, which is empty for children of the root.
    pub(crate) fn path(&self, parent: &str) -> String {
        let name = self.name.as_str();
        if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
    }

    /// Makes it a member below `parent`, and gives it and everything below it their paths.
    pub(crate) fn place(self, parent: &str, env: &Arc<Env>) -> Result<Member, BadDescription> {
        let path: Arc<str> = self.path(parent).into();
        if self.name.as_str().is_empty() || self.name.as_str().contains('/') || *path == *ROOT {
            return Err(BadDescription::BadName(self.name.as_str().to_owned()));
        }
        let Self { name, policy, kind } = self;
        if !name.place(&path, env.tree) {
            return Err(BadDescription::NameUsedTwice(name.shown().to_owned()));
        }
        let member = match kind {
            ChildKind::Actor { mailbox, kind } => {
                Member::new(name, Slot::new(path, policy, mailbox, false, env), kind)
            }
            ChildKind::Supervisor(strategy, children) => {
                let slot = Slot::new(path.clone(), policy, None, true, env);
                let members = place_all(children, &path, env)?;
                Member::new(name, slot, MemberKind::Supervisor(Arc::new(Group::new(strategy, members))))
            }
        };
        Ok(member)
    }
}

/// The default policy: one value for all children that have it.
fn usual_policy() -> Arc<Policy> {
    static USUAL: LazyLock<Arc<Policy>> = LazyLock::new(Arc::default);
    USUAL.clone()
}

/// Makes siblings the members below `parent`.
pub(crate) fn place_all(
    children: Vec<Child>,
    parent: &str,
    env: &Arc<Env>,
) -> Result<Vec<Member>, BadDescription> {
    let mut names = HashSet::new();
    if let Some(child) = children.iter().find(|child| !names.insert(child.name.as_str())) {
        return Err(BadDescription::Duplicate(child.path(parent)));
    }
    children.into_iter().map(|child| child.place(parent, env)).collect()
}

fn member_kind<A: Actor>(
    mailbox: Mailbox<A::Message>,
    make: impl Fn() -> A + Send + Sync + 'static,
) -> MemberKind {
    let (mailbox, make) = (Arc::new(mailbox), Arc::new(make) as Arc<dyn Fn() -> A + Send + Sync>);
    MemberKind::Actor(Box::new(move |slot, stop, ready| {
        Box::pin(actor::live(slot, mailbox.clone(), make.clone(), stop, ready))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Failure, plan::KILL_GRACE};

    const SECOND: Duration = Duration::from_secs(1);

    struct Idle;

    impl Worker for Idle {
        async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
            cx.stopped().await;
            Ok(())
        }
    }

    fn child(name: &str, shutdown: Shutdown) -> Child {
        let policy = Policy { shutdown, start_within: 7 * SECOND, ..Policy::default() };
        Child::worker(name, || Idle).policy(policy)
    }

    #[test]
    fn a_supervisor_has_the_time_that_its_children_need_whatever_its_own_policy_says() {
        let two = || vec![child("a", Shutdown::Within(3 * SECOND)), child("b", Shutdown::AtOnce)];
        let needed = SECOND + 3 * SECOND + 2 * KILL_GRACE;
        let own = Policy {
            shutdown: Shutdown::AtOnce,
            start_within: SECOND,
            stall_after: Some(SECOND),
            restart: crate::Restart::Temporary,
            ..Policy::default()
        };
        for group in [Child::supervisor("group", two()), Child::supervisor("group", two()).policy(own)] {
            let Policy { shutdown, start_within, stall_after, .. } = *group.policy;
            assert_eq!((shutdown, start_within, stall_after), (Shutdown::Within(needed), 15 * SECOND, None));
        }
        // All at once: the slowest of them.
        let at_once = Child::independent("group", two()).policy(own).policy;
        let needed = SECOND + 3 * SECOND + KILL_GRACE;
        assert_eq!((at_once.shutdown, at_once.start_within), (Shutdown::Within(needed), 15 * SECOND));
        // The rest of it counts.
        assert_eq!(Child::supervisor("group", two()).policy(own).policy.restart, crate::Restart::Temporary);
        let endless = || vec![child("a", Shutdown::Unlimited), child("b", Shutdown::AtOnce)];
        for group in [Child::supervisor("group", endless()), Child::independent("group", endless())] {
            assert_eq!(group.policy.shutdown, Shutdown::Unlimited);
        }
    }

    #[test]
    fn children_without_a_policy_of_their_own_share_one() {
        let [one, other] = ["a", "b"].map(|name| Child::worker(name, || Idle).policy);
        assert!(Arc::ptr_eq(&one, &other));
    }
}
