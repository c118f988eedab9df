//! Packets from clients, of Engine.IO 4 and of Socket.IO 5 in them. Pure; it reads what strangers send.

use serde_json::Value;

/// The most digits of the number of an acknowledgement: each fits into 64 bits.
const MOST_DIGITS: usize = 18;
/// The longest name of a namespace or an event, in bytes.
const LONGEST_NAME: usize = 256;
/// What separates packets in a body of long polling.
pub(crate) const SEPARATOR: char = '\u{1e}';
/// Names that clients use for themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet of Engine.IO from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The client ends the session.
    Close,
    /// A client that tries a new transport.
    Probe,
    /// The answer to a ping.
    Pong,
    /// A packet of Socket.IO.
    Message(&'a str),
    /// The client uses the new transport from now on.
    Upgrade,
    /// Nothing.
    Noop,
}

/// A packet of Socket.IO from a client.
#[derive(Debug, PartialEq)]
pub enum Packet<'a> {
    /// It asks for a namespace, with what it presents.
    Connect {
        /// The namespace.
        namespace: &'a str,
        /// What the client presents; `Null` for nothing.
        auth: Value,
    },
    /// It leaves a namespace.
    Disconnect {
        /// The namespace.
        namespace: &'a str,
    },
    /// An event.
    Event {
        /// The namespace.
        namespace: &'a str,
        /// The number under which it wants an acknowledgement.
        ack: Option<u64>,
        /// Its name.
        name: String,
        /// What follows the name.
        arguments: Vec<Value>,
    },
    /// An acknowledgement. This side asks for none.
    Ack,
}

/// Why a packet can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    /// Not a packet of Engine.IO.
    #[error("it is no packet of Engine.IO 4")]
    Frame,
    /// It carries bytes that are no text.
    #[error("binary packets are not supported")]
    Binary,
    /// Not a packet of Socket.IO that a client sends.
    #[error("it is no packet of Socket.IO 5")]
    Packet,
    /// Its data is not what its type asks for.
    #[error("its data is not what its type asks for")]
    Data,
}

impl<'a> Frame<'a> {
    /// Reads one packet of Engine.IO.
    ///
    /// # Errors
    /// [`BadPacket`].
    pub fn parse(text: &'a str) -> Result<Self, BadPacket> {
        let mut rest = text.chars();
        match (rest.next(), rest.as_str()) {
            (Some('1'), "") => Ok(Self::Close),
            (Some('2'), "probe") => Ok(Self::Probe),
            (Some('3'), "") => Ok(Self::Pong),
            (Some('4'), message) => Ok(Self::Message(message)),
            (Some('5'), "") => Ok(Self::Upgrade),
            (Some('6'), "") => Ok(Self::Noop),
            (Some('b'), _) => Err(BadPacket::Binary),
            _ => Err(BadPacket::Frame),
        }
    }
}

/// The packets of a body of long polling.
pub fn frames(body: &str) -> impl Iterator<Item = Result<Frame<'_>, BadPacket>> {
    body.split(SEPARATOR).map(Frame::parse)
}

impl<'a> Packet<'a> {
    /// Reads one packet of Socket.IO: a type, the number of attachments of a binary one, a namespace where it is not `/`, the number of an
    /// acknowledgement, and JSON.
    ///
    /// # Errors
    /// [`BadPacket`].
    pub fn parse(text: &'a str) -> Result<Self, BadPacket> {
        let mut rest = text.chars();
        let kind = rest.next().ok_or(BadPacket::Packet)?;
        let (namespace, rest) = namespace(rest.as_str())?;
        match kind {
            '0' => {
                let auth = if rest.is_empty() { Value::Null } else { json(rest)? };
                if !matches!(auth, Value::Null | Value::Object(_)) {
                    return Err(BadPacket::Data);
                }
                Ok(Self::Connect { namespace, auth })
            }
            '1' if rest.is_empty() => Ok(Self::Disconnect { namespace }),
            '2' => {
                let (ack, rest) = number(rest)?;
                let Value::Array(mut arguments) = json(rest)? else { return Err(BadPacket::Data) };
                if arguments.is_empty() {
                    return Err(BadPacket::Data);
                }
                let Value::String(name) = arguments.remove(0) else { return Err(BadPacket::Data) };
                if name.len() > LONGEST_NAME || RESERVED.contains(&&*name) {
                    return Err(BadPacket::Data);
                }
                Ok(Self::Event { namespace, ack, name, arguments })
            }
            '3' => {
                let (ack, rest) = number(rest)?;
                let is_ack = ack.is_some() && json(rest)?.is_array();
                if is_ack { Ok(Self::Ack) } else { Err(BadPacket::Data) }
            }
            '5' | '6' => Err(BadPacket::Binary),
            _ => Err(BadPacket::Packet),
        }
    }
}

