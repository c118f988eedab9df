//! How an event stands on the wire. Pure.

use std::time::{Duration, SystemTime};

use socket_io::{Message, Replaces};

use crate::event::{Event, EventKind};

/// The namespace of the feed.
pub(crate) const NAMESPACE: &str = "/campaigns";
/// The bytes around the payload of an event, about: its name, its id and its time.
pub(crate) const AROUND: usize = 128;
/// The last moment of the year 9999, since the Unix epoch: no later one can be written.
const LATEST: Duration = Duration::from_millis(253_402_300_799_999);

/// The payload of an event: its object, with its id and time in front.
pub(crate) fn payload(event: &Event) -> String {
    let rest = event.payload.trim().strip_prefix('{').unwrap_or("}").trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!(r#"{{"eventId":{},"timestamp":"{}"{comma}{rest}"#, event.id, time(event.at))
}

/// The message of an event that a client gets live, or again: with its offset.
pub(crate) fn live(event: &Event) -> Message {
    message(event, Some(&event.id.to_string()))
}

/// The message of the status that a client gets when it joins. It has no offset: it is older than what the client may have received of other
/// campaigns, and an offset says that all before it is known.
pub(crate) fn latest(event: &Event) -> Message {
    message(event, None)
}

fn message(event: &Event, offset: Option<&str>) -> Message {
    let message = Message::event(NAMESPACE, event.kind.name(), &payload(event), offset);
    match event.kind {
        EventKind::Status => message.replacing(Replaces(event.campaign.bits())),
        EventKind::Alert | EventKind::Job | EventKind::Run => message,
    }
}

/// A time as it stands in events: one before 1970 or after the year 9999, which a log may have, is the nearest one between.
pub(crate) fn time(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LATEST);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::CampaignId;

    fn event(payload: &str) -> Event {
        Event {
            id: 7,
            campaign: CampaignId::new(1),
            kind: EventKind::Job,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
            payload: payload.to_owned(),
        }
    }

    #[test]
    fn each_payload_carries_its_id_and_time() {
        let shown = |text: &str| payload(&event(text));
        let expected = r#"{"eventId":7,"timestamp":"1970-01-01T00:00:01.500Z","jobId":"j"}"#;
        assert_eq!(shown(r#"{"jobId":"j"}"#), expected);
        assert_eq!(shown(r#" { "jobId":"j"}"#), expected);
        for empty in ["{}", "{ }", "", "null"] {
            assert_eq!(shown(empty), r#"{"eventId":7,"timestamp":"1970-01-01T00:00:01.500Z"}"#, "{empty}");
        }
    }

    #[test]
    fn a_time_that_no_calendar_has_is_written_as_the_nearest_one() {
        let after = |millis: u64| time(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(after(u64::MAX / 1_000), "9999-12-31T23:59:59.999Z");
        assert_eq!(after(253_402_300_800_000), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn only_what_comes_from_the_log_in_order_has_an_offset() {
        let text = |message: Message| String::from_utf8(message.payload().to_vec()).unwrap();
        assert!(text(live(&event("{}"))).ends_with(r#","7"]"#));
        assert!(text(latest(&event("{}"))).ends_with("}]"));
    }
}
