//! Frames of WebSocket (RFC 6455) from clients: texts, put together from their parts, and what controls the connection. Pure; it reads
//! what strangers send.

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole text.
    Text(String),
    /// It wants these bytes back.
    Ping(Vec<u8>),
    /// It ends the connection.
    Close,
}

/// Why a client's bytes are refused, with the status of the closing frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Not a frame of RFC 6455 without extensions.
    #[error("the frame breaks the protocol")]
    Protocol,
    /// Bytes that are no text.
    #[error("binary packets are not supported")]
    Binary,
    /// A text that is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// More than the limit.
    #[error("the message is too large")]
    TooLarge,
}

impl BadFrame {
    /// The status that RFC 6455 gives it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::Utf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The longest content of a control frame.
const LONGEST_CONTROL: u64 = 125;

/// Reads frames from bytes as they arrive. It holds only what is not complete: a silent client costs no buffer.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes of a frame that is not complete.
    bytes: Vec<u8>,
    /// The parts so far of a text that is not complete.
    text: Option<Vec<u8>>,
}

/// The head of a frame.
struct Head {
    is_last: bool,
    code: u8,
    /// Where the content begins, and the mask before it.
    at: usize,
    length: u64,
}

impl Reader {
    /// Adds bytes that arrived.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next thing that is complete; a text may have `most` bytes.
    ///
    /// # Errors
    /// [`BadFrame`]; then the connection can't be used further.
    pub fn next(&mut self, most: usize) -> Result<Option<Received>, BadFrame> {
        while let Some((head, content)) = self.frame(most)? {
            match (head.code, &mut self.text) {
                (TEXT, None) if head.is_last => return text(content).map(Some),
                (TEXT, before @ None) => *before = Some(content),
                (CONTINUATION, Some(before)) => {
                    if before.len() + content.len() > most {
                        return Err(BadFrame::TooLarge);
                    }
                    before.extend_from_slice(&content);
                    if head.is_last {
                        return text(self.text.take().unwrap_or_default()).map(Some);
                    }
                }
                (BINARY, _) => return Err(BadFrame::Binary),
                (PING, _) => return Ok(Some(Received::Ping(content))),
                (CLOSE, _) => return Ok(Some(Received::Close)),
                (PONG, _) => {}
                _ => return Err(BadFrame::Protocol),
            }
        }
        Ok(None)
    }

    /// Takes the next frame, if it is complete.
    fn frame(&mut self, most: usize) -> Result<Option<(Head, Vec<u8>)>, BadFrame> {
        let Some(head) = head(&self.bytes)? else { return Ok(None) };
        if head.length > most as u64 {
            return Err(BadFrame::TooLarge);
        }
        // It is at most `most`.
        let end = head.at + head.length as usize;
        let Some(content) = self.bytes.get(head.at..end) else { return Ok(None) };
        let mask = self.bytes.get(head.at - 4..head.at).unwrap_or_default();
        let content: Vec<u8> =
            content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.bytes.drain(..end);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(Some((head, content)))
    }
}

/// The head at the beginning of these bytes, if it is complete.
fn head(bytes: &[u8]) -> Result<Option<Head>, BadFrame> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (is_last, reserved, code) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
    // No extension was agreed upon, and clients mask what they send.
    if reserved != 0 || second & 0x80 == 0 {
        return Err(BadFrame::Protocol);
    }
    let short = u64::from(second & 0x7f);
    let (length, more) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8),
            None => return Ok(None),
        },
        _ => (short, 0),
    };
    if code >= CLOSE && (!is_last || length > LONGEST_CONTROL) {
        return Err(BadFrame::Protocol);
    }
    // The mask must be there too before its place is read.
    Ok((rest.len() >= more + 4).then_some(Head { is_last, code, at: 2 + more + 4, length }))
}

fn text(content: Vec<u8>) -> Result<Received, BadFrame> {
    String::from_utf8(content).map(Received::Text).map_err(|_| BadFrame::Utf8)
}

/// The answer to a ping.
pub(crate) fn pong(content: &[u8]) -> Vec<u8> {
    control(PONG, content)
}

/// The closing frame with this status and reason.
pub(crate) fn close(status: u16, reason: &str) -> Vec<u8> {
    control(CLOSE, &[&status.to_be_bytes(), reason.as_bytes()].concat())
}

fn control(code: u8, content: &[u8]) -> Vec<u8> {
    let content = content.get(..content.len().min(LONGEST_CONTROL as usize)).unwrap_or_default();
    // At most 125.
    [&[0x80 | code, content.len() as u8], content].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1_000;

    /// A frame of a client.
    fn sent(first: u8, content: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        match content.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 126);
                frame.extend((long as u16).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn read(bytes: &[u8], step: usize) -> Result<Vec<Received>, BadFrame> {
        let (mut reader, mut found) = (Reader::default(), Vec::new());
        for part in bytes.chunks(step) {
            reader.add(part);
            while let Some(received) = reader.next(MOST)? {
                found.push(received);
            }
        }
        Ok(found)
    }

    #[test]
    fn a_text_in_parts_with_a_ping_between_them_is_one_text() {
        let long = "y".repeat(300);
        let bytes = [
            sent(0x01, b"4he"),
            sent(0x89, b"?"),
            sent(0x00, "ll\u{f6}".as_bytes()),
            sent(0x80, b"!"),
            sent(0x8a, b""),
            sent(0x81, long.as_bytes()),
            sent(0x88, &[3, 232]),
        ]
        .concat();
        for step in [1, 2, 7, bytes.len()] {
            let expected = [
                Received::Ping(b"?".to_vec()),
                Received::Text("4hell\u{f6}!".to_owned()),
                Received::Text(long.clone()),
                Received::Close,
            ];
            assert_eq!(read(&bytes, step).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn frames_that_break_the_protocol_are_refused() {
        for (bytes, expected) in [
            (vec![0x81, 0x01, b'x'], BadFrame::Protocol),
            (sent(0xc1, b"x"), BadFrame::Protocol),
            (sent(0x80, b"x"), BadFrame::Protocol),
            (sent(0x83, b"x"), BadFrame::Protocol),
            (sent(0x09, b"x"), BadFrame::Protocol),
            ([sent(0x01, b"x"), sent(0x81, b"x")].concat(), BadFrame::Protocol),
            (sent(0x89, &[0; 126]), BadFrame::Protocol),
            (sent(0x82, b"x"), BadFrame::Binary),
            (sent(0x81, &[0xff]), BadFrame::Utf8),
            (sent(0x81, &[b'x'; MOST + 1]), BadFrame::TooLarge),
            ([sent(0x01, &[b'x'; MOST]), sent(0x80, b"x")].concat(), BadFrame::TooLarge),
        ] {
            assert_eq!(read(&bytes, 1), Err(expected), "{bytes:?}");
        }
        // A length is refused before its content arrives.
        assert_eq!(
            read(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 14),
            Err(BadFrame::TooLarge)
        );
    }

    #[test]
    fn a_reader_that_waits_holds_no_buffer() {
        let mut reader = Reader::default();
        reader.add(&sent(0x81, b"3"));
        assert_eq!(reader.next(MOST), Ok(Some(Received::Text("3".to_owned()))));
        assert_eq!((reader.bytes.capacity(), reader.next(MOST)), (0, Ok(None)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), step in 1_usize..9) {
            let _ = read(&bytes, step);
        }
    }
}
