//! Ids that can't be guessed: of sessions, and of what a client finds again.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The bytes of an id: 120 random bits, which are 20 characters.
const BYTES: usize = 15;
/// The characters of an id.
pub(crate) const CHARACTERS: usize = 20;

/// The id of a session. Who knows it may use the session, so it is not shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId([u8; BYTES]);

impl SessionId {
    /// A new one; `None` where the system gives no random numbers.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Reads one that a client presents.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| text.len() == CHARACTERS)?;
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// A new secret of 20 characters; `None` where the system gives no random numbers.
#[must_use]
pub fn secret() -> Option<String> {
    SessionId::random().map(SessionId::text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_read_as_they_are_written() {
        let (one, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        assert!(one != other && SessionId::parse(&one.text()) == Some(one));
        assert_eq!(one.text().len(), CHARACTERS);
        for bad in ["", "short", "!!!!!!!!!!!!!!!!!!!!", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAA="] {
            assert!(SessionId::parse(bad).is_none(), "{bad}");
        }
    }
}
