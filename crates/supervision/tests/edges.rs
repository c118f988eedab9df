//! Edges that wait for each other: a tree that could deadlock does not start.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::{Idles, Job, MINUTE, all_run, attempts, calm, job, manual, start};
use supervision::{
    Address, ChangeError, Child, Edge, Mailbox, Name, Overflow, SendError, StartError, Tree, TreeOptions,
    WaitingCycle,
};

fn mailbox(name: &str) -> Mailbox<Job> {
    Mailbox::new(name, attempts(2), &manual())
}

/// `a`, and `b` and `c` in a group. An edge from each to the next; the last one leads from `c` back to `a`. With the
/// addresses, since an edge lasts as long as they do.
fn circle(overflows: [Overflow; 3]) -> (Vec<Child>, [Address<Job>; 3]) {
    let (a, b, c) = (mailbox("a"), mailbox("b"), mailbox("c"));
    let [to_b, to_c, to_a] = overflows;
    // Edges are declared, so it does not matter which actor holds the addresses.
    let addresses = [b.address(a.name(), to_b), c.address(b.name(), to_c), a.address(c.name(), to_a)];
    (vec![calm(a), Child::supervisor("group", vec![calm(b), calm(c)])], addresses)
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
        let tree = Tree::start(children, TreeOptions::default()).await.expect("none of them waits for ever");
        all_run(&tree).await;
        let [to_b, to_c, to_a] = broken;
        let edge = |from: &str, to: &str, overflow| Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            overflow,
            outside: false,
        };
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
    let (mailbox, sender) = (mailbox("reader"), Name::new("sender"));
    let first = mailbox.address(&sender, Overflow::Wait);
    let (again, clone) = (mailbox.address(&sender, Overflow::Wait), first.clone());
    let tree = start(&manual(), vec![calm(mailbox)]).await;
    for address in [first, again] {
        drop(address);
        assert_eq!(tree.edges().len(), 1);
    }
    drop(clone);
    assert_eq!(tree.edges(), []);
}

#[tokio::test]
async fn the_edges_of_a_mailbox_are_listed_by_their_senders() {
    let mailbox = mailbox("reader");
    let senders = ["e", "b", "h", "a", "g", "c", "f", "d"];
    let _addresses = senders.map(|sender| mailbox.address(sender, Overflow::DropOldest));
    let tree = start(&manual(), vec![calm(mailbox)]).await;
    let listed: Vec<_> = tree.edges().into_iter().map(|edge| (edge.from, edge.outside)).collect();
    assert_eq!(listed, ["a", "b", "c", "d", "e", "f", "g", "h"].map(|sender| (sender.to_owned(), true)));
}

#[tokio::test]
async fn an_actor_that_waits_for_room_in_its_own_mailbox_is_a_cycle_too() {
    let own = mailbox("own");
    let _to_itself = own.address(own.name(), Overflow::Wait);
    let refused = Tree::start(vec![calm(own)], TreeOptions::default()).await;
    assert!(matches!(refused, Err(StartError::Cycle(WaitingCycle(way))) if way == ["own", "own"]));
}

#[tokio::test]
async fn a_worker_has_no_mailbox_so_it_is_on_no_cycle() {
    let (mailbox, name) = (mailbox("reader"), Name::new("worker"));
    let _address = mailbox.address(&name, Overflow::Wait);
    let tree = start(&manual(), vec![calm(mailbox), Child::worker(&name, || Idles)]).await;
    all_run(&tree).await;
    let edge =
        Edge { from: "worker".to_owned(), to: "reader".to_owned(), overflow: Overflow::Wait, outside: false };
    assert_eq!(tree.edges(), [edge]);
}

#[tokio::test]
async fn a_sender_outside_that_is_called_like_an_actor_is_on_no_cycle() {
    let (a, b) = (mailbox("a"), mailbox("b"));
    let _to_b = b.address(a.name(), Overflow::Wait);
    // Not the actor `b`, only a text.
    let outside = a.address("b", Overflow::Wait);
    let tree = start(&manual(), vec![calm(a), calm(b)]).await;
    all_run(&tree).await;
    outside.send(job(1)).await.expect("accepted");
    let outside: Vec<_> = tree.edges().into_iter().map(|edge| (edge.from, edge.outside)).collect();
    assert_eq!(outside, [("b".to_owned(), true), ("a".to_owned(), false)]);
}

#[tokio::test]
async fn an_edge_whose_sender_is_added_later_is_part_of_the_check_then() {
    let (present, added) = (mailbox("present"), mailbox("added"));
    let _addresses =
        (present.address(added.name(), Overflow::Wait), added.address(present.name(), Overflow::Wait));
    let outside = added.address("test", Overflow::Wait);
    let to_present = present.address("test", Overflow::Wait);
    let tree = start(&manual(), vec![calm(present), Child::supervisor("group", Vec::new())]).await;
    all_run(&tree).await;
    assert!(tree.edges().iter().any(|edge| edge.from == "added" && edge.outside), "{:?}", tree.edges());
    // It closes the cycle wherever it is.
    let refused = tree.add_child("group", calm(added));
    let way = ["group/added", "present", "group/added"].map(str::to_owned).to_vec();
    assert_eq!(refused, Err(ChangeError::Cycle(WaitingCycle(way))));
    assert!(matches!(outside.try_send(job(1)), Err(SendError::Closed(_))), "it has no reader");
    assert_eq!(tree.health().len(), 3, "the root, the group and the one that was there");
    to_present.try_send(job(1)).expect("it continues");
    tree.stop(MINUTE).await;
}

#[tokio::test]
async fn a_member_whose_edges_form_no_cycle_is_added_with_them() {
    let (present, added) = (mailbox("present"), mailbox("added"));
    let _addresses =
        (present.address(added.name(), Overflow::Coalesce), added.address(present.name(), Overflow::Wait));
    let tree = start(&manual(), vec![calm(present)]).await;
    tree.add_child("root", calm(added)).expect("added");
    all_run(&tree).await;
    assert!(tree.edges().iter().all(|edge| !edge.outside), "{:?}", tree.edges());
}

#[tokio::test]
async fn a_sender_that_is_added_later_has_edges_of_its_own_into_mailboxes_of_the_tree() {
    let present = mailbox("present");
    let (name, outside) = (present.name().clone(), present.address("test", Overflow::Wait));
    let tree = start(&manual(), vec![calm(present)]).await;
    let added = mailbox("added");
    let to_present = outside.for_sender(added.name());
    let to_added = added.address(&name, Overflow::Wait);
    let way = ["added", "present", "added"].map(str::to_owned).to_vec();
    assert_eq!(tree.add_child("root", calm(added)), Err(ChangeError::Cycle(WaitingCycle(way))));
    drop((to_present, to_added));

    let added = mailbox("added");
    let to_present = outside.for_sender(added.name());
    tree.add_child("root", calm(added)).expect("there is no edge back");
    to_present.try_send(job(1)).expect("accepted");
    let edges: Vec<_> =
        tree.edges().into_iter().map(|edge| (edge.from, edge.outside, edge.overflow)).collect();
    let expected = [("added", false), ("test", true)];
    assert_eq!(edges, expected.map(|(from, outside)| (from.to_owned(), outside, Overflow::Wait)));
    drop(to_present);
    assert_eq!(tree.edges().len(), 1, "the edge ends with its sender");
}
