//! The edges of a tree, and the check that waiting edges form no cycle.
//!
//! An actor that waits for room in a mailbox continues when the reader of that mailbox takes a message. Actors that wait for
//! each other in a cycle never continue. An edge is declared when its address is created
//! ([`Mailbox::address`](crate::Mailbox::address)); a tree with a cycle of waiting edges does not start. It touches nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{mailbox::Overflow, name::Name};

/// An edge from a sender to a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// The sender, as named for its address: the path of an actor, or another name for a sender outside the tree.
    pub from: String,
    /// The path of the actor that reads the mailbox.
    pub to: String,
    /// What happens when the mailbox is full.
    pub overflow: Overflow,
    /// Whether the sender is no actor of the tree.
    pub outside: bool,
}

impl Edge {
    /// An edge of the tree with this number.
    pub(crate) fn new(from: &Name, to: &str, overflow: Overflow, tree: u64) -> Self {
        let (from, outside) = (from.shown().to_owned(), !from.is_in(tree));
        Self { from, to: to.to_owned(), overflow, outside }
    }
}

/// A cycle of waiting edges: its actors in the order of the edges; the last is the first again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "edges that wait form a cycle, {}: once their mailboxes are full, none of these actors can continue; \
     let one of the edges coalesce or drop the oldest",
    .0.join(" -> ")
)]
pub struct WaitingCycle(pub Vec<String>);

/// Finds a cycle of waiting edges.
pub(crate) fn waiting_cycle(edges: &[Edge]) -> Option<WaitingCycle> {
    let mut waits_for: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.overflow.waits() && !edge.outside) {
        waits_for.entry(&edge.from).or_default().insert(&edge.to);
    }
    // Remove actors that wait for no waiting actor, until none is left: they are on no cycle.
    let mut left = usize::MAX;
    while waits_for.len() < left {
        left = waits_for.len();
        let waiting: BTreeSet<&str> = waits_for.keys().copied().collect();
        waits_for.retain(|_, others| {
            others.retain(|other| waiting.contains(other));
            !others.is_empty()
        });
    }
    // Each remaining actor waits for another remaining one, so following them must return to an actor of the way.
    let mut way: Vec<&str> = Vec::new();
    let mut next = waits_for.keys().next().copied();
    while let Some(at) = next {
        if let Some(first) = way.iter().position(|&before| before == at) {
            let cycle = way.into_iter().skip(first).chain([at]);
            return Some(WaitingCycle(cycle.map(str::to_owned).collect()));
        }
        way.push(at);
        next = waits_for.get(at).and_then(|others| others.first().copied());
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    const OVERFLOWS: [Overflow; 4] =
        [Overflow::Wait, Overflow::Coalesce, Overflow::CoalesceOrWait, Overflow::DropOldest];

    fn edge() -> impl Strategy<Value = (usize, usize, usize)> {
        (0..NAMES.len(), 0..NAMES.len(), 0..OVERFLOWS.len())
    }

    proptest! {
        /// 6 actors, up to 14 edges of any kind. The reference: the actors reachable from each actor, by repeated steps.
        #[test]
        fn a_cycle_is_found_exactly_where_edges_that_wait_lead_back(
            edges in proptest::collection::vec(edge(), 0..14),
        ) {
            let mut reaches = [[false; NAMES.len()]; NAMES.len()];
            for &(from, to, overflow) in &edges {
                reaches[from][to] |= matches!(OVERFLOWS[overflow], Overflow::Wait | Overflow::CoalesceOrWait);
            }
            let direct = reaches;
            for through in 0..NAMES.len() {
                for from in 0..NAMES.len() {
                    for to in 0..NAMES.len() {
                        reaches[from][to] |= reaches[from][through] && reaches[through][to];
                    }
                }
            }
            let leads_back = (0..NAMES.len()).any(|name| reaches[name][name]);
            let edges: Vec<Edge> = edges
                .into_iter()
                .map(|(from, to, overflow)| Edge {
                    from: NAMES[from].to_owned(),
                    to: NAMES[to].to_owned(),
                    overflow: OVERFLOWS[overflow],
                    outside: false,
                })
                .collect();
            let cycle = waiting_cycle(&edges);
            prop_assert_eq!(cycle.is_some(), leads_back);
            if let Some(WaitingCycle(way)) = cycle {
                prop_assert!(way.len() > 1 && way.first() == way.last(), "{:?}", way);
                let number = |name: &String| NAMES.iter().position(|known| known == name).expect("one of them");
                for step in way.windows(2) {
                    prop_assert!(direct[number(&step[0])][number(&step[1])], "{:?}", way);
                }
            }
        }
    }
}