/// The namespace at the beginning, and what follows it.
fn namespace(text: &str) -> Result<(&str, &str), BadPacket> {
    if !text.starts_with('/') {
        return Ok(("/", text));
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    // A query may follow the name: clients of version 2 had one.
    let name = name.split_once('?').map_or(name, |(name, _)| name);
    if name.len() > LONGEST_NAME { Err(BadPacket::Packet) } else { Ok((name, rest)) }
}

/// The number at the beginning, and what follows it.
fn number(text: &str) -> Result<(Option<u64>, &str), BadPacket> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((None, text));
    }
    if digits > MOST_DIGITS {
        return Err(BadPacket::Packet);
    }
    // Digits are ASCII, so this is a boundary.
    let (number, rest) = text.split_at(digits);
    Ok((Some(number.parse().map_err(|_| BadPacket::Packet)?), rest))
}

fn json(text: &str) -> Result<Value, BadPacket> {
    serde_json::from_str(text).map_err(|_| BadPacket::Data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn packets_of_the_official_client_are_read() {
        let auth = json!({ "token": "t", "pid": "p", "offset": "7" });
        assert_eq!(
            Packet::parse(r#"0/campaigns,{"pid":"p","offset":"7","token":"t"}"#),
            Ok(Packet::Connect { namespace: "/campaigns", auth })
        );
        assert_eq!(Packet::parse("0"), Ok(Packet::Connect { namespace: "/", auth: Value::Null }));
        assert_eq!(Packet::parse("0/a,"), Ok(Packet::Connect { namespace: "/a", auth: Value::Null }));
        assert_eq!(Packet::parse("0/a?x=1,"), Ok(Packet::Connect { namespace: "/a", auth: Value::Null }));
        assert_eq!(Packet::parse("1/campaigns,"), Ok(Packet::Disconnect { namespace: "/campaigns" }));
        assert_eq!(
            Packet::parse(r#"2/campaigns,12["join_campaign",{"campaignId":"c"}]"#),
            Ok(Packet::Event {
                namespace: "/campaigns",
                ack: Some(12),
                name: "join_campaign".to_owned(),
                arguments: vec![json!({ "campaignId": "c" })],
            })
        );
        assert_eq!(Packet::parse("3/campaigns,1[]"), Ok(Packet::Ack));
    }

    #[test]
    fn binary_packets_have_an_error_of_their_own() {
        assert_eq!(
            Packet::parse(r#"51-/campaigns,["x",{"_placeholder":true,"num":0}]"#),
            Err(BadPacket::Binary)
        );
        assert_eq!(Frame::parse("bAQID"), Err(BadPacket::Binary));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bad in ["", "7", "x", "4/a,{}", "1/a,1", "-1", "é"] {
            assert_eq!(Packet::parse(bad), Err(BadPacket::Packet), "{bad}");
        }
        assert_eq!(Packet::parse("2/a,1234567890123456789[\"x\"]"), Err(BadPacket::Packet));
        for bad in [
            "2",
            "2[]",
            "2[1]",
            "2{}",
            "2[\"x\"",
            "21",
            "2[\"connect\"]",
            "2[\"disconnect\"]",
            "0[]",
            "01",
            "3[]",
            "31",
            "0{",
        ] {
            assert_eq!(Packet::parse(bad), Err(BadPacket::Data), "{bad}");
        }
        let deep = format!("2[\"x\",{}", "[".repeat(100_000));
        assert_eq!(Packet::parse(&deep), Err(BadPacket::Data));
        for bad in ["", "0", "2", "2prob", "3probe", "1x", "5 ", "7", "\u{1e}"] {
            assert_eq!(Frame::parse(bad), Err(BadPacket::Frame), "{bad}");
        }
    }

    #[test]
    fn a_body_holds_several_packets() {
        let all: Vec<_> = frames("3\u{1e}4hello\u{1e}1").collect();
        assert_eq!(all, [Ok(Frame::Pong), Ok(Frame::Message("hello")), Ok(Frame::Close)]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,64}|[0-6][/a-z,0-9\\[\\]\"{}:]{0,40}") {
            let _ = (Packet::parse(&text), frames(&text).count());
        }
    }
}
