//! A connection that receives events: its own task reads it, always and at once, whatever its holder does meanwhile.
//!
//! The client library's way costs three times the processor time of an event, and its own buffer has no limit. So this one
//! reads the socket itself. It sends few commands, one after the other, and waits for the answer to each.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{RedisConnectionInfo, RedisError, RedisResult, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::oneshot,
    task::JoinHandle,
};

use super::{
    limit::{ANSWER_BYTES, AnswerTooLarge},
    stream::Stream,
};
use crate::{
    answers::{Consequence, answer_of},
    events::EventQueue,
    frames::{Frame, Parsed, parse},
};

/// The buffer's size without a long event, in bytes: two to three thousand events of usual size are read at once.
const BUFFER: usize = 256 << 10;

/// The connection. It is closed when this is dropped.
pub(super) struct Receiver {
    writer: WriteHalf<Box<dyn Stream>>,
    awaited: Arc<Awaited>,
    reader: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The answer that is waited for.
#[derive(Default)]
struct Awaited(Mutex<Waiting>);

#[derive(Default)]
enum Waiting {
    /// No command is under way.
    #[default]
    Nothing,
    /// No command is under way, and the server has said this of its own accord, as one with too many clients does before it closes.
    Said(RedisError),
    /// So many answers of a command are missing.
    Answers(usize, oneshot::Sender<RedisResult<()>>),
    /// The connection has ended, for this reason.
    Ended(RedisError),
}

impl Awaited {
    // A poisoned lock is taken all the same: no code panics while it holds it.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer of the server.
    fn note(&self, answer: RedisResult<()>) {
        let mut waiting = self.lock();
        match &mut *waiting {
            Waiting::Answers(missing, _) if answer.is_ok() && *missing > 1 => *missing -= 1,
            Waiting::Answers(..) => {
                if let Waiting::Answers(_, tell) = std::mem::take(&mut *waiting) {
                    // Nobody waits any more after a timeout.
                    let _ = tell.send(answer);
                }
            }
            Waiting::Nothing => {
                if let Err(said) = answer {
                    *waiting = Waiting::Said(said);
                }
            }
            Waiting::Said(_) | Waiting::Ended(_) => {}
        }
    }

    /// Notes the end of the connection.
    fn end(&self, why: RedisError) {
        let mut waiting = self.lock();
        let why = match std::mem::take(&mut *waiting) {
            Waiting::Said(said) => said,
            Waiting::Answers(_, tell) => {
                let _ = tell.send(Err(why.clone()));
                why
            }
            Waiting::Nothing | Waiting::Ended(_) => why,
        };
        *waiting = Waiting::Ended(why);
    }
}

impl Receiver {
    /// Logs in over a stream. Every event goes into the queue.
    pub(super) async fn over(
        stream: Box<dyn Stream>,
        login: &RedisConnectionInfo,
        queue: EventQueue,
    ) -> RedisResult<Self> {
        let (reader, writer) = split(stream);
        let awaited = Arc::<Awaited>::default();
        let reader = tokio::spawn(read(reader, queue, awaited.clone()));
        let mut receiver = Self { writer, awaited, reader };
        receiver.log_in(login).await?;
        Ok(receiver)
    }

    /// The database plays no part: a channel belongs to the whole server.
    async fn log_in(&mut self, login: &RedisConnectionInfo) -> RedisResult<()> {
        if let Some(password) = login.password() {
            let words = [Some("AUTH"), login.username(), Some(password)];
            self.command(&words.into_iter().flatten().collect::<Vec<_>>(), 1).await?;
        }
        // CLIENT LIST shows the name, so that operators can tell whose connection they see.
        for (what, word) in [("LIB-NAME", login.lib_name()), ("LIB-VER", login.lib_ver())] {
            let Some(word) = word else { continue };
            match self.command(&["CLIENT", "SETINFO", what, word], 1).await {
                // Such as of a server with too many clients, which closes the connection next.
                Err(error)
                    if answer_of(&error).is_none_or(|answer| answer.consequence == Consequence::Renew) =>
                {
                    return Err(error);
                }
                // Servers before version 7.2 don't know it, and a user may have no right to it.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Subscribes to these channels.
    pub(super) async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        self.for_each("SUBSCRIBE", channels).await
    }

    /// Unsubscribes from these channels.
    pub(super) async fn unsubscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        self.for_each("UNSUBSCRIBE", channels).await
    }

    /// Pings the server over this connection.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        self.command(&["PING"], 1).await
    }

