//! Members of sets and timelines that name epochs. A member that names none is reported, once a key with the number of
//! such members, and the others are read.

use std::collections::BTreeSet;

use domain::{EpochId, tracker::Timed};
use store_redis::{ErrorKind, Fault, Replies, StoreError};

/// Epochs that a member named in another form than the normal one (`2.3e+07` for `23000000`), with that form.
pub(super) type OtherForms = Vec<(EpochId, String)>;

/// The members of a key that name no epoch: how many, and the beginning of the first one.
#[derive(Debug, Default)]
pub(super) struct Unread {
    count: usize,
    first: String,
}

impl Unread {
    fn add(&mut self, member: &[u8]) {
        if self.count == 0 {
            self.first = String::from_utf8_lossy(&member[..member.len().min(240)]).chars().take(60).collect();
        }
        self.count += 1;
    }

    /// One fault a key: a set may hold a million such members.
    pub(super) fn fault(&self, key: &str) -> Option<Fault> {
        let detail = || format!("{} members name no epoch, one is `{}`", self.count, self.first);
        (self.count > 0).then(|| Fault::new(key, ErrorKind::Malformed, detail()))
    }
}

/// The epoch ids among the members of a set.
pub(super) fn epochs(members: Vec<Vec<u8>>, unread: &mut Unread, forms: &mut OtherForms) -> Vec<EpochId> {
    let mut epochs = Vec::with_capacity(members.len());
    // As bytes: a member that is not UTF-8 must not make the whole set unreadable.
    for member in members {
        let text = std::str::from_utf8(&member).ok();
        match text.and_then(|text| EpochId::parse(text).ok()) {
            Some(epoch) => {
                if let Some(text) = text.filter(|text| *text != epoch.as_str()) {
                    forms.push((epoch.clone(), text.to_owned()));
                }
                epochs.push(epoch);
            }
            None => unread.add(&member),
        }
    }
    epochs
}

/// The epochs with these names. Texts that name none are left out without a fault, since the finder has parsed these names.
pub(super) fn named(names: &BTreeSet<String>, forms: &mut OtherForms) -> BTreeSet<EpochId> {
    let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    epochs(names, &mut Unread::default(), forms).into_iter().collect()
}

/// The members of a timeline with their scores, read by `parse`.
pub(super) fn timed<T, E>(
    members: Vec<(Vec<u8>, f64)>,
    parse: impl Fn(&str) -> Result<T, E>,
    unread: &mut Unread,
    forms: &mut OtherForms,
) -> Vec<Timed<T>> {
    let mut timeline = Vec::with_capacity(members.len());
    for (member, at) in members {
        let text = std::str::from_utf8(&member).ok();
        match text.and_then(|text| parse(text).ok()) {
            Some(what) => {
                forms.extend(text.and_then(other_form));
                timeline.push(Timed { at, what });
            }
            None => unread.add(&member),
        }
    }
    timeline
}

/// The next answer as the members of a timeline with their scores, read by `parse`.
pub(super) fn timeline<T, E>(
    replies: &mut Replies,
    key: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    forms: &mut OtherForms,
) -> Result<Option<Vec<Timed<T>>>, StoreError> {
    let Some(members) = replies.take::<Vec<(Vec<u8>, f64)>>(key)? else { return Ok(None) };
    let mut unread = Unread::default();
    let timeline = timed(members, parse, &mut unread, forms);
    if let Some(Fault { kind, detail, .. }) = unread.fault(key) {
        replies.fault(key, kind, detail);
    }
    Ok(Some(timeline))
}

/// The epoch of a member `what:ID`, where the id has another form than the normal one.
fn other_form(member: &str) -> Option<(EpochId, String)> {
    let (_, id) = member.split_once(':')?;
    let is_normal = id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    let epoch = if is_normal { None } else { EpochId::parse(id).ok() };
    epoch.map(|epoch| (epoch, id.to_owned()))
}
