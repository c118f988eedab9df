//! What a tree shows agrees with the actors of ractor that run: each running path is a live cell below that of its supervisor.
#![allow(clippy::print_stdout, reason = "a test that fails shows its seed")]

use std::{any::Any, sync::Arc, time::Duration};

use super::{Tree, TreeOptions, next_boot};
use crate::{
    Backoff, Child, Clock, Context, Failure, Intensity, OnLimit, Policy, State, Worker,
    cell::Cell,
    group::{Group, Member},
    policy::Chance,
    slot::Slot,
};

const SECOND: Duration = Duration::from_secs(1);

struct Idles;

impl Worker for Idles {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        cx.idle(cx.stopped()).await;
        Ok(())
    }
}

/// A second of pause before each restart.
fn policy(max_restarts: u32) -> Policy {
    Policy {
        intensity: Intensity { max_restarts, within: Duration::from_secs(3_600) },
        backoff: Backoff { first: SECOND, max: SECOND, jitter: false, reset_after: Duration::MAX },
        ..Policy::default()
    }
}

fn worker(name: &str) -> Child {
    Child::worker(name, || Idles).policy(policy(1_000_000))
}

/// A group below which the first of three workers escalates at its first failure.
fn group(name: &str, make: fn(&str, Vec<Child>) -> Child) -> Child {
    let escalates = Policy { on_limit: OnLimit::Escalate, ..policy(0) };
    let workers = vec![worker("first").policy(escalates), worker("second"), worker("third")];
    make(name, workers).policy(policy(1_000_000))
}

/// A root, three groups with three workers each, and groups of all strategies below them with three workers each.
fn children() -> Vec<Child> {
    let inner = || {
        vec![
            group("one_for_one", |name, children| Child::supervisor(name, children)),
            group("rest_for_one", |name, children| Child::rest_for_one(name, children)),
            group("one_for_all", |name, children| Child::one_for_all(name, children)),
            worker("beside"),
        ]
    };
    let outer = |name: &str| Child::supervisor(name, inner()).policy(policy(1_000_000));
    vec![outer("x"), worker("alone"), Child::rest_for_one("y", inner()).policy(policy(1_000_000)), outer("z")]
}

/// Waits until every task of this thread waits for something.
async fn quiet() {
    struct Resume;
    impl Drop for Resume {
        fn drop(&mut self) {
            tokio::time::resume();
        }
    }
    // tokio moves a paused time only when no task can run.
    tokio::time::pause();
    let _resume = Resume;
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn cell_of(slot: &Slot) -> Option<Cell> {
    let switch: Arc<dyn Any + Send + Sync> = slot.switch()?;
    switch.downcast_ref::<Cell>().cloned()
}

/// Checks all members of a group whose supervisor has this cell. Returns how many run.
fn check_group(group: &Group, above: Option<&Cell>) -> usize {
    if let Some(above) = above {
        let running = group.members().values().filter(|member| member.slot.state() == State::Running).count();
        assert_eq!(above.linked(), running, "those that have ended are forgotten");
    }
    group.members().values().map(|member| check_member(member, above)).sum()
}

fn check_member(member: &Member, above: Option<&Cell>) -> usize {
    let path = member.slot.path();
    let running = (member.slot.health().state == State::Running).then(|| {
        let cell =
            cell_of(&member.slot).unwrap_or_else(|| panic!("{path} is shown as running without a cell"));
        let above = above.unwrap_or_else(|| panic!("{path} is shown as running without a supervisor"));
        assert!(cell.runs_below(above), "the cell of {path} does not run below that of its supervisor");
        cell
    });
    let below = member.group().map_or(0, |group| check_group(group, running.as_ref()));
    usize::from(running.is_some()) + below
}

/// Checks the whole tree, when nothing more happens. Returns how many paths run, without the root.
async fn check(tree: &Tree) -> usize {
    quiet().await;
    let root = cell_of(&tree.root).filter(|_| tree.root.state() == State::Running);
    let root = root.expect("the root runs");
    assert!(root.runs(), "the root is shown as running");
    let running = check_group(&tree.group, Some(&root));
    let shown = tree.health().into_iter().filter(|actor| actor.state == State::Running).count();
    assert_eq!(running + 1, shown);
    running
}

async fn start() -> (Clock, Tree) {
    let clock = Clock::manual(SECOND);
    let options = TreeOptions { clock: clock.clone(), ..TreeOptions::default() };
    (clock, Tree::start(children(), options).await.expect("the root starts"))
}

/// Lets pauses pass until everything runs again.
async fn recover(clock: &Clock, tree: &Tree) {
    for _ in 0..100 {
        if check(tree).await + 1 == tree.health().len() {
            return;
        }
        clock.advance(SECOND);
    }
    panic!("not everything came back: {:?}", tree.health());
}

#[tokio::test]
async fn every_path_that_runs_is_a_live_cell_below_that_of_its_supervisor() {
    let (clock, tree) = start().await;
    assert_eq!(check(&tree).await, 1 + 3 * (1 + 1 + 3 * (1 + 3)));
    for path in
        ["alone", "x/beside", "x/one_for_all/second", "y/one_for_one", "z/one_for_one/first", "z", "y"]
    {
        assert!(tree.kill(path), "{path}");
        check(&tree).await;
        recover(&clock, &tree).await;
    }
    tree.add_child("x/rest_for_one", group("added", |name, children| Child::supervisor(name, children)))
        .expect("added");
    assert_eq!(check(&tree).await, 47);
    assert!(tree.kill("x"));
    tree.remove_child("y/one_for_all").await.expect("removed");
    recover(&clock, &tree).await;
    assert_eq!(check(&tree).await, 43);
}

/// Any kills, additions and removals, also before the ones before them are dealt with.
#[tokio::test]
async fn paths_and_cells_agree_after_any_kills_additions_and_removals() {
    let seed = std::env::var("SUPERVISION_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = seed.unwrap_or_else(Chance::any_seed);
    println!("to repeat this: SUPERVISION_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut below = |limit: usize| (chance.number() % limit as u64) as usize;
    let (clock, tree) = start().await;
    recover(&clock, &tree).await;
    for step in 0..300 {
        for _ in 0..=below(3) {
            let paths: Vec<(String, bool)> =
                tree.health().into_iter().skip(1).map(|actor| (actor.path, actor.supervisor)).collect();
            let (path, is_supervisor) = &paths[below(paths.len())];
            match below(10) {
                0 if *is_supervisor && paths.len() < 100 => {
                    tree.add_child(path, worker(&format!("added{step}"))).ok();
                }
                1 if path.contains("added") => {
                    let removal = tree.remove_child(path);
                    let passes = async {
                        loop {
                            quiet().await;
                            clock.advance(SECOND);
                        }
                    };
                    tokio::select! {
                        biased;
                        removed = removal => drop(removed.expect("it was there")),
                        () = passes => unreachable!("an endless loop"),
                    }
                }
                _ => drop(tree.kill(path)),
            }
        }
        check(&tree).await;
        if below(2) == 0 {
            clock.advance(SECOND);
            check(&tree).await;
        }
    }
    recover(&clock, &tree).await;
}

#[test]
fn boot_ids_grow_however_quickly_they_are_taken() {
    let boots: Vec<u64> = (0..100_000).map(|_| next_boot()).collect();
    assert!(boots.is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn the_watch_knows_every_actor() {
    let options = TreeOptions { clock: Clock::manual(SECOND), ..TreeOptions::default() };
    let tree = Tree::start(children(), options).await.expect("the root starts");
    assert_eq!(tree.watched(), tree.health().len());
}
