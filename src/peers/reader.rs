//! Readers of the history: few, so that no number of clients takes all threads or all memory.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use store_peers::{HistoryError, HistoryReader};
use tokio::sync::Semaphore;

/// The most reads at a time.
const MOST: usize = 4;

/// The readers of one file. A clone is the same ones.
#[derive(Clone)]
pub(super) struct Readers(Arc<Inner>);

struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<HistoryReader>>,
    places: Arc<Semaphore>,
}

impl Readers {
    /// Readers of this file, which may not exist yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner { path, idle: Mutex::default(), places: Arc::new(Semaphore::new(MOST)) }))
    }

    /// Reads in a thread that may wait; `None` if the program ends meanwhile.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&HistoryReader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Option<Result<T, HistoryError>> {
        let place = self.0.places.clone().acquire_owned().await.ok()?;
        let inner = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            // Until the end of the reading, also where nobody waits for it any more.
            let _place = place;
            let idle = || inner.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let reader = idle().pop();
            let reader = match reader {
                Some(reader) => reader,
                None => HistoryReader::open(&inner.path)?,
            };
            let answer = work(&reader);
            // One that failed is not used again: the file may have been replaced.
            if answer.is_ok() {
                idle().push(reader);
            }
            answer
        });
        read.await.ok()
    }
}
