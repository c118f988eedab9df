//! Members of sets and timelines that name epochs. A member that names none is reported, once a key with the number of
//! such members, and the others are read.

use domain::{EpochId, tracker::Timed};
use store_redis::{ErrorKind, Replies, StoreError};

/// Epochs that a member named in another form than the normal one (`2.3e+07` for `23000000`), with that form.
pub(super) type OtherForms = Vec<(EpochId, String)>;

/// The next answer as a set of epoch ids, and how many members it has.
pub(super) fn epochs(
    replies: &mut Replies,
    key: &str,
    forms: &mut OtherForms,
) -> Result<Option<(Vec<EpochId>, u64)>, StoreError> {
    let Some(members) = replies.take::<Vec<Vec<u8>>>(key)? else { return Ok(None) };
    let count = members.len() as u64;
    let (mut epochs, mut unread) = (Vec::with_capacity(members.len()), Vec::new());
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
            None => unread.push(member),
        }
    }
    report_unread(replies, key, &unread);
    Ok(Some((epochs, count)))
}

/// The next answer as the members of a timeline with their scores, read by `parse`.
pub(super) fn timeline<T, E>(
    replies: &mut Replies,
    key: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    forms: &mut OtherForms,
) -> Result<Option<Vec<Timed<T>>>, StoreError> {
    let Some(members) = replies.take::<Vec<(Vec<u8>, f64)>>(key)? else { return Ok(None) };
    let (mut timeline, mut unread) = (Vec::with_capacity(members.len()), Vec::new());
    for (member, at) in members {
        let text = std::str::from_utf8(&member).ok();
        match text.and_then(|text| parse(text).ok()) {
            Some(what) => {
                forms.extend(text.and_then(other_form));
                timeline.push(Timed { at, what });
            }
            None => unread.push(member),
        }
    }
    report_unread(replies, key, &unread);
    Ok(Some(timeline))
}

fn report_unread(replies: &mut Replies, key: &str, members: &[Vec<u8>]) {
    // One fault a key: a set may hold a million such members.
    if let Some(first) = members.first() {
        let first = String::from_utf8_lossy(first).chars().take(60).collect::<String>();
        replies.fault(
            key,
            ErrorKind::Malformed,
            format!("{} members name no epoch, one is `{first}`", members.len()),
        );
    }
}

/// The epoch of a member `what:ID`, where the id has another form than the normal one.
fn other_form(member: &str) -> Option<(EpochId, String)> {
    let (_, id) = member.split_once(':')?;
    let is_normal = id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    let epoch = if is_normal { None } else { EpochId::parse(id).ok() };
    epoch.map(|epoch| (epoch, id.to_owned()))
}
