//! What clients of the feed of campaigns send: bodies of long polling with packets of Socket.IO, and frames of WebSocket.

use serde_json::Value;
use socket_io::{
    frame::{BadFrame, Reader, Received},
    packet::{Frame, Packet, frames},
};

/// The largest text.
const MOST: usize = 1_000;

/// A body with packets.
pub(crate) fn packets(input: &[u8]) -> String {
    let Ok(body) = std::str::from_utf8(input) else { return "no text".to_owned() };
    let mut label = String::new();
    for frame in frames(body).take(8) {
        label += &match frame {
            Ok(Frame::Message(text)) => packet(text),
            Ok(frame) => format!("{frame:?} "),
            Err(bad) => format!("{bad:?} "),
        };
    }
    label
}

fn packet(text: &str) -> String {
    match Packet::parse(text) {
        Ok(Packet::Event { namespace, ack, name, arguments }) => {
            let number = ack.map(|ack| ack.to_string()).unwrap_or_default();
            let mut all = vec![Value::from(name.clone())];
            all.extend(arguments.iter().cloned());
            // Written again, it is read as the same.
            let written = format!("2{namespace},{number}{}", Value::from(all));
            let again = Packet::parse(&written);
            assert_eq!(again, Ok(Packet::Event { namespace, ack, name, arguments }), "{written}");
            format!("event {} ", ack.is_some())
        }
        Ok(Packet::Connect { auth, .. }) => {
            assert!(auth.is_null() || auth.is_object(), "{auth}");
            format!("connect {} ", auth.is_null())
        }
        Ok(other) => format!("{other:?} ").chars().take(12).collect(),
        Err(bad) => format!("{bad:?} "),
    }
}

/// Frames, which are read as the same whatever the pieces in which they arrive.
pub(crate) fn websocket(input: &[u8]) -> String {
    let whole = read(input, input.len().max(1));
    assert_eq!(whole, read(input, 1));
    assert_eq!(whole, read(input, 7));
    let (texts, end) = &whole;
    assert!(texts.iter().all(|text| !matches!(text, Received::Text(text) if text.len() > MOST)));
    format!("{} {end:?}", texts.len().min(4))
}

fn read(input: &[u8], step: usize) -> (Vec<Received>, Option<BadFrame>) {
    let (mut reader, mut found) = (Reader::default(), Vec::new());
    for piece in input.chunks(step) {
        reader.add(piece);
        loop {
            match reader.next(MOST) {
                Ok(Some(received)) => found.push(received),
                Ok(None) => break,
                Err(bad) => return (found, Some(bad)),
            }
        }
    }
    (found, None)
}
