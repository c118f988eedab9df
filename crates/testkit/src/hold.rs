//! What a proxy holds back until it is told to let go, so that a test finds its client in the middle of something.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

/// Holds back what has a word in it, while there is such a word.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    word: watch::Sender<Option<String>>,
    held: AtomicU64,
}

impl Hold {
    /// From now on what has this word in it is held back.
    pub(crate) fn set(&self, word: &str) {
        self.word.send_replace(Some(word.to_owned()));
    }

    /// Lets go of all that is held back, and of what comes.
    pub(crate) fn release(&self) {
        self.word.send_replace(None);
    }

    /// How often something was held back so far.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Whether this is to be held back.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        let word = self.word.borrow();
        word.as_ref().is_some_and(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
    }

    /// Holds something back until all is let go.
    pub(crate) async fn wait(&self) {
        let mut word = self.word.subscribe();
        self.held.fetch_add(1, Relaxed);
        // The sender is here: this does not fail.
        let _ = word.wait_for(Option::is_none).await;
    }
}
