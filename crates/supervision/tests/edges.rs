//! Edges that wait for each other: a tree that could deadlock does not start.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::{Job, MINUTE, all_run, attempts, calm, job, manual, start};
use supervision::{
    Address, ChangeError, Child, Edge, Mailbox, Overflow, SendError, StartError, Tree, TreeOptions,
    WaitingCycle,
};

fn mailbox(path: &str) -> Mailbox<Job> {
    Mailbox::new(path, attempts(2), &manual())
}

/// `a`, and `b` and `c` in a group. An edge from each to the next; the last one leads from `c` back to `a`. With the
/// addresses, since an edge lasts as long as they do.
fn circle(overflows: [Overflow; 3]) -> (Vec<Child>, [Address<Job>; 3]) {
    let (a, b, c) = (mailbox("a"), mailbox("group/b"), mailbox("group/c"));
    let [to_b, to_c, to_a] = overflows;
    // Edges are declared, so it does not matter which actor holds the addresses.
    let addresses = [b.address("a", to_b), c.address("group/b", to_c), a.address("group/c", to_a)];
    (vec![calm("a", &a), Child::supervisor("group", vec![calm("b", &b), calm("c", &c)])], addresses)
}

#[tokio::test]
async fn a_tree_whose_edges_wait_in_a_cycle_does_not_start_and_names_it() {
    use Overflow::{Coalesce, CoalesceOrWait, DropOldest, Wait};
    for waiting in [[Wait, Wait, Wait], [Wait, CoalesceOrWait, Wait], [CoalesceOrWait; 3]] {
        let (children, _addresses) = circle(waiting);
        let Err(StartError::Cycle(cycle)) = Tree::start(children, TreeOptions::default()).await else {
            panic!("{waiting:?} was let through");
        };
        assert_eq!(cycle, WaitingCycle(["a", "group/b", "group/c", "a"].map(str::to_owned).to_vec()));
        assert!(cycle.to_string().contains("a -> group/b -> group/c -> a"), "{cycle}");
    }
    for broken in [[Wait, Coalesce, Wait], [DropOldest, Wait, Wait], [Wait, Wait, Coalesce]] {
        let (children, addresses) = circle(broken);
        let tree = Tree::start(children, TreeOptions::default()).await.expect("nobody waits for ever");
        all_run(&tree).await;
        let [to_b, to_c, to_a] = broken;
        let edge =
            |from: &str, to: &str, overflow| Edge { from: from.to_owned(), to: to.to_owned(), overflow };
        let declared =
            [edge("group/c", "a", to_a), edge("a", "group/b", to_b), edge("group/b", "group/c", to_c)];
        assert_eq!(tree.edges(), declared);
        drop(addresses);
        assert_eq!(tree.edges(), [], "an edge ends with its sender");
        tree.stop(MINUTE).await;
    }
}

#[tokio::test]
async fn an_edge_lasts_as_long_as_the_last_address_of_it() {
    let mailbox = mailbox("reader");
    let child = calm("reader", &mailbox);
    let first = mailbox.address("sender", Overflow::Wait);
    let (again, clone) = (mailbox.address("sender", Overflow::Wait), first.clone());
    let tree = start(&manual(), vec![child]).await;
    for address in [first, again] {
        drop(address);
        assert_eq!(tree.edges().len(), 1);
    }
    drop(clone);
    assert_eq!(tree.edges(), []);
}

#[tokio::test]
async fn an_actor_that_waits_for_room_in_its_own_mailbox_is_a_cycle_too() {
    let own = mailbox("own");
    let _to_itself = own.address("own", Overflow::Wait);
    let refused = Tree::start(vec![calm("own", &own)], TreeOptions::default()).await;
    assert!(matches!(refused, Err(StartError::Cycle(WaitingCycle(way))) if way == ["own", "own"]));
}

#[tokio::test]
async fn a_member_that_would_close_a_cycle_is_not_taken_in() {
    let (present, added) = (mailbox("present"), mailbox("added"));
    let _addresses = (present.address("added", Overflow::Wait), added.address("present", Overflow::Wait));
    let tree = start(&manual(), vec![calm("present", &present)]).await;
    all_run(&tree).await;
    let refused = tree.add_child("root", calm("added", &added));
    assert!(
        matches!(&refused, Err(ChangeError::Cycle(WaitingCycle(way))) if way == &["added", "present", "added"])
    );
    assert!(matches!(added.address("test", Overflow::Wait).try_send(job(1)), Err(SendError::Closed(_))));
    assert_eq!(tree.health().len(), 2, "the root and the one that was there");
    present.address("test", Overflow::Wait).try_send(job(1)).expect("it goes on");
    tree.stop(MINUTE).await;
}