    /// A command that is confirmed for each channel. Without one it would concern all channels.
    async fn for_each(&mut self, command: &str, channels: &[String]) -> RedisResult<()> {
        if channels.is_empty() {
            return Ok(());
        }
        let mut words = vec![command];
        words.extend(channels.iter().map(String::as_str));
        self.command(&words, channels.len()).await
    }

    /// Sends a command, and waits for so many answers or an error.
    async fn command(&mut self, words: &[&str], answers: usize) -> RedisResult<()> {
        let (tell, answered) = oneshot::channel();
        {
            let mut waiting = self.awaited.lock();
            match &*waiting {
                Waiting::Nothing => *waiting = Waiting::Answers(answers, tell),
                Waiting::Said(said) => return Err(said.clone()),
                // Its answers could be taken for those of this one.
                Waiting::Answers(..) => return Err(broken("an earlier command was not answered")),
                Waiting::Ended(why) => return Err(why.clone()),
            }
        }
        let sent = async {
            self.writer.write_all(&packed(words)).await?;
            self.writer.flush().await
        };
        match sent.await {
            Ok(()) => {}
            // What the server said before it closed is still to be read, and tells more.
            Err(error) if is_closed(&error) => {}
            Err(error) => return Err(error.into()),
        }
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn ended() -> RedisError {
    io::Error::new(io::ErrorKind::ConnectionReset, "the server closed the connection").into()
}

fn broken(why: &'static str) -> RedisError {
    io::Error::new(io::ErrorKind::InvalidData, why).into()
}

/// A command as the server reads it.
fn packed(words: &[&str]) -> Vec<u8> {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.get_packed_command()
}

/// Reads to the end, and tells why it ended.
async fn read(mut stream: ReadHalf<Box<dyn Stream>>, queue: EventQueue, awaited: Arc<Awaited>) {
    let why = match read_on(&mut stream, &queue, &awaited).await {
        Ok(()) => ended(),
        Err(error) => error.into(),
    };
    awaited.end(why);
}

/// Reads until the server closes the connection.
async fn read_on(
    stream: &mut ReadHalf<Box<dyn Stream>>,
    queue: &EventQueue,
    awaited: &Awaited,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            more => filled += more,
        }
        let (used, needed) = take(&buffer[..filled], queue, awaited)?;
        if used > 0 {
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
        if needed > ANSWER_BYTES {
            return Err(AnswerTooLarge::of(ANSWER_BYTES).into());
        }
        // Twice at most: an announced length takes no memory before its bytes are there.
        let size = needed.min(2 * filled).max(BUFFER);
        if size > buffer.len() || buffer.len() > BUFFER && size <= buffer.len() / 4 {
            buffer.resize(size.max(filled + 1), 0);
            buffer.shrink_to_fit();
        }
    }
}

/// Takes all whole frames. Returns how many bytes they have, and how many the next one needs at least.
fn take(bytes: &[u8], queue: &EventQueue, awaited: &Awaited) -> io::Result<(usize, usize)> {
    let mut used = 0;
    let mut filling = queue.fill();
    loop {
        let frame = match parse(&bytes[used..]) {
            Ok(Parsed::Whole(frame, size)) => {
                used += size;
                frame
            }
            Ok(Parsed::Partial(needed)) => return Ok((used, needed)),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        match frame {
            Frame::Event { channel, payload } => filling.add(channel, payload),
            Frame::Confirmed | Frame::Answered => awaited.note(Ok(())),
            Frame::Refused(line) => awaited.note(refused(line)),
        }
    }
}

/// The error of a line, in the words of the client library.
fn refused(line: &[u8]) -> RedisResult<()> {
    match redis::parse_redis_value(line)? {
        Value::ServerError(said) => Err(said.into()),
        _ => Ok(()),
    }
}
