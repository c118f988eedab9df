//! Tokens and roles. A token is kept as its hash only, and compared in constant time.

use std::sync::{Arc, PoisonError, RwLock};

use ring::digest::{SHA256, digest};
use serde::Serialize;
use subtle::{Choice, ConstantTimeEq};

/// The fewest characters of a token: fewer can be guessed.
pub const SHORTEST: usize = 16;
/// The most: it has to fit into a header.
const LONGEST: usize = 512;
/// The most tokens of a role. Two are enough for a rotation.
const MOST: usize = 16;

/// What a client may do. The later role includes the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Read,
    /// Reads and acts.
    Operator,
}

/// A text holds no usable tokens.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTokens {
    /// Nothing but blanks and comments.
    #[error("it holds no token")]
    None,
    /// More than 16.
    #[error("it holds {0} tokens, and 16 is the most")]
    TooMany(usize),
    /// A line of the wrong length, or with characters that a header can't hold.
    #[error("line {line} is no token: 16 to 512 visible ASCII characters without blanks")]
    Form {
        /// Counted from 1.
        line: usize,
    },
}

/// The tokens of a port. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<RwLock<Vec<Token>>>);

/// A role, and the hash of its token.
type Token = (Role, [u8; 32]);

impl Tokens {
    /// Replaces the tokens of a role by those of a text: one a line, blank lines and lines that begin with `#` left out. Of several,
    /// each is valid, so that clients can move from one to the next.
    ///
    /// # Errors
    /// [`BadTokens`], which shows none of them; then the former ones stay.
    pub fn replace(&self, role: Role, text: &str) -> Result<(), BadTokens> {
        let mut found = tokens_of(text)?.into_iter().map(|token| (role, hash(token))).collect();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _)| *of != role);
        all.append(&mut found);
        Ok(())
    }

    /// Replaces the tokens of a role by those of a text, one a line, as other programs know them: each of any length and with any
    /// characters but white space at its ends. Of a text without any, the role has none.
    pub fn replace_foreign(&self, role: Role, text: &str) {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MOST);
        let mut found: Vec<Token> = lines.map(|token| (role, hash(token))).collect();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _)| *of != role);
        all.append(&mut found);
    }

    /// Whether there are none: then nobody can present one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The role of a token. It takes as long for a wrong one as for a right one.
    #[must_use]
    pub fn role_of(&self, presented: &str) -> Option<Role> {
        let presented = hash(presented);
        let mut found = None;
        // All of them, whichever fits: hashes of equal length are compared in constant time.
        for (role, token) in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let fits: Choice = token.ct_eq(&presented);
            if bool::from(fits) {
                found = found.max(Some(*role));
            }
        }
        found
    }
}

/// The tokens of a text, in its order.
///
/// # Errors
/// [`BadTokens`].
pub fn tokens_of(text: &str) -> Result<Vec<&str>, BadTokens> {
    let mut found = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let token = line.trim();
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        let fits =
            (SHORTEST..=LONGEST).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(BadTokens::Form { line: index + 1 });
        }
        found.push(token);
    }
    match found.len() {
        0 => Err(BadTokens::None),
        1..=MOST => Ok(found),
        many => Err(BadTokens::TooMany(many)),
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    // SHA-256 gives 32 bytes.
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_of_a_file_has_its_role_and_former_ones_have_none() {
        let tokens = Tokens::default();
        assert!(tokens.is_empty() && tokens.role_of("").is_none());
        tokens
            .replace(Role::Read, "\u{feff}# readers\r\n\r\n  reader-1-0123456789 \nreader-2-0123456789\n")
            .unwrap();
        tokens.replace(Role::Operator, "operator-0123456789").unwrap();
        let role = |token| tokens.role_of(token);
        assert_eq!(role("reader-1-0123456789"), Some(Role::Read));
        assert_eq!(role("reader-2-0123456789"), Some(Role::Read));
        assert_eq!(role("operator-0123456789"), Some(Role::Operator));
        for wrong in ["", "reader-1-012345678", "reader-1-01234567890", "READER-1-0123456789", "# readers"] {
            assert_eq!(role(wrong), None, "{wrong}");
        }
        tokens.replace(Role::Read, "reader-3-0123456789").unwrap();
        assert_eq!((role("reader-1-0123456789"), role("reader-3-0123456789")), (None, Some(Role::Read)));
        assert_eq!(role("operator-0123456789"), Some(Role::Operator));
    }

    #[test]
    fn tokens_of_other_programs_may_be_short_and_an_empty_text_has_none() {
        let tokens = Tokens::default();
        tokens.replace_foreign(Role::Read, "abc\n\n mit ümlaut \n");
        let role = |token| tokens.role_of(token);
        assert_eq!(
            (role("abc"), role("mit ümlaut"), role(""), role("ab")),
            (Some(Role::Read), Some(Role::Read), None, None)
        );
        tokens.replace_foreign(Role::Read, "\n ");
        assert!(tokens.is_empty() && tokens.role_of("").is_none());
    }

    #[test]
    fn a_text_without_usable_tokens_is_refused_and_changes_nothing() {
        let tokens = Tokens::default();
        tokens.replace(Role::Read, "reader-1-0123456789").unwrap();
        let many = "reader-1-0123456789\n".repeat(17);
        for (text, expected) in [
            ("", BadTokens::None),
            ("# only this\n \n", BadTokens::None),
            ("reader-2-0123456789\nshort", BadTokens::Form { line: 2 }),
            ("with blanks in the middle of it", BadTokens::Form { line: 1 }),
            ("mit-ümlaut-0123456789", BadTokens::Form { line: 1 }),
            (&*many, BadTokens::TooMany(17)),
            (&*"x".repeat(513), BadTokens::Form { line: 1 }),
        ] {
            let error = tokens.replace(Role::Read, text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("0123"), "{error}");
            assert_eq!(tokens.role_of("reader-1-0123456789"), Some(Role::Read));
        }
    }
}
