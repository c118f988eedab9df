//! What a server sends to a subscriber, read out of the received bytes without a copy.
//!
//! Pure. The protocol is RESP2, in which a subscribed connection receives only events, confirmations, answers to pings and
//! errors. Source: the protocol's specification, and Redis' page of Pub/Sub.
//!
//! Promises: an event costs no allocation; a length that is announced takes no memory until its bytes are there; what is none of
//! these frames ends the connection, since nothing after it could be told apart.

use memchr::memchr;

/// The longest line of an error or an answer, in bytes.
const LONGEST_LINE: usize = 64 << 10;
/// The most digits of a length, so that the sum of two is a number too.
const DIGITS: usize = 15;

/// What the received bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A published event.
    Event {
        /// The channel.
        channel: &'a [u8],
        /// The event itself.
        payload: &'a [u8],
    },
    /// The subscription to one channel has begun, or has ended.
    Confirmed,
    /// Another answer that is no error, such as to a ping.
    Answered,
    /// The line of an error, with its mark and its end, as it was received.
    Refused(&'a [u8]),
}

/// The first frame of the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A frame, and how many bytes it has.
    Whole(Frame<'a>, usize),
    /// It is not there as a whole. It has at least so many bytes.
    Partial(usize),
}

/// What the server has sent is no frame of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent something that is no event and no answer")]
pub(crate) struct NoFrame;

/// How every event begins.
const EVENT: &[u8] = b"*3\r\n$7\r\nmessage\r\n";

/// Reads the first frame.
///
/// # Errors
/// [`NoFrame`] if the bytes are none, however they go on.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, NoFrame> {
    // Nearly all frames are events.
    if let Some(rest) = bytes.strip_prefix(EVENT) {
        return event(rest, bytes.len());
    }
    match bytes.first() {
        None => Ok(Parsed::Partial(1)),
        Some(b'*') => list(bytes),
        Some(b'+' | b':') => line(bytes, |_| Frame::Answered),
        Some(b'-') => line(bytes, Frame::Refused),
        Some(_) => Err(NoFrame),
    }
}

fn event(rest: &[u8], received: usize) -> Result<Parsed<'_>, NoFrame> {
    let (channel, rest) = match text(rest)? {
        Text::Whole(channel, rest) => (channel.unwrap_or_default(), rest),
        Text::Partial(missing) => return Ok(Parsed::Partial(received + missing)),
    };
    match text(rest)? {
        Text::Whole(payload, rest) => {
            let payload = payload.unwrap_or_default();
            Ok(Parsed::Whole(Frame::Event { channel, payload }, received - rest.len()))
        }
        Text::Partial(missing) => Ok(Parsed::Partial(received + missing)),
    }
}

/// A text with its length before it, or a number.
enum Text<'a> {
    /// The text, `None` for none, and the bytes behind it.
    Whole(Option<&'a [u8]>, &'a [u8]),
    /// At least so many bytes are missing.
    Partial(usize),
}

fn text(bytes: &[u8]) -> Result<Text<'_>, NoFrame> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(Text::Partial(1)) };
    if !matches!(kind, b'$' | b':') {
        return Err(NoFrame);
    }
    let Some((length, rest)) = number(rest)? else { return Ok(Text::Partial(1)) };
    let Some(length) = length.filter(|_| *kind == b'$') else { return Ok(Text::Whole(None, rest)) };
    let Some(ended) = rest.get(..length + 2) else { return Ok(Text::Partial(length + 2 - rest.len())) };
    match ended.strip_suffix(b"\r\n") {
        Some(text) => Ok(Text::Whole(Some(text), &rest[length + 2..])),
        None => Err(NoFrame),
    }
}

/// A number with its line's end, and the bytes behind it; `None` within for a negative one. `None` if its line is not there as a
/// whole.
#[allow(clippy::type_complexity)] // Once, and private.
fn number(bytes: &[u8]) -> Result<Option<(Option<usize>, &[u8])>, NoFrame> {
    let (is_negative, digits) = match bytes.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, bytes),
    };
    let mut value = 0;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if at < DIGITS => value = value * 10 + usize::from(byte - b'0'),
            b'\r' if at > 0 => {
                return match digits.get(at + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some(((!is_negative).then_some(value), &digits[at + 2..]))),
                    Some(_) => Err(NoFrame),
                };
            }
            _ => return Err(NoFrame),
        }
    }
    Ok(None)
}

