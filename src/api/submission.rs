//! Stored submissions as an answer has them. Most are as producers write them: ASCII without escapes, known fields, whole numbers
//! above zero. Such a one is rewritten as it stands, several times faster than through its types; all others go through their types.
//! Both ways write the same. Pure.

use std::io::{self, Write};

use super::answers::Submission;

/// A stored submission, read.
pub(super) enum Stored<'a> {
    /// As producers write it.
    Plain(Plain<'a>),
    /// In another form.
    Typed(Submission<'a>),
}

impl<'a> Stored<'a> {
    /// Reads a field of the hash and its value.
    ///
    /// # Errors
    /// A value that is no submission.
    pub(super) fn read(field: &'a [u8], value: &'a [u8]) -> Result<Self, serde_json::Error> {
        if let Some(plain) = Plain::read(field, value) {
            return Ok(Self::Plain(plain));
        }
        let id = String::from_utf8_lossy(field);
        Ok(Self::Typed(Submission { id, data: serde_json::from_slice(value)? }))
    }

    /// Writes it as an answer has it.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.write(out),
            Self::Typed(submission) => Ok(serde_json::to_writer(out, submission)?),
        }
    }
}

/// A stored submission of the plain form. Texts are JSON as they stand, numbers are digits as JSON writes them.
#[derive(Default)]
pub(super) struct Plain<'a> {
    id: &'a [u8],
    request: Request<'a>,
    signature: &'a [u8],
    header: &'a [u8],
}

/// The fields of its request.
#[derive(Default)]
struct Request<'a> {
    slot: &'a [u8],
    deadline: &'a [u8],
    snapshot: &'a [u8],
    epoch: &'a [u8],
    project: &'a [u8],
}

impl<'a> Plain<'a> {
    /// Reads a field of the hash and its value; `None` if they are not of this form.
    fn read(id: &'a [u8], value: &'a [u8]) -> Option<Self> {
        if !is_plain(id) || id.contains(&b'"') || !is_plain(value) {
            return None;
        }
        let mut plain = Self { id, ..Self::default() };
        let mut rest = Rest(value);
        let mut has_request = false;
        rest.object(|rest, name| match name {
            b"request" if !has_request => {
                has_request = true;
                rest.object(|rest, name| plain.request.field(rest, name))
            }
            b"signature" => rest.text_into(&mut plain.signature),
            b"header" => rest.text_into(&mut plain.header),
            _ => None,
        })?;
        rest.is_at_end().then_some(plain)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Request { slot, deadline, snapshot, epoch, project } = &self.request;
        out.write_all(b"{\"submissionID\":\"")?;
        out.write_all(self.id)?;
        out.write_all(b"\",\"submissionData\":{\"request\":{")?;
        let mut is_first = true;
        for (name, value, mark) in [
            ("\"slotID\":", slot, ""),
            ("\"deadline\":", deadline, ""),
            ("\"snapshotCID\":", snapshot, "\""),
            ("\"epochID\":", epoch, ""),
            ("\"projectID\":", project, "\""),
        ] {
            if !value.is_empty() {
                let comma = if std::mem::take(&mut is_first) { "" } else { "," };
                write_field(out, comma, name, mark, value)?;
            }
        }
        out.write_all(b"}")?;
        for (name, value) in [("\"signature\":", self.signature), ("\"header\":", self.header)] {
            if !value.is_empty() {
                write_field(out, ",", name, "\"", value)?;
            }
        }
        out.write_all(b"}}")
    }
}

fn write_field(out: &mut impl Write, comma: &str, name: &str, mark: &str, value: &[u8]) -> io::Result<()> {
    out.write_all(comma.as_bytes())?;
    out.write_all(name.as_bytes())?;
    out.write_all(mark.as_bytes())?;
    out.write_all(value)?;
    out.write_all(mark.as_bytes())
}

impl<'a> Request<'a> {
    fn field(&mut self, rest: &mut Rest<'a>, name: &[u8]) -> Option<()> {
        match name {
            b"slotId" | b"slotID" => rest.number_into(&mut self.slot),
            b"deadline" => rest.number_into(&mut self.deadline),
            b"snapshotCid" | b"snapshotCID" => rest.text_into(&mut self.snapshot),
            b"epochId" | b"epochID" => rest.number_into(&mut self.epoch),
            b"projectId" | b"projectID" => rest.text_into(&mut self.project),
            _ => None,
        }
    }
}

/// Whether all bytes stand for themselves in a JSON text. Of all of them, without an early end: so the compiler compares many at once.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |is_plain, byte| is_plain & (b' '..=b'~').contains(byte) & (*byte != b'\\'))
}

