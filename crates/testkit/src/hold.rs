//! Holding traffic back until a test releases it, so that the test finds its client in the middle of a step.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

/// Holds back traffic that contains a word, while one is set.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    word: watch::Sender<Option<String>>,
    held: AtomicU64,
}

impl Hold {
    /// From now on, traffic with this word is held back.
    pub(crate) fn set(&self, word: &str) {
        self.word.send_replace(Some(word.to_owned()));
    }

    /// Releases everything that is held back, and holds nothing more.
    pub(crate) fn release(&self) {
        self.word.send_replace(None);
    }

    /// How many pieces were held back so far.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Whether these bytes must be held back.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        let word = self.word.borrow();
        word.as_ref().is_some_and(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
    }

    /// Waits until everything is released.
    pub(crate) async fn wait(&self) {
        let mut word = self.word.subscribe();
        self.held.fetch_add(1, Relaxed);
        // Can't fail: the sender is in `self`.
        let _ = word.wait_for(Option::is_none).await;
    }
}
