//! Reads the files that a configuration names: itself, secrets, certificates. One reader for all of them, since each may be
//! mistyped: a device has no end, a pipe may never get a writer, and a wrong file may be larger than the memory.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The largest file that is read, in bytes. The certificates of all public authorities have a quarter of it.
pub(crate) const LARGEST: usize = 1 << 20;
/// How long a pipe may take until its end.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait before an empty pipe is read again.
const PIPE_INTERVAL: Duration = Duration::from_millis(5);
/// The one device that is read: it is empty, and the usual name for no file.
const NULL: &str = "/dev/null";

/// Why a file is not read. Each is the end of a sentence that begins with the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("can't be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("can't be read: it is {0}, and must be {1}")]
    Kind(&'static str, &'static str),
    #[error("can't be read: it is larger than {} KiB", LARGEST >> 10)]
    TooLarge,
    #[error("can't be read: it is a pipe, and did not end within {}", errors::rounded(PIPE_TIMEOUT))]
    Endless,
    #[error("is no UTF-8 text{0}")]
    NotText(&'static str),
}

/// The content of a file that is read again later, and so can't be a pipe.
///
/// # Errors
/// Anything else than a file, a content that is too large.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    match std::fs::metadata(path)?.file_type().is_fifo() {
        true => Err(FileError::Kind("a pipe, which can be read only once", "a file")),
        false => read(path),
    }
}

/// The content of a file or a pipe.
///
/// # Errors
/// Anything else than a file or a pipe, a content that is too large, a pipe that does not end in time.
fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    // Before it is opened: opening some devices does something.
    let kind = std::fs::metadata(path)?.file_type();
    let other = [
        (kind.is_dir(), "a directory"),
        (kind.is_socket(), "a socket"),
        (kind.is_block_device(), "a device"),
        (kind.is_char_device() && path != Path::new(NULL), "a device"),
    ];
    if let Some((_, what)) = other.into_iter().find(|(is, _)| *is) {
        return Err(FileError::Kind(what, "a file or a pipe"));
    }
    // Opening a pipe would block until it has a writer. For other files the flag has no effect.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let deadline = Instant::now() + PIPE_TIMEOUT;
    let (mut content, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        match file.read(&mut chunk) {
            // A named pipe without a writer is at its end until the first one comes.
            Ok(0) if !is_pipe || !content.is_empty() => return Ok(content),
            Ok(0) => {}
            Ok(n) if content.len() + n > LARGEST => return Err(FileError::TooLarge),
            // The next part may be there already.
            Ok(n) => {
                content.extend_from_slice(&chunk[..n]);
                if Instant::now() < deadline {
                    continue;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(FileError::Endless);
        }
        sleep(PIPE_INTERVAL);
    }
}

/// The text of a file or a pipe.
///
/// # Errors
/// As [`read`], and a content that is no text.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|error| {
        let is_utf_16 =
            error.as_bytes().starts_with(&[0xff, 0xfe]) || error.as_bytes().starts_with(&[0xfe, 0xff]);
        FileError::NotText(if is_utf_16 {
            ": it begins with the byte-order mark of UTF-16, save it as UTF-8"
        } else {
            ""
        })
    })
}

/// A file that a setting names can't be read. It could when the configuration was loaded.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {path} {source}; name a file that this user may read")]
pub struct UnreadableFile {
    setting: &'static str,
    path: String,
    source: FileError,
}

/// The content of the file that a setting names; `None` if it names none.
///
/// # Errors
/// [`UnreadableFile`].
pub(crate) fn read_of(setting: &'static str, path: &str) -> Result<Option<Vec<u8>>, UnreadableFile> {
    let unreadable = |source| UnreadableFile { setting, path: path.to_owned(), source };
    (!path.is_empty()).then(|| read_file(Path::new(path)).map_err(unreadable)).transpose()
}
