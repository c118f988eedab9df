//! Questions: a message that has the way back for its answer.
//!
//! One that asks waits for the reader, whether or not its mailbox is full. So a question goes only on an edge that waits, and is
//! part of the check for cycles.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

use super::{address::Address, message::Message, overflow::SendError};
use crate::{current, text::shown};

/// The way back for one answer, as a field of a message. The message may be delivered several times; the first answer counts.
pub struct Reply<T>(Mutex<Option<oneshot::Sender<T>>>);

impl<T> Reply<T> {
    /// Answers. `false` when nobody waits for the answer: it came too late, or another one was sent before.
    pub fn send(&self, answer: T) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        sender.is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// Whether somebody still waits for the answer.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_awaited() { "Reply(awaited)" } else { "Reply(over)" })
    }
}

/// A dead letter shows whether the answer is still awaited.
impl<T> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.is_awaited())
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError<M> {
    /// The address was declared with an overflow that does not wait.
    #[error("the edge to {0} does not wait, so nothing can be asked on it: declare it with Overflow::Wait")]
    EdgeDoesNotWait(String),
    /// The question was not accepted.
    #[error("the question to {mailbox} was not accepted")]
    Refused {
        /// The mailbox.
        mailbox: String,
        /// Why, with the question.
        #[source]
        error: SendError<M>,
    },
    /// The answer did not come in time. The question may still be handled.
    #[error("{mailbox} did not answer within {}", shown(*.within))]
    Deadline {
        /// The mailbox.
        mailbox: String,
        /// The time that it had.
        within: Duration,
    },
    /// The question was acknowledged or dropped without an answer. One that became a dead letter can be replayed, so its answer is
    /// awaited until the deadline.
    #[error("{0} dropped the question without an answer")]
    NoAnswer(String),
}

impl<M: Message> Address<M> {
    /// Sends a question and waits for its answer, both within `within` of the time in which the process runs. The asking actor counts
    /// as blocked meanwhile.
    ///
    /// # Errors
    /// [`AskError`]: the edge does not wait, the question was not accepted, there was no answer in time, or there will be none.
    pub async fn ask<T: Send>(
        &self,
        within: Duration,
        question: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, AskError<M>> {
        let mailbox = || self.mailbox().to_owned();
        if !self.overflow().waits() {
            return Err(AskError::EdgeDoesNotWait(mailbox()));
        }
        let (sender, answer) = oneshot::channel();
        let question = question(Reply(Mutex::new(Some(sender))));
        let asking = async {
            self.send(question).await.map_err(|error| AskError::Refused { mailbox: mailbox(), error })?;
            let _blocked = current::blocked();
            answer.await.map_err(|_| AskError::NoAnswer(mailbox()))
        };
        let answered = self.shared().clock.timeout_awake(within, asking).await;
        answered.unwrap_or_else(|| Err(AskError::Deadline { mailbox: mailbox(), within }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_shows_whether_its_answer_is_awaited() {
        let (sender, receiver) = oneshot::channel::<u8>();
        let reply = Reply(Mutex::new(Some(sender)));
        assert_eq!((format!("{reply:?}"), reply.is_awaited()), ("Reply(awaited)".to_owned(), true));
        drop(receiver);
        assert_eq!((format!("{reply:?}"), reply.is_awaited()), ("Reply(over)".to_owned(), false));
        assert!(!reply.send(1));
    }
}
