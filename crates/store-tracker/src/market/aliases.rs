//! Other forms in which producers wrote an epoch's id: `2.3e+07` beside `23000000`. A producer that writes such a
//! member may name the epoch's keys in the same way, so both names are read.
//!
//! Forms are learnt from the members that name an epoch, and kept for the newest epochs only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use domain::EpochId;

use super::members::OtherForms;
use crate::keys::InputKeys;

/// The number of epochs whose other forms are kept; the lowest epochs are forgotten first.
const EPOCHS: usize = 1_000;
/// The number of newest epochs whose forms are kept in the ledger, for other passes and processes.
const ENCODED: usize = 64;
/// The most other forms of one epoch: each adds keys to every pass.
const FORMS: usize = 4;

/// The forms that the passes of a market have found.
#[derive(Debug, Default)]
pub(super) struct Aliases(Mutex<Forms>);

/// Epoch → the other forms of its id.
#[derive(Clone, Debug, Default)]
pub(super) struct Forms(BTreeMap<EpochId, BTreeSet<String>>);

impl Aliases {
    /// Adds forms and returns all that are known. Each is short, since a text that names an epoch is.
    pub(super) fn learn(&self, forms: OtherForms) -> Forms {
        // A poisoned lock is used on: each change is complete in itself.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Both limits are needed: members come from outside.
        for (epoch, form) in forms {
            let forms = known.0.entry(epoch).or_default();
            if forms.len() < FORMS {
                forms.insert(form);
            }
        }
        while known.0.len() > EPOCHS {
            known.0.pop_first();
        }
        known.clone()
    }
}

impl Forms {
    /// The forms of the newest epochs as a text; `None` where there are none.
    pub(super) fn encode(&self) -> Option<String> {
        let newest = self.0.iter().rev().take(ENCODED);
        let all = newest.flat_map(|(epoch, forms)| forms.iter().map(move |form| format!("{epoch}={form}")));
        let all: Vec<String> = all.collect();
        (!all.is_empty()).then(|| all.join(" "))
    }

    /// Reads a text of [`Forms::encode`]; invalid parts are ignored.
    pub(super) fn decode(text: &str) -> impl Iterator<Item = (EpochId, String)> {
        let forms = text.split(' ').filter_map(|form| form.split_once('='));
        forms.filter_map(|(epoch, form)| Some((EpochId::parse(epoch).ok()?, form.to_owned())))
    }

    /// The keys of an epoch under one spelling: by its id, and by each other form of it.
    pub(super) fn under<'a>(
        &'a self,
        input: InputKeys<'a>,
        epoch: &EpochId,
    ) -> impl Iterator<Item = InputKeys<'a>> + Clone + use<'a> {
        let forms = self.0.get(epoch).into_iter().flatten();
        std::iter::once(input).chain(forms.map(move |form| input.with_id(form)))
    }
}
