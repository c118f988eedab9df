//! What a sender of pictures writes: the lines of a connection, and the message of each.

use peer_snapshots::{ENDLESS, Endless, Frame, Framer, Message, ReadAhead, Tagging, Unreadable, read};
use testkit::fuzz::label;

/// The longest line of these connections, in bytes. It is short, so that inputs reach it.
const LONGEST: usize = 4 << 10;
/// What a connection holds beyond that, in bytes.
const MOST_KEPT: usize = 8 << 10;
/// The longest error, in bytes: it has the path of a field, and nothing of the sender.
const LONGEST_ERROR: usize = 200;

/// The bytes of a connection.
pub(crate) fn lines(input: &[u8]) -> String {
    let (whole, endless) = frames(input, usize::MAX);
    // Wherever packets end, the lines are the same. The first byte says where.
    let length = usize::from(input.first().copied().unwrap_or_default()) % 97 + 1;
    for length in [1, length] {
        assert_eq!(frames(input, length), (whole.clone(), endless), "packets of {length} bytes");
    }
    read_ahead(input, length);
    let longest = input.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or_default();
    assert_eq!(endless.is_some(), longest > LONGEST * ENDLESS, "the longest line has {longest} bytes");
    let mut labels: Vec<String> = Vec::new();
    for line in &whole {
        let label = line.as_ref().map_or_else(|| "too long".to_owned(), |line| message(line));
        if labels.len() < 3 && !labels.contains(&label) {
            labels.push(label);
        }
    }
    format!("{} {}", labels.join("|"), endless.is_some())
}

/// The lines of an input that comes in packets of this length; `None` for one that is too long.
fn frames(input: &[u8], length: usize) -> (Vec<Option<Vec<u8>>>, Option<Endless>) {
    let (mut framer, mut found) = (Framer::new(LONGEST), Vec::new());
    for packet in input.chunks(length.min(input.len()).max(1)) {
        let mut packet = packet;
        loop {
            match framer.next(&mut packet) {
                Ok(Some(Frame::Line(line))) => found.push(Some(line.to_vec())),
                Ok(Some(Frame::TooLong(length))) => {
                    assert!(length > LONGEST);
                    found.push(None);
                }
                Ok(None) => break,
                Err(endless) => return (found, Some(endless)),
            }
            assert!(framer.memory() <= LONGEST + MOST_KEPT, "{} bytes are held", framer.memory());
        }
    }
    (found, None)
}

/// What is read of lines while they arrive in packets of this length is what is read of them as a whole.
fn read_ahead(input: &[u8], length: usize) {
    let (mut framer, mut ahead) = (Framer::new(LONGEST), ReadAhead::every(length));
    for packet in input.chunks(length) {
        let mut packet = packet;
        loop {
            match framer.next(&mut packet) {
                Ok(Some(Frame::Line(line))) => assert_eq!(ahead.read(line).0, read(line)),
                Ok(Some(Frame::TooLong(_))) => ahead.forget(),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        while ahead.look(framer.unfinished_line(), |_| {}) {}
    }
}

/// One line.
fn message(line: &[u8]) -> String {
    assert!(!line.is_empty() && line.len() <= LONGEST);
    match read(line) {
        Ok(message) => {
            let name = message.kind().label();
            for tagging in [Tagging::Outer, Tagging::Inner] {
                let mut written = Vec::new();
                message.write_line(tagging, &mut written);
                if matches!(message, Message::Retired(_)) {
                    assert!(written.is_empty(), "it can't be sent");
                    continue;
                }
                assert_eq!(written.pop(), Some(b'\n'));
                assert!(!written.contains(&b'\n'));
                assert_eq!(read(&written).as_ref(), Ok(&message), "what is written is read as it was");
            }
            format!("{name} {}", entries(&message).min(3))
        }
        Err(error) => refused(&error),
    }
}

/// How many entries a message has.
fn entries(message: &Message) -> usize {
    match message {
        Message::Miners(all) => all.miners.len(),
        Message::Connections(all) => all.connections.len(),
        Message::Proxy(status) => status.downstream_miners.len(),
        Message::Pool(status) => status.downstream_proxies.len() + status.services.len(),
        Message::Metrics(metrics) => metrics.downstreams.len(),
        Message::Balance(_) | Message::Quote(_) | Message::Heartbeat(_) | Message::Retired(_) => 0,
    }
}

/// The label of an error. It is logged as it is, so nothing of it may be the sender's.
fn refused(error: &Unreadable) -> String {
    let text = error.to_string();
    assert!(text.len() < LONGEST_ERROR, "{text}");
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
    let of_ours = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte);
    assert!(error.field.bytes().all(of_ours), "{:?}", error.field);
    format!("{} {}", error.reason.label(), label(&error.field))
}
