//! Files that are no archive of a ledger: each is refused as a whole, with the line at fault.

#![allow(clippy::expect_used)] // A test that can not go on panics.

use std::io::{self, BufReader, Read};

use store_tracker::{Archive, MOST_ELEMENTS};

const HEAD: &str = r#"{"ledger_archive":1,"schema":"2","exported_at":1795341550,"space":"P:M"}"#;
const ENTRY: &str = "1795334490,1795334460,1795334460,1795334460,1,1795334460,1795334460,ial";
const MARKS: [&str; 2] = [
    r#"{"part":"meta","field":"schema","value":"2"}"#,
    r#"{"part":"meta","field":"born","value":"1795334400.0"}"#,
];

/// The lines of a whole ledger with two sealed epochs and an unsealed one.
fn lines() -> Vec<String> {
    let mut lines = vec![HEAD.to_owned()];
    lines.extend(MARKS.map(str::to_owned));
    for epoch in [100, 101] {
        lines.push(format!(r#"{{"part":"sealed","field":"{epoch}","value":"{ENTRY}"}}"#));
        lines.push(format!(r#"{{"part":"opened","member":"{epoch}","score":1795334460.0}}"#));
    }
    lines.push(format!(r#"{{"part":"open","field":"102","value":"{ENTRY}"}}"#));
    for (name, count) in [("entries", 2), ("epochs", 2), ("submissions", 2)] {
        lines.push(format!(r#"{{"part":"sums","field":"{name}","value":"{count}"}}"#));
    }
    lines.push(r#"{"part":"hours","field":"1795334400:epochs","value":"2"}"#.to_owned());
    for validator in ["v1", "v\\n2"] {
        lines.push(format!(
            r#"{{"part":"validators:1795334400","member":"{validator}","expires":1795514400000}}"#
        ));
    }
    lines
}

/// These lines with the end that belongs to them.
fn ended(lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let checksum = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{text}{{\"end\":{},\"checksum\":\"{checksum:016x}\"}}\n", lines.len())
}

#[track_caller]
fn is_refused(text: &str, line: usize, why: &str) {
    let error = Archive::read(text.as_bytes()).expect_err(why);
    let shown = error.to_string();
    assert!(error.line == line && shown.starts_with(&format!("line {line}: ")), "{shown}, expected: {why}");
    assert!(shown.contains(why) && shown.len() < 500, "{shown}, expected: {why}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

#[test]
fn an_archive_is_read_and_written_again_in_its_fixed_order() {
    let archive = Archive::read(ended(&lines()).as_bytes()).expect("an archive");
    assert_eq!((archive.elements(), archive.head().space.as_str()), (13, "P:M"));
    let again = Archive::read(archive.to_text().as_bytes()).expect("an archive");
    assert_eq!((&again, again.to_text()), (&archive, archive.to_text()));
    let mut shuffled = lines();
    shuffled[1..].reverse();
    assert_eq!(Archive::read(ended(&shuffled).as_bytes()).expect("an archive"), archive);
}

#[test]
fn a_file_that_was_cut_off_or_changed_anywhere_is_refused() {
    let whole = ended(&lines());
    for end in 0..whole.len() {
        assert!(Archive::read(&whole.as_bytes()[..end]).is_err(), "cut off at {end}");
    }
    for at in 0..whole.len() - 1 {
        let mut changed = whole.clone().into_bytes();
        changed[at] ^= 1;
        assert!(Archive::read(&changed[..]).is_err(), "changed at {at}");
    }
    for (at, line) in whole.lines().enumerate() {
        let without: String = whole
            .lines()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        assert!(Archive::read(without.as_bytes()).is_err(), "without {line}");
    }
    is_refused("", 1, "cut off");
    let lines = lines();
    is_refused(&format!("{}\n", lines.join("\n")), lines.len(), "cut off");
    is_refused(
        &whole.replace("\"1795334400.0\"", "\"1795334401.0\""),
        lines.len() + 1,
        "its checksum differs",
    );
    is_refused(
        &whole.replace(&format!("{{\"end\":{}", lines.len()), "{\"end\":3"),
        lines.len() + 1,
        "says 3 lines",
    );
    is_refused(&format!("{whole}\n"), lines.len() + 2, "behind the end");
}

#[test]
fn a_line_that_is_no_element_of_a_ledger_is_refused_by_its_number() {
    let of = |part: &str, field: &str, value: &str| {
        serde_json::json!({ "part": part, "field": field, "value": value }).to_string()
    };
    let member =
        |part: &str, member: &str, more: &str| format!(r#"{{"part":"{part}","member":"{member}",{more}}}"#);
    for (line, why) in [
        ("no JSON".to_owned(), "it is no element of a ledger: expected"),
        (String::new(), "no element"),
        (r#"{"part":"open","field":"1","value":"2","more":1}"#.to_owned(), "unknown field `more`"),
        (r#"{"part":"open","part":"open"}"#.to_owned(), "duplicate field"),
        (of("submissions", "1", "2"), "`submissions` is no part of a ledger"),
        (of("\u{1b}[2J", "1", "2"), "is no part of a ledger"),
        (of("import:hash:1:open", "1", "2"), "is no part of a ledger"),
        (of("validators:1795334400", "1", "2"), "needs `member` and `expires`, and nothing else"),
        (of("opened", "1", "2"), "needs `member` and `score`"),
        (member("open", "1", "\"score\":2"), "needs `field` and `value`"),
        (of("open", "7x", ENTRY), "`7x` is no epoch id"),
        (of("open", "007", ENTRY), "`007` is no epoch id"),
        (of("sealed", "2.3e7", ENTRY), "no epoch id"),
        (of("open", "7", "1,2,3"), "`1,2,3` is not a ledger entry"),
        (of("open", "7", &format!("{ENTRY};{ENTRY}")), "is not a ledger entry"),
        (of("sealed", "7", &format!("{ENTRY}x")), "is not a ledger entry"),
        (of("sums", "rewards", "2"), "`sums` has no number `rewards`"),
        (of("sums", "late", "-2"), "no number that Redis counts with"),
        (of("sums", "late", "02"), "no number that Redis counts with"),
        (of("sums", "late", "9223372036854775808"), "no number that Redis counts with"),
        (of("hours", "1795334401:epochs", "2"), "has no number"),
        (of("hours", "1795334400:validators", "2"), "has no number"),
        (of("hours", "epochs", "2"), "has no number"),
        (of("hours", "1795334400:batches", "x"), "no number that Redis"),
        (of("meta", "floor", "x"), "no epoch id"),
        (of("meta", "latest_entry", "x"), "not a ledger entry"),
        (of("meta", "born", "soon"), "no number"),
        (member("opened", "x", "\"score\":2"), "no epoch id"),
        (member("opened", "7", "\"score\":-1"), "no time"),
        (member("opened", "7", "\"score\":1e999"), "number out of range"),
        (member("validators:1795334400", "", "\"expires\":1795514400000"), "names no validator"),
        (member("validators:1795334400", "v3", "\"expires\":1"), "at different times"),
        (member("validators:1795334400", "v1", "\"expires\":1795514400000"), "twice"),
        (member("validators:1795334401", "v1", "\"expires\":1"), "no part of a ledger"),
        (of("open", "102", ENTRY), "`102` is in `open` twice"),
        (of("open", "7", &"9".repeat(70_000)), "more than 65536 bytes"),
    ] {
        let mut lines = lines();
        lines.push(line);
        is_refused(&ended(&lines), lines.len(), why);
    }
    let bytes = [HEAD.as_bytes(), b"\n{\"part\":\"open\xff\"}\n"].concat();
    assert_eq!(Archive::read(&bytes[..]).expect_err("no UTF-8").line, 2);
}

#[test]
fn a_head_of_another_format_or_version_is_refused() {
    for (from, to, why) in [
        ("\"ledger_archive\":1", "\"ledger_archive\":2", "the format has version 2"),
        ("\"schema\":\"2\"", "\"schema\":\"77\"", "the ledger has version `77`"),
        ("\"exported_at\":1795341550,", "", "missing field `exported_at`"),
        (HEAD, "HSET open 1 2", "it is no head of a ledger's archive"),
    ] {
        is_refused(&ended(&lines()).replacen(from, to, 1), 1, why);
    }
}

#[test]
fn a_ledger_that_does_not_fit_together_is_refused() {
    let whole = lines();
    let end = |lines: &[String]| lines.len() + 1;
    let without =
        |part: &str| -> Vec<String> { whole.iter().filter(|line| !line.contains(part)).cloned().collect() };
    for (lines, why) in [
        (without("\"born\""), "no `born`"),
        (
            without("\"value\":\"2\"}").into_iter().chain([MARKS[1].replace("born", "x")]).collect(),
            "no `schema`",
        ),
        (without("\"sealed\",\"field\":\"101\""), "`sealed` has 1 entries, and `sums` says 2"),
        (without("\"entries\""), "`sums` says 0"),
    ] {
        is_refused(&ended(&lines), end(&lines), why);
    }
    let mut both = whole.clone();
    both.push(format!(r#"{{"part":"open","field":"101","value":"{ENTRY}"}}"#));
    is_refused(&ended(&both), end(&both), "epoch 101 is both unsealed and sealed");
    let other: Vec<String> =
        whole.iter().map(|line| line.replacen("\"value\":\"2\"}", "\"value\":\"1\"}", 1)).collect();
    is_refused(&ended(&other[..3]), 4, "another one");
    let mut many = whole.clone();
    for hour in 0..200 {
        many.push(format!(r#"{{"part":"validators:{}","member":"v","expires":1}}"#, 3_600 * hour));
    }
    is_refused(&ended(&many), end(&many), "more hours");
}

#[test]
fn a_file_without_an_end_fills_no_memory_and_one_that_can_not_be_read_is_an_error() {
    let error = Archive::read(BufReader::new(io::repeat(b'x'))).expect_err("one line without an end");
    assert!(error.to_string().contains("more than"), "{error}");
    let element = |number: usize| format!("{{\"part\":\"opened\",\"member\":\"{number}\",\"score\":1}}\n");
    let many: String = (0..=MOST_ELEMENTS).map(element).collect();
    let text = format!("{HEAD}\n").into_bytes();
    let error = Archive::read(BufReader::new(text.as_slice().chain(many.as_bytes()))).expect_err("too many");
    assert!(error.to_string().contains("more than 500000 elements"), "{error}");
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let error = Archive::read(BufReader::new(Broken)).expect_err("no text");
    assert!(errors::one_line(&error).contains("the disk is gone"), "{error}");
}
