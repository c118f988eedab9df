//! How an event stands on the wire. Pure.

use std::time::SystemTime;

use socket_io::{Message, Replaces};

use crate::event::{Event, EventKind};

/// The namespace of the feed.
pub(crate) const NAMESPACE: &str = "/campaigns";

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

/// A time as it stands in events.
pub(crate) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn only_what_comes_from_the_log_in_order_has_an_offset() {
        let text = |message: Message| String::from_utf8(message.payload().to_vec()).unwrap();
        assert!(text(live(&event("{}"))).ends_with(r#","7"]"#));
        assert!(text(latest(&event("{}"))).ends_with("}]"));
    }
}
