//! What a gateway knows of the log: the versions that it has offered and their ids, and the last id of all. It is small: a version for each
//! run that is watched. Pure.

use std::collections::BTreeMap;

use store_campaign_log::Form;

use super::told::Told;

/// The most versions that are remembered. A forgotten one is offered again, and the log knows it.
const MOST: usize = 50_000;

/// A version that the log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    name: String,
    id: u64,
}

/// The versions, by kind and subject.
#[derive(Debug, Default)]
pub(super) struct Known {
    versions: BTreeMap<(&'static str, String), Version>,
    seen: u64,
}

impl Known {
    /// The last id of all.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The id under which the log has this very version; 0 if that is not known.
    pub(super) fn id_of(&self, told: &Told) -> u64 {
        let version = self.versions.get(&(told.kind, told.subject.clone()));
        version.filter(|version| version.name == told.version).map_or(0, |version| version.id)
    }

    /// Whether the log has this version.
    pub(super) fn has(&self, told: &Told) -> bool {
        let version = self.versions.get(&(told.kind, told.subject.clone()));
        version.is_some_and(|version| version.name == told.version)
    }

    pub(super) fn put(&mut self, told: &Told, id: u64) {
        self.seen = self.seen.max(id);
        // A job is told once: nobody asks for its version again.
        if told.form == Form::Passing {
            return;
        }
        let key = (told.kind, told.subject.clone());
        if self.versions.len() >= MOST && !self.versions.contains_key(&key) {
            self.versions.clear();
        }
        self.versions.insert(key, Version { name: told.version.clone(), id });
    }

    /// Forgets the versions of a subject that is gone.
    pub(super) fn forget(&mut self, subject: &str) {
        self.versions.retain(|(_, of), _| of != subject);
    }
}
