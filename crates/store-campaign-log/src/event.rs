//! An event of the log, and its form on the channel.

use std::borrow::Cow;

/// The most bytes of a payload.
pub const LARGEST_PAYLOAD: usize = 64 << 10;
/// The most bytes of the name of a campaign, a kind, a subject or a version.
const LONGEST_NAME: usize = 64;

/// An event of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id of the campaign.
    pub campaign: String,
    /// The event's id, which grows over all campaigns.
    pub id: u64,
    /// The id of the event before it, of all campaigns; 0 for the first one. A gateway that has not seen that one has missed something.
    pub previous: u64,
    /// The kind: the name under which clients receive it.
    pub kind: String,
    /// What it is about: the id of a run or a job.
    pub subject: String,
    /// When it was appended, by the clock of Redis, in Unix milliseconds.
    pub at: u64,
    /// Its content, as JSON without id and time.
    pub payload: String,
}

/// Whether a text may be the name of a campaign, a kind, a subject or a version: letters, digits, `-`, `_`, `.` and `:`, so that it
/// can't end a hash tag or a line.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(is_allowed)
}

impl Event {
    /// Parses a message of the channel; `None` for one that no program of this version has sent.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        // The payload comes last: it alone may contain line breaks.
        let mut parts = text.splitn(7, '\n');
        let mut part = || parts.next();
        let (campaign, kind, subject) = (part()?, part()?, part()?);
        let (id, previous, at) = (part()?.parse().ok()?, part()?.parse().ok()?, part()?.parse().ok()?);
        let payload = part()?.to_owned();
        let is_named = [campaign, kind, subject].into_iter().all(is_name);
        let [campaign, kind, subject] = [campaign, kind, subject].map(str::to_owned);
        is_named.then_some(Self { campaign, id, previous, kind, subject, at, payload })
    }

    /// An event from the fields of an entry of the log.
    pub(crate) fn from_entry(id: &str, fields: &[(String, String)]) -> Option<Self> {
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
        Some(Self {
            campaign: field("campaign")?.clone(),
            id: id.split('-').next()?.parse().ok()?,
            previous: field("previous")?.parse().ok()?,
            kind: field("kind")?.clone(),
            subject: field("subject")?.clone(),
            at: field("at")?.parse().ok()?,
            payload: field("payload")?.clone(),
        })
    }

    /// An event from a field of the latest ones: `kind|subject`, with `id previous at payload`.
    pub(crate) fn from_latest(campaign: &str, field: &str, value: &str) -> Option<Self> {
        let (kind, subject) = field.split_once('|')?;
        let mut parts = value.splitn(4, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (id, previous, at) = (number()?, number()?, number()?);
        let payload = parts.next()?.to_owned();
        let [campaign, kind, subject] = [campaign, kind, subject].map(str::to_owned);
        Some(Self { campaign, id, previous, kind, subject, at, payload })
    }

    /// The payload with `eventId` and `timestamp` before its own fields.
    #[must_use]
    pub fn with_id(&self, timestamp: &str) -> String {
        let inner = self.payload.trim_start().strip_prefix('{').unwrap_or("}");
        let separator = if inner.trim_start().starts_with('}') { "" } else { "," };
        let timestamp: Cow<'_, str> = match timestamp.contains(['"', '\\']) {
            true => Cow::Owned(timestamp.replace(['"', '\\'], "")),
            false => Cow::Borrowed(timestamp),
        };
        format!("{{\"eventId\":{},\"timestamp\":\"{timestamp}\"{separator}{inner}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_parsed_and_any_other_text_is_refused() {
        let event = Event::parse(b"c1\ncampaign:status\nr1\n7\n6\n1000\n{\"a\":\n1}").expect("an event");
        assert_eq!((event.id, event.previous, event.at), (7, 6, 1000));
        assert_eq!(event.payload, "{\"a\":\n1}");
        for other in ["", "c1", "c1\nk\ns\nx\n6\n1\n{}", "c}1\nk\ns\n7\n6\n1\n{}", "c1\nk\ns\n7\n6\n1"] {
            assert_eq!(Event::parse(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(Event::parse(&[0xff, b'\n']), None);
    }

    #[test]
    fn id_and_time_stand_before_the_fields_of_the_payload() {
        let event = |payload: &str| Event {
            campaign: "c".into(),
            id: 7,
            previous: 6,
            kind: "k".into(),
            subject: "s".into(),
            at: 1,
            payload: payload.into(),
        };
        assert_eq!(event("{\"a\":1}").with_id("t"), r#"{"eventId":7,"timestamp":"t","a":1}"#);
        assert_eq!(event("{}").with_id("t"), r#"{"eventId":7,"timestamp":"t"}"#);
        assert_eq!(event("not an object").with_id("t"), r#"{"eventId":7,"timestamp":"t"}"#);
    }

    #[test]
    fn a_name_has_no_brace_no_blank_and_no_line_break() {
        assert!(is_name("3f0c8a54-7a0e-4c39-b6a1-0d8f0f4d6f11") && is_name("campaign:status"));
        for bad in ["", "a}b", "a b", "a\nb", "a|b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
