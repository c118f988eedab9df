//! Finds the long list of a line in its first bytes.

use super::{
    list::{List, has_list},
    reading::Reading,
};

/// The list begins within so many bytes, or the line is an unusual one.
const HEAD: usize = 4 << 10;

/// The first list of a line that is one of ours; `None` if it has none, or is unusual.
///
/// It checks no syntax: what stands before the list is read in the end, and if that is JSON, this has understood it.
pub(super) fn find(line: &[u8]) -> Option<Reading> {
    let mut head = Head { bytes: &line[..line.len().min(HEAD)], at: 0 };
    head.take(b'{')?;
    let mut message = None;
    loop {
        let name = head.name()?;
        head.take(b':')?;
        match head.next()? {
            b'[' => {
                if let Some(list) = List::of(message, name) {
                    return Some(Reading::new(head.at + 1, list));
                }
            }
            b'{' if message.is_none() && has_list(name) => {
                message = Some(name);
                head.at += 1;
                continue;
            }
            _ => {}
        }
        head.pass_value()?;
        head.take(b',')?;
    }
}

/// The first bytes of a line, up to a place. Each step is `None` where they end, or are not as expected.
struct Head<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Head<'a> {
    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        let blanks = self.bytes[self.at..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.at += blanks;
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// The name of a field. One with an escape is unusual.
    fn name(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let name = &self.bytes[self.at..];
        let name = &name[..memchr::memchr2(b'"', b'\\', name)?];
        self.at += name.len();
        self.take(b'"').map(|()| name)
    }

    /// Passes over a text, whose first quote is passed.
    fn pass_text(&mut self) -> Option<()> {
        loop {
            let end = memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            let is_escape = self.bytes[self.at + end] == b'\\';
            self.at += end + if is_escape { 2 } else { 1 };
            if !is_escape {
                return Some(());
            }
        }
    }

    /// Passes over a value, up to the comma or bracket after it.
    fn pass_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.bytes.get(self.at)? {
                b',' if depth == 0 => return Some(()),
                b'}' | b']' => match depth.checked_sub(1) {
                    None => return Some(()),
                    Some(outer) => depth = outer,
                },
                b'{' | b'[' => depth += 1,
                b'"' => {
                    self.at += 1;
                    self.pass_text()?;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_list_of_ours_is_found_where_it_is_a_field_of_the_message() {
        for (line, start) in [
            (r#"{"downstream_miners":["#, Some(22)),
            (
                " {\t\"a\" : {\"downstream_miners\":[1,{}]} , \"b\":\"]\\\"}[\",\"c\":-1e3,\"miners\" : [",
                Some(73),
            ),
            (r#"{"MinerSnapshot":{"timestamp":1,"miners":["#, Some(42)),
            (r#"{"type":"MinerSnapshot","miners":[]"#, Some(34)),
            (r#"{"services":[{"x":[]}],"downstream_proxies":["#, Some(45)),
            // Not one of ours, or not at its place.
            (r#"{"services":[{},{}]}"#, None),
            (r#"{"ConnectionSnapshot":{"miners":["#, None),
            (r#"{"MinerSnapshot":{"MinerSnapshot":{"miners":["#, None),
            (r#"{"x":{"miners":[],"y":["#, None),
            (r#"{"mi\u006eers":[]"#, None),
            (r#"{"x":"\"miners\":["#, None),
            (r#"{"x":"\"#, None),
            (r#"[{"miners":["#, None),
            (r#"{"miners":{}}"#, None),
            (r#"{"miners"["#, None),
            ("", None),
        ] {
            assert_eq!(find(line.as_bytes()).map(|reading| reading.start()), start, "{line}");
        }
        let late = format!("{{\"x\":\"{}\",\"miners\":[", "x".repeat(HEAD));
        assert!(find(late.as_bytes()).is_none());
    }
}
