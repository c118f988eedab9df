//! Names: each actor has one, which is written once, and is refused before anything is started where it is none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::{Idles, Job, Log, all_run, attempts, calm, each, eventually, job, manual, record, soon, start};
use supervision::{
    Address, BadDescription, ChangeError, Child, Context, Failure, Mailbox, Name, Overflow, StartError,
    State, Tree, TreeOptions, Worker,
};

fn mailbox(name: impl Into<Name>) -> Mailbox<Job> {
    Mailbox::new(name, attempts(2), &manual())
}

/// Notes that it was started.
struct Notes(Log<String>);

impl Worker for Notes {
    async fn pre_start(&mut self, cx: &Context) -> Result<(), Failure> {
        self.0.note(cx.path().to_owned());
        Ok(())
    }

    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

fn notes(name: impl Into<Name>, started: &Log<String>) -> Child {
    let started = started.clone();
    Child::worker(name, move || Notes(started.clone()))
}

fn group(name: &str, children: Vec<Child>) -> Child {
    Child::supervisor(name, children)
}

/// Descriptions that can't become a tree, and why.
fn bad(started: &Log<String>) -> Vec<(Vec<Child>, BadDescription)> {
    let note = |name: &str| notes(name, started);
    let twice = |first: &str| (Name::new("twice"), BadDescription::NameUsedTwice(first.to_owned()));
    let duplicate = |path: &str| BadDescription::Duplicate(path.to_owned());
    let bad_name = |name: &str| BadDescription::BadName(name.to_owned());
    let (of_workers, workers) = twice("twice");
    let (of_mailboxes, mailboxes) = twice("one/twice");
    let (of_groups, groups) = twice("twice");
    vec![
        (vec![note("good"), note("a"), note("a")], duplicate("a")),
        (vec![note("good"), group("g", vec![note("a"), calm(mailbox("a"))])], duplicate("g/a")),
        (vec![note("good"), group("g", vec![note("a")]), note("g")], duplicate("g")),
        (vec![note("good"), note("")], bad_name("")),
        (vec![note("good"), calm(mailbox("a/b"))], bad_name("a/b")),
        (vec![note("good"), group("g", vec![group("/", Vec::new())])], bad_name("/")),
        (
            vec![note("good"), notes(&of_workers, started), group("g", vec![notes(&of_workers, started)])],
            workers,
        ),
        (
            vec![
                note("good"),
                group("one", vec![calm(mailbox(&of_mailboxes))]),
                group("other", vec![calm(mailbox(&of_mailboxes))]),
            ],
            mailboxes,
        ),
        (
            vec![
                note("good"),
                Child::rest_for_one(&of_groups, vec![Child::one_for_all(&of_groups, Vec::new())]),
            ],
            groups,
        ),
    ]
}

#[tokio::test]
async fn a_tree_with_bad_names_does_not_start_and_tells_the_path() {
    let started = Log::default();
    for (children, expected) in bad(&started) {
        match Tree::start(children, TreeOptions::default()).await {
            Err(StartError::Description(found)) => assert_eq!(found, expected),
            Err(other) => panic!("{other:?} in place of {expected:?}"),
            Ok(_) => panic!("it started in spite of {expected:?}"),
        }
    }
    // Whatever was started would begin before a tree that is started now.
    let tree = start(&manual(), vec![notes("last", &started)]).await;
    all_run(&tree).await;
    assert_eq!(started.all(), ["last"]);
}

#[tokio::test]
async fn a_member_with_bad_names_is_not_added_and_nothing_of_it_is_started() {
    let started = Log::default();
    let tree = start(&manual(), vec![group("markets", Vec::new())]).await;
    all_run(&tree).await;
    let below = |error: BadDescription| match error {
        BadDescription::Duplicate(path) => BadDescription::Duplicate(format!("markets/new/{path}")),
        BadDescription::NameUsedTwice(path) => BadDescription::NameUsedTwice(format!("markets/new/{path}")),
        BadDescription::BadName(name) => BadDescription::BadName(name),
    };
    for (children, error) in bad(&started) {
        let refused = tree.add_child("markets", group("new", children));
        assert_eq!(refused, Err(ChangeError::Description(below(error))));
    }
    for name in ["", "a/b"] {
        let refused = tree.add_child("markets", notes(name, &started));
        assert_eq!(refused, Err(ChangeError::Description(BadDescription::BadName(name.to_owned()))));
    }
    tree.add_child("markets", notes("last", &started)).expect("added");
    all_run(&tree).await;
    assert_eq!(started.all(), ["markets/last"]);
    assert_eq!(
        tree.add_child("markets", notes("last", &started)),
        Err(ChangeError::Taken("markets/last".to_owned()))
    );
    assert_eq!(tree.health().len(), 3);
}

#[tokio::test]
async fn no_child_of_the_root_is_called_like_the_root() {
    let started = Log::default();
    let bad = BadDescription::BadName("root".to_owned());
    let refused = Tree::start(vec![notes("root", &started)], TreeOptions::default()).await;
    assert!(matches!(refused, Err(StartError::Description(found)) if found == bad));
    let tree = start(&manual(), vec![group("g", vec![notes("root", &started)])]).await;
    all_run(&tree).await;
    assert_eq!(started.all(), ["g/root"], "below a group it is a name like others");
    assert_eq!(tree.add_child("root", notes("root", &started)), Err(ChangeError::Description(bad)));
}

#[tokio::test]
async fn a_name_is_not_given_to_a_second_actor_after_the_first_one_was_removed() {
    let started = Log::default();
    let name = Name::new("member");
    let tree = start(&manual(), vec![notes(&name, &started)]).await;
    all_run(&tree).await;
    soon("it is removed", tree.remove_child("member")).await.expect("removed");
    let refused = tree.add_child("root", notes(&name, &started));
    assert_eq!(refused, Err(ChangeError::Description(BadDescription::NameUsedTwice("member".to_owned()))));
    tree.add_child("root", notes("member", &started)).expect("another name with this text is free");
    all_run(&tree).await;
    assert_eq!(started.all(), ["member", "member"]);
}

#[tokio::test]
async fn a_child_has_the_name_of_its_mailbox() {
    let worker = mailbox("worker");
    let name = worker.name().clone();
    assert_eq!((name.as_str(), name.path(), name.shown()), ("worker", None, "worker"));
    let tree = start(&manual(), vec![group("group", vec![calm(worker)])]).await;
    all_run(&tree).await;
    assert_eq!(record(&tree, "group/worker").state, State::Running);
    assert_eq!((name.as_str(), name.path().map(|path| &**path)), ("worker", Some("group/worker")));
    assert_eq!((name.shown(), format!("{name:?}")), ("group/worker", "group/worker".to_owned()));
}

#[tokio::test]
async fn an_address_shows_the_paths_of_both_ends_once_they_are_in_a_tree() {
    let (reader, sender) = (mailbox("reader"), Name::new("sender"));
    let address = reader.address(&sender, Overflow::CoalesceOrWait);
    let outside = reader.address("main", Overflow::Wait);
    let shown = |address: &Address<Job>| (address.mailbox().to_owned(), format!("{address:?}"));
    let expected = |mailbox: &str, debug: &str| (mailbox.to_owned(), debug.to_owned());
    assert_eq!(shown(&address), expected("reader", "Address(sender -> reader, CoalesceOrWait)"));
    let sends = Child::worker(&sender, || Idles);
    let _tree = start(&manual(), vec![group("a", vec![calm(reader)]), group("b", vec![sends])]).await;
    assert_eq!(shown(&address), expected("a/reader", "Address(b/sender -> a/reader, CoalesceOrWait)"));
    assert_eq!(shown(&outside), expected("a/reader", "Address(main -> a/reader, Wait)"));
}

#[tokio::test]
async fn a_dead_letter_tells_the_path_of_its_mailbox() {
    let mailbox = mailbox("worker");
    let (address, view) = (mailbox.address("test", Overflow::Wait), mailbox.view());
    let worker = each(mailbox, |lease| {
        lease.dead_letter("no use");
        Ok(())
    });
    let tree = start(&manual(), vec![group("group", vec![worker])]).await;
    address.send(job(1)).await.expect("accepted");
    eventually("it is dead", || view.stats().dead_lettered == 1).await;
    for letters in [tree.dead_letters(), view.dead_letters()] {
        assert_eq!((letters.len(), letters[0].mailbox.as_str()), (1, "group/worker"));
    }
    assert!(tree.replay("group/worker", 1));
}
