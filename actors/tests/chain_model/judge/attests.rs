//! The attestor's queue.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::script::{Id, MARKETS, Submitted, cid},
    Look,
};

impl Look<'_> {
    /// `attestorQueue`: a submitted batch of a followed market whose tracker wants it, in the order of the chain. A delivery for a block
    /// that was dropped stands for the same batch on the new branch.
    pub(super) fn attestor(&mut self, tip: Id, expected: &mut BTreeSet<String>) {
        expected.insert("attestorQueue".to_owned());
        let words = self.rest.attested.clone();
        let Some(new) = words.get(self.judge.attests..).filter(|_| words.len() >= self.judge.attests) else {
            return self.fault("attestorQueue has lost something".to_owned());
        };
        let turmoil = !self.judge.visited.is_empty();
        let must = self.delivered(tip);
        let texts = |all: &[Submitted]| all.iter().map(|batch| text_of(*batch)).collect::<Vec<_>>();
        let read: Vec<Option<Value>> = new.iter().map(|word| serde_json::from_str(word).ok()).collect();
        let must_be: Vec<Option<Value>> = texts(&must).into_iter().map(Some).collect();
        if read == must_be {
            self.count("attested", must.len() as u64);
        } else if turmoil {
            self.attested_elsewhere(tip, &read, &must_be);
        } else {
            self.fault(format!("attestorQueue got {new:?} instead of {must:?}"));
        }
        self.judge.attests = words.len();
    }

    /// What is newly delivered at this block, in its order; it is noted.
    fn delivered(&mut self, tip: Id) -> Vec<Submitted> {
        let branch = self.script.branch(tip);
        let on_branch: BTreeSet<Id> = branch.iter().copied().collect();
        let mut new = Vec::new();
        for (block, place, batch) in self.script.submitted(&branch) {
            let number = self.script.blocks[block].number;
            let is_past = number < self.judge.settings.start;
            let state = self.judge.followed[batch.0].at(number);
            let Some(attest) = state.filter(|_| !is_past) else { continue };
            if self.judge.attested.contains_key(&(block, place)) {
                continue;
            }
            let orphan =
                self.judge.attested.iter().find(|((at, _), of)| !on_branch.contains(at) && **of == batch);
            if let Some((orphan, _)) = orphan.map(|(at, of)| (*at, *of)) {
                // A block that stands in the log already was judged by the state at its acceptance.
                let is_new = self.judge.tip.is_none_or(|tip| !self.script.is_on(block, tip));
                if is_new {
                    self.judge.attested.remove(&orphan);
                    self.judge.attested.insert((block, place), batch);
                    self.judge.counts.entry("attested once").and_modify(|many| *many += 1).or_insert(1);
                }
            } else if attest {
                self.judge.attested.insert((block, place), batch);
                new.push(batch);
            }
        }
        new
    }

    /// Where several branches were followed, each batch on one of them may have been delivered, and none more often than there.
    fn attested_elsewhere(&mut self, tip: Id, read: &[Option<Value>], must: &[Option<Value>]) {
        let mut may: BTreeMap<String, usize> = BTreeMap::new();
        for visited in self.judge.visited.clone().into_iter().chain(self.judge.tip).chain([tip]) {
            let mut there: BTreeMap<String, usize> = BTreeMap::new();
            for (.., batch) in self.script.submitted(&self.script.branch(visited)) {
                *there.entry(text_of(batch).to_string()).or_default() += 1;
            }
            for (text, many) in there {
                let most = may.entry(text).or_default();
                *most = (*most).max(many);
            }
        }
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for word in read {
            let Some(word) = word else {
                return self.fault("a word of attestorQueue can't be read".to_owned());
            };
            *found.entry(word.to_string()).or_default() += 1;
        }
        for word in must.iter().flatten() {
            let text = word.to_string();
            may.entry(text.clone()).and_modify(|many| *many = (*many).max(1)).or_insert(1);
            if !found.contains_key(&text) {
                self.fault(format!("attestorQueue lacks {text}"));
            }
        }
        for (text, many) in found {
            if may.get(&text).is_none_or(|most| many > *most) {
                self.fault(format!("attestorQueue got {text} {many} times instead of {:?}", may.get(&text)));
            }
        }
        // What was delivered for a branch that is gone is remembered as such.
        self.orphan(read, must);
    }

    fn orphan(&mut self, read: &[Option<Value>], must: &[Option<Value>]) {
        let mut left: Vec<&Value> = must.iter().flatten().collect();
        let mut more = Vec::new();
        for word in read.iter().flatten() {
            match left.iter().position(|text| *text == word) {
                Some(at) => drop(left.remove(at)),
                None => more.push(word.clone()),
            }
        }
        for visited in self.judge.visited.clone() {
            for (block, place, batch) in self.script.submitted(&self.script.branch(visited)) {
                let Some(at) = more.iter().position(|text| *text == text_of(batch)) else { continue };
                if self.judge.attested.contains_key(&(block, place)) {
                    continue;
                }
                self.judge.attested.insert((block, place), batch);
                more.remove(at);
            }
        }
    }
}

fn text_of(batch: Submitted) -> Value {
    let (market, epoch, _) = batch;
    let checksum = super::super::script::CHECKSUM.get(market).copied().unwrap_or(MARKETS[market]);
    json!({ "DataMarketAddress": checksum, "BatchCID": cid(batch), "EpochID": epoch })
}
