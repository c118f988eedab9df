//! What is sent to clients: each message is encoded once, and all clients that get it share its bytes.

use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;

/// The first byte of a WebSocket frame that is a whole text.
const WHOLE_TEXT: u8 = 0x81;

/// A message for clients, encoded as a frame of WebSocket. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    frame: Bytes,
    /// Where the text begins: long polling sends it without the head of the frame.
    text_at: u8,
    /// Messages that replace each other where a client is slow.
    replaces: Option<Replaces>,
}

/// What a message is the latest state of. A message with the same mark that still waits may be replaced by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replaces(pub u128);

impl Message {
    /// An event: its name, its arguments as JSON texts, and where it stands in the log. A client of the official library returns this offset
    /// when it comes back.
    #[must_use]
    pub fn event(namespace: &str, name: &str, argument: &str, offset: Option<&str>) -> Self {
        let mut text = head('2', namespace, None);
        text.push('[');
        text.push_str(&quoted(name));
        text.push(',');
        text.push_str(argument);
        if let Some(offset) = offset {
            text.push(',');
            text.push_str(&quoted(offset));
        }
        text.push(']');
        Self::text(&text)
    }

    /// The answer to a request for an acknowledgement, with one argument.
    #[must_use]
    pub fn acknowledgement(namespace: &str, number: u64, argument: &impl Serialize) -> Self {
        let mut text = head('3', namespace, Some(number));
        text.push('[');
        text.push_str(&json(argument));
        text.push(']');
        Self::text(&text)
    }

    /// Marks it as the latest state of something.
    #[must_use]
    pub fn replacing(self, what: Replaces) -> Self {
        Self { replaces: Some(what), ..self }
    }

    pub(crate) fn connect(namespace: &str, sid: &str, pid: Option<&str>) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            sid: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            pid: Option<&'a str>,
        }
        Self::text(&(head('0', namespace, None) + &json(&Data { sid, pid })))
    }

    pub(crate) fn connect_error(namespace: &str, message: &str, data: Option<&Value>) -> Self {
        #[derive(Serialize)]
        struct Data<'a> {
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a Value>,
        }
        Self::text(&(head('4', namespace, None) + &json(&Data { message, data })))
    }

    pub(crate) fn disconnect(namespace: &str) -> Self {
        Self::text(&head('1', namespace, None))
    }

    /// A packet of Engine.IO.
    pub(crate) fn text(text: &str) -> Self {
        let length = text.len();
        let mut frame = Vec::with_capacity(length + 10);
        frame.push(WHOLE_TEXT);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..126), _) => frame.push(short),
            (_, Ok(medium)) => {
                frame.push(126);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // At most 10.
        let text_at = frame.len() as u8;
        frame.extend_from_slice(text.as_bytes());
        Self { frame: frame.into(), text_at, replaces: None }
    }

    /// A frame of WebSocket that is no packet: a pong or the end.
    pub(crate) fn control(frame: Vec<u8>) -> Self {
        let text_at = u8::try_from(frame.len()).unwrap_or(u8::MAX);
        Self { frame: frame.into(), text_at, replaces: None }
    }

    /// The frame of WebSocket.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The packet without the head of the frame.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.frame.get(usize::from(self.text_at)..).unwrap_or_default()
    }

    pub(crate) fn replaces(&self) -> Option<Replaces> {
        self.replaces
    }

    /// The bytes that a waiting message counts.
    pub(crate) fn size(&self) -> usize {
        self.frame.len()
    }
}

/// The beginning of a packet of Socket.IO within one of Engine.IO.
fn head(kind: char, namespace: &str, number: Option<u64>) -> String {
    let mut text = String::with_capacity(64);
    text.extend(['4', kind]);
    if namespace != "/" {
        text.push_str(namespace);
        text.push(',');
    }
    if let Some(number) = number {
        text.push_str(&number.to_string());
    }
    text
}

fn quoted(text: &str) -> String {
    json(&text)
}

fn json(value: &impl Serialize) -> String {
    // Plain data always has a JSON form; what has none would be a map with keys that are no texts.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(message: &Message) -> &str {
        std::str::from_utf8(message.payload()).unwrap()
    }

    #[test]
    fn packets_have_the_form_that_the_official_client_reads() {
        let event = Message::event("/campaigns", "campaign:status", r#"{"eventId":7}"#, Some("7"));
        assert_eq!(text(&event), r#"42/campaigns,["campaign:status",{"eventId":7},"7"]"#);
        let plain = Message::event("/", "pong", "{}", None);
        assert_eq!(text(&plain), r#"42["pong",{}]"#);
        let ack = Message::acknowledgement("/campaigns", 3, &json!({ "success": true }));
        assert_eq!(text(&ack), r#"43/campaigns,3[{"success":true}]"#);
        let connect = Message::connect("/campaigns", "s", Some("p"));
        assert_eq!(text(&connect), r#"40/campaigns,{"sid":"s","pid":"p"}"#);
        let refused = Message::connect_error("/campaigns", "no \"way\"", None);
        assert_eq!(text(&refused), r#"44/campaigns,{"message":"no \"way\""}"#);
        assert_eq!(text(&Message::disconnect("/campaigns")), "41/campaigns,");
    }

    #[test]
    fn the_head_of_a_frame_says_its_length() {
        for (length, head) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let message = Message::text(&"x".repeat(length));
            assert!(message.frame().starts_with(&head), "{length}");
            assert_eq!((message.frame().len(), message.payload().len()), (head.len() + length, length));
        }
    }
}
