//! The description of a member of a tree, before it is part of one.

use std::{sync::Arc, time::Duration};

use crate::{
    Clock,
    actor::{self, Actor},
    mailbox::{AnyMailbox, Limits, Mailbox, NoMessage},
    policy::{Policy, Strategy},
    seat::Seat,
    supervisor::{Group, Member, MemberKind, stop_within_of},
    tree::TreeShared,
};

/// The description of one member of a tree. It runs after [`Tree::start`](crate::Tree::start) or
/// [`Tree::add_child`](crate::Tree::add_child).
pub struct Child {
    pub(crate) name: String,
    policy: Policy,
    kind: ChildKind,
}

type BindLife = Box<dyn FnOnce() -> (Option<Arc<dyn AnyMailbox>>, MemberKind) + Send>;

enum ChildKind {
    Worker(BindLife),
    Supervisor(Strategy, Vec<Child>),
}

impl Child {
    /// An actor that reads `mailbox`; `make` creates the value of each incarnation.
    pub fn actor<A: Actor>(
        name: impl Into<String>,
        mailbox: &Mailbox<A::Message>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let mailbox = mailbox.clone();
        let bind =
            move || (Some(Arc::new(mailbox.clone()) as Arc<dyn AnyMailbox>), Self::worker(mailbox, make));
        Self { name: name.into(), policy: Policy::default(), kind: ChildKind::Worker(Box::new(bind)) }
    }

    /// An actor without messages.
    pub fn source<A: Actor<Message = NoMessage>>(
        name: impl Into<String>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        // `Context` needs an inbox. Without a sender its mailbox stays empty, and it is not exposed.
        let mailbox = Mailbox::new(name.clone(), Limits::default(), &Clock::system());
        let bind = move || (None, Self::worker(mailbox, make));
        Self { name, policy: Policy::default(), kind: ChildKind::Worker(Box::new(bind)) }
    }

    /// A supervisor over `children`, one for one; they start in this order and stop in reverse.
    pub fn supervisor(name: impl Into<String>, children: Vec<Child>) -> Self {
        Self::group(name.into(), Strategy::OneForOne, children)
    }

    /// A supervisor over `children` of which each depends on those before it: when one ends, those after it are stopped in
    /// reverse order and started again after it, in order. They keep their mailboxes. Their exits count as
    /// [`ExitKind::Sibling`](crate::ExitKind::Sibling) and not against their restart limits.
    pub fn rest_for_one(name: impl Into<String>, children: Vec<Child>) -> Self {
        Self::group(name.into(), Strategy::RestForOne, children)
    }

    fn group(name: String, strategy: Strategy, children: Vec<Child>) -> Self {
        let stop_within = stop_within_of(children.iter().map(|child| child.policy.stop_within));
        let start_within = children
            .iter()
            .fold(Duration::from_secs(1), |all, child| all.saturating_add(child.policy.start_within));
        // No stall: only `Context` marks an actor as idle, and a supervisor waits for its messages in `ractor`.
        let policy = Policy { stop_within, start_within, stall_after: None, ..Policy::default() };
        Self { name, policy, kind: ChildKind::Supervisor(strategy, children) }
    }

    /// Replaces the policy. A supervisor keeps the deadlines that its children need.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        let Policy { stop_within, start_within, .. } = self.policy;
        self.policy = match &self.kind {
            ChildKind::Worker(_) => policy,
            ChildKind::Supervisor(..) => Policy { stop_within, start_within, stall_after: None, ..policy },
        };
        self
    }

    fn worker<A: Actor>(
        mailbox: Mailbox<A::Message>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> MemberKind {
        let make: Arc<dyn Fn() -> A + Send + Sync> = Arc::new(make);
        MemberKind::Worker(Box::new(move |seat, stop, ready| {
            Box::pin(actor::live(seat, mailbox.clone(), make.clone(), stop, move |actor::Ready| ready()))
        }))
    }

    pub(crate) fn seat(self, parent: &str, tree: &Arc<TreeShared>) -> Member {
        let Self { name, policy, kind } = self;
        let path = if parent.is_empty() { name } else { format!("{parent}/{name}") };
        match kind {
            ChildKind::Worker(bind) => {
                let (mailbox, kind) = bind();
                Member::new(Seat::new(path, policy, mailbox, false, tree), kind)
            }
            ChildKind::Supervisor(strategy, children) => {
                let seat = Seat::new(path.clone(), policy, None, true, tree);
                let members = children.into_iter().map(|child| child.seat(&path, tree));
                Member::new(seat, MemberKind::Supervisor(Arc::new(Group::new(strategy, members))))
            }
        }
    }
}
