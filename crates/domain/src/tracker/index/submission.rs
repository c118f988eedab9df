//! The parts of a submission's id, in the forms that producers use. An id of any other form has none.

use super::quota::LONGEST_EPOCH;
use crate::EpochId;

/// The parts of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionParts<'a> {
    /// The epoch.
    pub epoch: EpochId,
    /// The project. Projects may contain the separators of an id.
    pub project: &'a str,
    /// The snapshotter's slot.
    pub slot: Option<&'a str>,
    /// The snapshotter's peer.
    pub peer: Option<&'a str>,
}

impl<'a> SubmissionParts<'a> {
    /// Reads `E-PROJECT-NANOS`, `E-PROJECT-SLOT-CID` or `E:SLOT:PROJECT:TIME:PEER`. The whole id must have the form:
    /// the digits at the beginning of another id, such as a UUID, are not an epoch.
    #[must_use]
    pub fn of(id: &'a str) -> Option<Self> {
        let at = id.find([':', '-'])?;
        let (epoch, rest) = (EpochId::parse(&id[..at]).ok()?, &id[at + 1..]);
        let (project, slot, peer) = if id.as_bytes()[at] == b':' {
            // From both ends: the project in the middle may contain the separator.
            let (slot, rest) = rest.split_once(':')?;
            let (rest, peer) = rest.rsplit_once(':')?;
            let (project, time) = rest.rsplit_once(':')?;
            if !is_number(slot) || !is_number(time) || peer.is_empty() {
                return None;
            }
            (project, Some(slot), Some(peer))
        } else {
            let (rest, last) = rest.rsplit_once('-')?;
            if is_nanos(last) {
                (rest, None, None)
            } else if is_cid(last) {
                let (project, slot) = rest.rsplit_once('-')?;
                if !is_number(slot) {
                    return None;
                }
                (project, Some(slot), None)
            } else {
                return None;
            }
        };
        let is_epoch = epoch.as_str().len() <= LONGEST_EPOCH;
        (!project.is_empty() && is_epoch).then_some(Self { epoch, project, slot, peer })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Nanoseconds since 1970 have 19 digits until 2286; microseconds have 16.
fn is_nanos(text: &str) -> bool {
    (16..=20).contains(&text.len()) && is_number(text)
}

/// A content id of version 0 (`Qm…`) or 1 in base 32 (`baf…`).
fn is_cid(text: &str) -> bool {
    (text.starts_with("Qm") || text.starts_with("baf"))
        && text.len() > 8
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CID: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG";

    #[test]
    fn each_form_of_an_id_tells_what_stands_in_it() {
        let project = "pair:0xAb:UNISWAP-V3-ETH";
        let epoch = || EpochId::parse("23000001").expect("an epoch id");
        let parts = |slot, peer| Some(SubmissionParts { epoch: epoch(), project, slot, peer });
        for (id, read) in [
            (format!("23000001-{project}-1763900000000000000"), parts(None, None)),
            (format!("23000001-{project}-42-{CID}"), parts(Some("42"), None)),
            (format!("2.3000001e+07-{project}-42-{CID}"), parts(Some("42"), None)),
            (format!("23000001-{project}-42-bafy12345"), parts(Some("42"), None)),
            (format!("23000001:42:{project}:1763900000:12D3Koo"), parts(Some("42"), Some("12D3Koo"))),
        ] {
            assert_eq!(SubmissionParts::of(&id), read, "{id}");
        }
    }

    #[test]
    fn nothing_is_guessed_from_an_id_of_another_form() {
        for id in [
            "",
            "23000001",
            "peer-12D3Koo",
            "12345678-9012-4345-8678-901234567890",
            "23000001-project",
            "23000001-project-7",
            "23000001--1763900000000000000",
            "23000001-project-slot-QmYwAPJzv5CZsnA",
            "23000001-project-42-bafy1234",
            "23000001:slot:project:1763900000:peer",
            "23000001:42:project:then:peer",
            "23000001:42:project:1763900000:",
            "23000001:42:1763900000:peer",
            "123456789012345678901:42:project:1763900000:peer",
            ":::::",
            "-----",
        ] {
            assert_eq!(SubmissionParts::of(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(id in "\\PC{0,60}") {
            let _ = SubmissionParts::of(&id);
        }

        #[test]
        fn a_project_may_hold_any_separators(project in "[a-z:-]{0,20}[a-z]", epoch: u64, slot: u32) {
            let id = format!("{epoch}:{slot}:{project}:17:peer");
            prop_assert_eq!(SubmissionParts::of(&id).map(|parts| parts.project), Some(project.as_str()));
            let id = format!("{epoch}-{project}-{slot}-{CID}");
            prop_assert_eq!(SubmissionParts::of(&id).map(|parts| parts.project), Some(project.as_str()));
        }
    }
}
