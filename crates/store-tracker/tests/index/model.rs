//! Random histories in random portions, some delivered twice, against a reference that shares no code with the index.

use std::collections::{BTreeMap, BTreeSet};

use testkit::Dice;

use crate::scene::{Indexing, NOW, apply};

const HISTORIES: u64 = 40;
const EVENTS: u64 = 60;

/// The obvious reference of the index.
#[derive(Default)]
struct Reference {
    /// The furthest step of each epoch: 0 named, 1 open, 2 closed, 3 local, 4 aggregated.
    epochs: BTreeMap<u64, u64>,
    submissions: BTreeMap<String, &'static str>,
    batches: BTreeSet<(String, u64)>,
}

impl Reference {
    fn hear(&mut self, event: &str) {
        let words: Vec<&str> = event.split(':').collect();
        let number = |word: &str| word.parse::<u64>().expect("an epoch");
        match words[..] {
            ["batch", "validator", validator, epoch] => {
                self.batches.insert((validator.to_owned(), number(epoch)));
                self.epochs.entry(number(epoch)).or_default();
            }
            ["submission", to, ..] => {
                let id = words[2..].join(":");
                self.epochs.entry(number(words[2])).or_default();
                let to =
                    ["received", "validated", "rejected", "finalized"].into_iter().find(|name| *name == to);
                let to = to.expect("a state");
                let goes = match (self.submissions.get(&id).copied(), to) {
                    (None, _) => true,
                    (Some("received"), to) => to != "received",
                    (Some("validated"), to) => to == "finalized",
                    _ => false,
                };
                if goes {
                    self.submissions.insert(id, to);
                }
            }
            [_, step, epoch] => {
                let step = match step {
                    "open" => 1,
                    "closed" => 2,
                    "local" => 3,
                    _ => 4,
                };
                let furthest = self.epochs.entry(number(epoch)).or_default();
                *furthest = step.max(*furthest);
            }
            _ => panic!("{event} is no event of this test"),
        }
    }

    fn sets(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut add = |key: String, member: String| {
            sets.entry(key).or_default().insert(member);
        };
        for (epoch, step) in &self.epochs {
            let set = ["pending", "active", "active", "active", "completed"][*step as usize];
            add(format!("{set}:epochs"), epoch.to_string());
        }
        for (id, state) in &self.submissions {
            let set = if ["received", "validated"].contains(state) { "active" } else { state };
            add(format!("{set}:submissions"), id.clone());
            let (epoch, slot) = (id.split(':').next().expect("one"), id.split(':').nth(1).expect("one"));
            add(format!("epoch:{epoch}:submissions"), id.clone());
            add(format!("snapshotter:{slot}:submissions"), id.clone());
            add("project:p:submissions".to_owned(), id.clone());
        }
        for (validator, epoch) in &self.batches {
            add(format!("epoch:{epoch}:validators"), validator.clone());
            add(format!("validator:{validator}:epochs"), epoch.to_string());
            add(format!("validator:{validator}:batches"), epoch.to_string());
            for set in ["online", "active"] {
                add(format!("{set}:validators"), validator.clone());
            }
        }
        sets
    }
}

fn event(dice: &mut Dice) -> String {
    let epoch = dice.roll(5);
    match dice.roll(3) {
        0 => {
            let step = ["epoch:open", "epoch:closed", "batch:local", "batch:aggregated"];
            format!("{}:{epoch}", step[dice.roll(4) as usize])
        }
        1 => format!("batch:validator:v{}:{epoch}", dice.roll(3)),
        _ => {
            let state = ["received", "validated", "rejected", "finalized"][dice.roll(4) as usize];
            format!("submission:{state}:{epoch}:{}:p:17:peer", dice.roll(4))
        }
    }
}

#[tokio::test]
async fn random_histories_in_random_portions_leave_what_an_obvious_reference_says() {
    let mut scene = Indexing::plain().await;
    for seed in 0..HISTORIES {
        scene.scene.run::<()>("FLUSHALL", "SYNC").await;
        let (mut dice, mut reference) = (Dice::new(seed), Reference::default());
        let mut portion: Vec<String> = Vec::new();
        for at in 1..=EVENTS {
            let event = event(&mut dice);
            reference.hear(&event);
            portion.push(event);
            if at < EVENTS && dice.roll(4) > 0 {
                continue;
            }
            let events: Vec<&str> = portion.iter().map(String::as_str).collect();
            for _ in 0..=dice.roll(2) {
                let indexed = apply(&scene.store, &scene.index, NOW, &events).await;
                assert_eq!(indexed.faults, Vec::new(), "seed {seed}");
            }
            portion.clear();
        }
        let mut found = scene.dump().await;
        let is_set = |key: &str| {
            let others = ["state:", "metrics:", "validators:"];
            !others.iter().any(|other| key.starts_with(other)) && !key.ends_with(":stats")
        };
        found.retain(|key, _| is_set(key));
        assert_eq!(found, reference.sets(), "seed {seed}");
    }
}
