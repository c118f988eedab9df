//! The name of an actor, written once.
//!
//! A mailbox and the edges that an actor sends on refer to its name and not to a text, so they can't disagree about it. The
//! tree adds where the actor is.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The name of one actor, or of a sender outside the tree. Clones are the same name; two names with the same text are two.
#[derive(Clone)]
pub struct Name(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// Where it is in a tree, once it is in one, and the number of that tree.
    place: OnceLock<(Arc<str>, u64)>,
    /// How many edges that wait it sends on.
    waiting_edges: AtomicUsize,
}

impl Name {
    /// A name among its siblings: not empty and without a slash, which the tree checks.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into().into_boxed_str();
        Self(Arc::new(Inner { text, place: OnceLock::new(), waiting_edges: AtomicUsize::new(0) }))
    }

    /// The text, without the names of its supervisors.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The path in the tree; `None` for a sender outside, and before the tree is started.
    #[must_use]
    pub fn path(&self) -> Option<&Arc<str>> {
        self.0.place.get().map(|(path, _)| path)
    }

    /// The path, or the text where there is none.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.path().map_or(self.as_str(), |path| path)
    }

    /// Notes where it is. `false` when it is somewhere already: a name is for one actor.
    pub(crate) fn place(&self, path: &Arc<str>, tree: u64) -> bool {
        self.0.place.set((path.clone(), tree)).is_ok()
    }

    /// Whether it is in the tree with this number.
    pub(crate) fn is_in(&self, tree: u64) -> bool {
        self.0.place.get().is_some_and(|&(_, of)| of == tree)
    }

    /// Whether it sends on edges that wait.
    pub(crate) fn sends_waiting(&self) -> bool {
        self.0.waiting_edges.load(Relaxed) > 0
    }

    pub(crate) fn count_waiting_edge(&self, begins: bool) {
        if begins {
            self.0.waiting_edges.fetch_add(1, Relaxed);
        } else {
            self.0.waiting_edges.fetch_sub(1, Relaxed);
        }
    }

    /// The same for all clones, and for no other name.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_sends_on_waiting_edges_from_the_first_to_the_last_of_them() {
        let name = Name::new("a");
        let sends = |begins| {
            name.count_waiting_edge(begins);
            name.sends_waiting()
        };
        assert!(!name.sends_waiting());
        assert_eq!([true, true, false, false].map(sends), [true, true, true, false]);
    }
}
