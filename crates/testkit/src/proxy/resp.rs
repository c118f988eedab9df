//! An incremental reader of Redis' wire format (RESP2 and RESP3): finds the ends and kinds of top-level values, however
//! the bytes are cut into chunks. No I/O; keeps a few bytes of state.

/// Longer command names than any that exist are cut here.
const NAME_LIMIT: usize = 64;
/// A header is a type byte, a number or short text; simple strings and errors may be longer.
const LINE_LIMIT: usize = 64 * 1024;

/// One complete top-level value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The type byte: `*` for a command or an array, `+`, `-`, `:`, `$`, `>` for a push, ….
    pub(crate) kind: u8,
    /// For an array: its first bulk string in upper case, which is a command's name.
    pub(crate) name: String,
}

/// The bytes are not RESP; the reader can't continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotResp;

#[derive(Debug)]
enum State {
    /// Inside a line that ends in CR LF.
    Line,
    /// Inside a bulk string: bytes left, its CR LF included, and whether it is the name.
    Bulk { left: u64, is_name: bool },
}

/// Reads one direction of one connection.
#[derive(Debug)]
pub(crate) struct Scanner {
    state: State,
    line: Vec<u8>,
    /// Values still to come before the top-level value is complete; 0 between two of them.
    remaining: u64,
    kind: u8,
    name: Vec<u8>,
    named: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { state: State::Line, line: Vec::new(), remaining: 0, kind: 0, name: Vec::new(), named: false }
    }
}

impl Scanner {
    /// Whether everything read so far makes complete values.
    pub(crate) fn at_boundary(&self) -> bool {
        self.remaining == 0 && self.line.is_empty() && matches!(self.state, State::Line)
    }

    /// Reads more bytes, and returns the values that became complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Frame>, NotResp> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Line => self.read_line(bytes)?,
                State::Bulk { left, is_name } => self.read_bulk(bytes, left, is_name),
            };
            if self.kind != 0 && self.at_boundary() {
                frames.push(self.take_frame());
            }
        }
        Ok(frames)
    }

    fn take_frame(&mut self) -> Frame {
        let name = String::from_utf8_lossy(&self.name).to_ascii_uppercase();
        let frame = Frame { kind: self.kind, name };
        (self.kind, self.named) = (0, false);
        self.name.clear();
        frame
    }

    fn read_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], NotResp> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        self.line.extend_from_slice(part);
        if self.line.first().is_some_and(|kind| !b"*$+-:_#,(!=%~>|".contains(kind))
            || self.line.len() > LINE_LIMIT
        {
            return Err(NotResp);
        }
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.read_header(line.strip_suffix(b"\r\n").ok_or(NotResp)?)?;
        }
        Ok(rest)
    }

    fn read_header(&mut self, header: &[u8]) -> Result<(), NotResp> {
        let (kind, text) = header.split_first().ok_or(NotResp)?;
        let starts_frame = self.remaining == 0;
        if starts_frame {
            self.remaining = 1;
        }
        // An attribute precedes the value that it belongs to, and is not a value itself.
        if *kind != b'|' {
            if self.kind == 0 {
                self.kind = *kind;
            }
            self.remaining -= 1;
        }
        match kind {
            b'*' | b'~' | b'>' => self.expect(count(text)?, 1)?,
            b'%' | b'|' => self.expect(count(text)?, 2)?,
            b'$' | b'!' | b'=' => {
                let is_name = self.kind == b'*' && !self.named;
                self.named = true;
                if let Some(length) = count(text)? {
                    self.state = State::Bulk { left: length.checked_add(2).ok_or(NotResp)?, is_name };
                }
            }
            _ => self.named |= !starts_frame,
        }
        Ok(())
    }

    fn expect(&mut self, values: Option<u64>, each: u64) -> Result<(), NotResp> {
        let more = values.unwrap_or(0).checked_mul(each).ok_or(NotResp)?;
        self.remaining = self.remaining.checked_add(more).ok_or(NotResp)?;
        Ok(())
    }

    fn read_bulk<'b>(&mut self, bytes: &'b [u8], left: u64, is_name: bool) -> &'b [u8] {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (part, rest) = bytes.split_at(take);
        // No narrowing: `take` is at most `left`.
        let left_after = left - take as u64;
        if is_name {
            // The last two bytes are CR LF.
            let payload = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX).min(take);
            let room = NAME_LIMIT.saturating_sub(self.name.len());
            self.name.extend_from_slice(&part[..payload.min(room)]);
        }
        self.state = if left_after == 0 { State::Line } else { State::Bulk { left: left_after, is_name } };
        rest
    }
}

/// A length; `None` for the null of RESP2 (`-1`).
fn count(text: &[u8]) -> Result<Option<u64>, NotResp> {
    if text == b"-1" {
        return Ok(None);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).map(Some).ok_or(NotResp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(input: &[u8], chunk: usize) -> Vec<String> {
        let mut scanner = Scanner::default();
        input.chunks(chunk).flat_map(|part| scanner.push(part).unwrap()).map(|frame| frame.name).collect()
    }

    #[test]
    fn commands_are_found_however_the_bytes_are_cut() {
        let input = b"*2\r\n$3\r\nget\r\n$6\r\n*1\r\n$4\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n";
        for chunk in 1..=input.len() {
            assert_eq!(names(input, chunk), ["GET", "PING", "SET"], "chunks of {chunk}");
        }
    }

    #[test]
    fn replies_of_every_kind_are_counted_once_each() {
        let replies: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":1\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"$3\r\na\r\n\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
            b"|1\r\n+ttl\r\n:3\r\n+OK\r\n",
            b"_\r\n",
            b"=5\r\ntxt:a\r\n",
            b">2\r\n+message\r\n+x\r\n",
        ];
        let input = replies.concat();
        for chunk in [1, 2, 3, 7, input.len()] {
            let mut scanner = Scanner::default();
            let frames: Vec<Frame> =
                input.chunks(chunk).flat_map(|part| scanner.push(part).unwrap()).collect();
            assert_eq!(frames.len(), replies.len(), "chunks of {chunk}: {frames:?}");
            assert_eq!(frames.last().map(|frame| frame.kind), Some(b'>'));
            assert!(scanner.at_boundary());
        }
    }

    #[test]
    fn a_value_that_is_not_complete_is_no_boundary() {
        for part in [&b"*1\r\n"[..], b"*1\r\n$4\r\nPI", b"$2\r\nab\r", b"+O"] {
            let mut scanner = Scanner::default();
            assert_eq!(scanner.push(part), Ok(Vec::new()));
            assert!(!scanner.at_boundary(), "{part:?}");
        }
    }

    #[test]
    fn another_protocol_is_recognised_as_such() {
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"\0\0\0\x08", b"*x\r\n", b"+OK\n"] {
            assert_eq!(Scanner::default().push(other), Err(NotResp), "{other:?}");
        }
    }
}
