//! What a provider has said about tokens, for a while. Pure: the time is given. It keeps hashes, no tokens.

use std::{collections::HashMap, time::Duration};

use ring::digest::{SHA256, digest};

use crate::claims::Identity;

/// The most tokens that are known at a time.
const MOST: usize = 10_000;

/// The hash of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub(crate) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        // SHA-256 gives 32 bytes.
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// The word of the provider about each token: its user, or that it is refused.
#[derive(Default)]
pub(crate) struct Cache(HashMap<Hash, (Option<Identity>, Duration)>);

impl Cache {
    /// What is known at `now`; the outer `None` where nothing is.
    pub(crate) fn get(&self, token: Hash, now: Duration) -> Option<Option<Identity>> {
        self.0.get(&token).filter(|(_, until)| now < *until).map(|(said, _)| said.clone())
    }

    /// Keeps a word until then.
    pub(crate) fn put(&mut self, token: Hash, said: Option<Identity>, now: Duration, until: Duration) {
        if self.0.len() >= MOST && !self.0.contains_key(&token) {
            self.0.retain(|_, (_, until)| now < *until);
            // As many tokens within a minute: which of them is forgotten makes no difference.
            if self.0.len() >= MOST
                && let Some(one) = self.0.keys().next().copied()
            {
                self.0.remove(&one);
            }
        }
        self.0.insert(token, (said, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_until_its_end_and_the_number_of_words_is_limited() {
        let mut cache = Cache::default();
        let second = Duration::from_secs;
        let user = Identity { user: "u".into(), expires: second(100) };
        cache.put(Hash::of("a"), Some(user.clone()), second(0), second(10));
        assert_eq!(cache.get(Hash::of("a"), second(9)), Some(Some(user)));
        assert_eq!(cache.get(Hash::of("a"), second(10)), None);
        for number in 0..MOST + 100 {
            cache.put(Hash::of(&number.to_string()), None, second(20), second(30));
        }
        assert_eq!(cache.0.len(), MOST);
        assert_eq!(cache.get(Hash::of(&(MOST + 99).to_string()), second(20)), Some(None));
    }
}