/// A list that is no event: a confirmation, or the answer to a ping.
fn list(bytes: &[u8]) -> Result<Parsed<'_>, NoFrame> {
    let Some((length, mut rest)) = number(&bytes[1..])? else { return Ok(Parsed::Partial(bytes.len() + 1)) };
    let length = length.filter(|length| matches!(length, 2 | 3)).ok_or(NoFrame)?;
    let mut kind = None;
    for at in 0..length {
        match text(rest)? {
            Text::Whole(text, behind) => {
                if at == 0 {
                    kind = text;
                }
                rest = behind;
            }
            Text::Partial(missing) => return Ok(Parsed::Partial(bytes.len() + missing)),
        }
    }
    let frame = match kind {
        Some(b"subscribe" | b"unsubscribe") => Frame::Confirmed,
        Some(b"pong") => Frame::Answered,
        _ => return Err(NoFrame),
    };
    Ok(Parsed::Whole(frame, bytes.len() - rest.len()))
}

fn line<'a>(bytes: &'a [u8], frame: impl FnOnce(&'a [u8]) -> Frame<'a>) -> Result<Parsed<'a>, NoFrame> {
    match memchr(b'\n', bytes) {
        Some(end) => Ok(Parsed::Whole(frame(&bytes[..=end]), end + 1)),
        None if bytes.len() > LONGEST_LINE => Err(NoFrame),
        None => Ok(Parsed::Partial(bytes.len() + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str, payload: &str) -> String {
        let (of_channel, of_payload) = (channel.len(), payload.len());
        format!("*3\r\n$7\r\nmessage\r\n${of_channel}\r\n{channel}\r\n${of_payload}\r\n{payload}\r\n")
    }

    fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            match parse(bytes).expect("frames") {
                Parsed::Whole(frame, size) => {
                    frames.push(frame);
                    bytes = &bytes[size..];
                }
                Parsed::Partial(_) => panic!("it is whole"),
            }
        }
        frames
    }

    #[test]
    fn each_frame_is_read_where_the_one_before_ended() {
        let text = [
            "+OK\r\n".to_owned(),
            "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".to_owned(),
            event("c", "epoch:open:1"),
            event("c", ""),
            event("c", "with\r\nlines\r\n*3\r\n"),
            "*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_owned(),
            "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n".to_owned(),
            "-NOPERM no\r\n".to_owned(),
        ]
        .concat();
        let event = |payload: &'static [u8]| Frame::Event { channel: b"c", payload };
        assert_eq!(
            frames(text.as_bytes()),
            [
                Frame::Answered,
                Frame::Confirmed,
                event(b"epoch:open:1"),
                event(b""),
                event(b"with\r\nlines\r\n*3\r\n"),
                Frame::Answered,
                Frame::Confirmed,
                Frame::Refused(b"-NOPERM no\r\n"),
            ]
        );
    }

    #[test]
    fn a_frame_that_is_cut_anywhere_waits_for_more_and_never_for_more_than_there_is() {
        let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
        let confirmed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
        for whole in
            [&event("state:change", "epoch:open:1"), pong, confirmed, "-ERR no\r\n", "+OK\r\n", ":1\r\n"]
        {
            for cut in 0..whole.len() {
                match parse(&whole.as_bytes()[..cut]) {
                    Ok(Parsed::Partial(size)) => {
                        assert!(size > cut && size <= whole.len(), "{whole:?} {cut} {size}")
                    }
                    other => panic!("{whole:?} at {cut}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_its_bytes_are_there() {
        for text in [
            "HTTP/1.1 200 OK\r\n",
            "$3\r\nabc\r\n",
            "*1\r\n$4\r\npong\r\n",
            "*4\r\n$8\r\npmessage\r\n",
            "*-1\r\n",
            "*\r\n",
            "*3\r\n$7\r\nnothing\r\n$1\r\nc\r\n:1\r\n",
            "*3\r\n$7\r\nmessage\r\n+c\r\n",
            "*3\r\n$7\r\nmessage\r\n$1\r\ncc\r\n",
            "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1x",
            "*3\r\n$7\r\nmessage\r\n$1000000000000000\r\n",
            "*3\r\n$7\r\nmessage\r\n$\r\n",
            "*3\r\n$7\r\nmessage\r\n$1\rc",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(NoFrame), "{text:?}");
        }
        assert_eq!(parse(&[b'-'; LONGEST_LINE + 2]), Err(NoFrame));
        // An announced length is told, and takes nothing.
        let announced = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$999999999\r\n";
        assert!(matches!(parse(announced), Ok(Parsed::Partial(size)) if size > 999_999_999));
    }

    #[test]
    #[allow(clippy::print_stdout)] // A seed is shown with a failure.
    fn no_bytes_make_the_parser_panic() {
        let seed = 0x5eed_u64;
        println!("seed {seed}");
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let whole = [event("c", "epoch:open:1"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_owned()].concat();
        for _ in 0..200_000 {
            let mut bytes = whole.clone().into_bytes();
            for _ in 0..1 + random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = b"*$:-+\r\n0129message\xff"[random() % 19];
            }
            let mut rest = &bytes[..random() % bytes.len()];
            while let Ok(Parsed::Whole(_, size)) = parse(rest) {
                assert!(size > 0 && size <= rest.len());
                rest = &rest[size..];
            }
        }
    }
}