/// What is not read yet of plain JSON. Each method is `None` where something else follows.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// An object; `field` reads the value of each name.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.expect(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.text()?;
            self.expect(b':')?;
            field(self, name)?;
            if self.expect(b',').is_none() {
                return self.expect(b'}');
            }
        }
    }

    /// A text that is not empty, into a field that is not set.
    fn text_into(&mut self, field: &mut &'a [u8]) -> Option<()> {
        set(field, self.text()?)
    }

    /// A number above 0, or one as a text, into a field that is not set.
    fn number_into(&mut self, field: &mut &'a [u8]) -> Option<()> {
        let digits = if self.is_before(b'"') { self.text()? } else { self.digits() };
        // 19 digits are below the largest number.
        let is_number =
            digits.len() < 20 && digits.first()? != &b'0' && digits.iter().all(u8::is_ascii_digit);
        if is_number { set(field, digits) } else { None }
    }

    fn digits(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        self.take(end)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let text = self.take(memchr::memchr(b'"', self.0)?);
        self.take(1);
        Some(text)
    }

    /// This byte, after blanks.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.is_before(byte).then(|| {
            self.take(1);
        })
    }

    fn is_before(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        self.0.first() == Some(&byte)
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.0.is_empty()
    }

    fn skip_blanks(&mut self) {
        while let Some(rest) = self.0.strip_prefix(b" ") {
            self.0 = rest;
        }
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }
}

/// Sets a field. The types decide on one that is empty, or that is there twice.
fn set<'a>(field: &mut &'a [u8], value: &'a [u8]) -> Option<()> {
    if value.is_empty() || !field.is_empty() {
        return None;
    }
    *field = value;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    };

    use super::*;

    /// Through the types alone.
    fn typed(field: &[u8], value: &[u8]) -> Option<String> {
        let id = String::from_utf8_lossy(field);
        let data = serde_json::from_slice(value).ok()?;
        Some(serde_json::to_string(&Submission { id, data }).unwrap())
    }

    fn shown(field: &[u8], value: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        Stored::read(field, value).ok()?.write(&mut out).unwrap();
        Some(String::from_utf8(out).unwrap())
    }

    /// A value of a field: mostly of the right kind, and all that may be wrong with it.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => any::<u64>().prop_map(|number| format!("\"{number}\"")),
            2 => any::<u64>().prop_map(|number| number.to_string()),
            4 => "[ -~]{0,9}".prop_map(|text| format!("\"{text}\"")),
            2 => ".{0,5}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            1 => prop_oneof![
                Just("null"), Just("0"), Just("\"0\""), Just("007"), Just("\"007\""), Just("-1"), Just("1.5"), Just("1e3"),
                Just("\"+5\""), Just("99999999999999999999"), Just("\"\""), Just("\"\\ud800\""), Just("[]"), Just("{}"),
                Just("true"), Just("\""), Just(""), Just("\"a\"b"), Just("\"\u{7f}\""), Just("\"\t\"")
            ].prop_map(str::to_owned),
        ]
    }

    fn object(
        names: &'static [&'static str],
        inner: impl Strategy<Value = String>,
    ) -> impl Strategy<Value = String> {
        let blank = prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n")];
        let field = (proptest::sample::select(names), inner, blank);
        vec(field, 0..7).prop_map(|fields| {
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(name, value, blank)| format!("{blank}\"{name}\":{blank}{value}{blank}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        })
    }

    fn submission() -> impl Strategy<Value = String> {
        const REQUEST: &[&str] = &[
            "slotId",
            "slotID",
            "deadline",
            "snapshotCid",
            "snapshotCID",
            "epochId",
            "epochID",
            "projectId",
            "projectID",
            "other",
        ];
        let request = object(REQUEST, value());
        let whole = (request, value(), value(), ".{0,2}").prop_map(|(request, signature, header, more)| {
            format!("{{\"request\":{request},\"signature\":{signature},\"header\":{header}}}{more}")
        });
        let any_fields = object(
            &["request", "signature", "header", "other"],
            prop_oneof![value(), object(REQUEST, value())],
        );
        prop_oneof![whole, any_fields]
    }

    proptest! {
        #[test]
        fn both_ways_write_the_same(field in "[ -~]{0,9}|.{0,4}", value in submission()) {
            prop_assert_eq!(shown(field.as_bytes(), value.as_bytes()), typed(field.as_bytes(), value.as_bytes()));
        }

        #[test]
        fn what_producers_write_is_plain(
            (slot, deadline, epoch) in (1..=u64::MAX / 2, 1..=u64::MAX / 2, 1..=u64::MAX / 2),
            (cid, project, signature, header) in ("[a-z0-9]{1,59}", "[a-zA-Z_:0-9]{1,80}", "[0-9a-f]{130}", "0x[0-9a-f]{64}"),
        ) {
            let value = format!(
                r#"{{"request":{{"slotId":"{slot}", "deadline":"{deadline}","snapshotCid":"{cid}","epochId":"{epoch}","projectId":"{project}"}}, "signature":"{signature}","header":"{header}"}}"#
            );
            prop_assert!(Plain::read(b"id", value.as_bytes()).is_some(), "{}", value);
            prop_assert_eq!(shown(b"id", value.as_bytes()), typed(b"id", value.as_bytes()));
        }
    }
}
