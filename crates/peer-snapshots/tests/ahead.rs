//! Reading ahead: whatever comes, in whatever packets, a line is read as it is read as a whole.

#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

mod common;

use std::{fs, path::PathBuf};

use common::split;
use peer_snapshots::{Entries, Frame, Framer, MAX_LINE, Message, ReadAhead, Reason, Unreadable, read};
use proptest::{collection::vec, prelude::*, sample::Index, sample::select};

/// What was read of a line, and how many of its entries were read ahead.
type Found = (Result<Message, Unreadable>, usize);

/// What is read of lines in these packets, while they arrive.
fn read_in(packets: &[&[u8]], max_line: usize, mut ahead: ReadAhead) -> Vec<Option<Found>> {
    let (mut framer, mut all) = (Framer::new(max_line), Vec::new());
    let mut prepared = 0;
    for packet in packets {
        let mut input = *packet;
        while let Some(frame) = framer.next(&mut input).unwrap() {
            all.push(match frame {
                Frame::Line(line) => {
                    let found = ahead.read(line);
                    assert!(found.1 == 0 || found.1 == prepared, "{} of {prepared} were prepared", found.1);
                    Some(found)
                }
                Frame::TooLong(_) => {
                    ahead.forget();
                    None
                }
            });
            prepared = 0;
        }
        while ahead.look(framer.unfinished_line(), |entries| prepared += length(&entries)) {}
    }
    all
}

fn length(entries: &Entries<'_>) -> usize {
    match entries {
        Entries::Miners(all) => all.len(),
        Entries::Connections(all) => all.len(),
        Entries::ProxyMiners(all) => all.len(),
        Entries::PoolProxies(all) => all.len(),
        Entries::Metrics(all) => all.len(),
        Entries::None => 0,
    }
}

/// Good lines and hostile ones.
fn files() -> Vec<Vec<u8>> {
    let folder = |name: &str| -> PathBuf { [env!("CARGO_MANIFEST_DIR"), "tests", name].iter().collect() };
    let all = ["golden", "corpus"].into_iter().flat_map(|name| fs::read_dir(folder(name)).unwrap());
    let mut all: Vec<PathBuf> = all.map(|file| file.unwrap().path()).collect();
    all.sort();
    all.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn status_miner(number: usize) -> String {
    format!(
        "{{\"name\":\"rig {number}\",\"id\":{number},\"address\":null,\"hashrate\":1.5e14,\"shares_submitted\":7,\
         \"connected_at\":1700000000}}"
    )
}

fn status(miners: &str) -> String {
    format!(
        "{{\"ehash_balance\":1,\"upstream_pool\":{{\"address\":\"a\"}},\"downstream_miners\":[{miners}],\
         \"blockchain_network\":\"mainnet\",\"timestamp\":1700000000}}"
    )
}

/// A line with this many entries, in each form that has a list.
fn long(form: usize, entries: usize) -> String {
    let all = |entry: &dyn Fn(usize) -> String| (0..entries).map(entry).collect::<Vec<_>>().join(",");
    let info = |number: usize| {
        format!(
            "{{\"downstream_id\":{number},\"name\":\"rig\\t{number}\",\"hashrate\":1,\"x\":[{{}},\"]\"],\
             \"shares_submitted\":7,\"connected_at\":-1}}"
        )
    };
    let connection = |number: usize| {
        format!(
            "{{\"downstream_id\":{number},\"connection_type\":\"Job Declarator\",\"hashrate\":1,\
             \"shares_submitted\":7,\"channels\":[1,2],\"connected_at\":1}}"
        )
    };
    let proxy = |number: usize| {
        format!(
            "{{\"id\":{number},\"address\":\"a\",\"channels\":[{number}],\"shares_submitted\":1,\"quotes_created\":2,\
             \"ehash_mined\":3,\"last_share_at\":null,\"work_selection\":false}}"
        )
    };
    let metrics = |number: usize| {
        format!(
            "{{\"downstream_id\":{number},\"name\":\"é{number}\",\"shares_lifetime\":9,\"shares_in_window\":3,\
             \"sum_difficulty_in_window\":1.25,\"window_seconds\":60,\"timestamp\":1}}"
        )
    };
    match form {
        0 => status(&all(&status_miner)),
        1 => format!("{{\"MinerSnapshot\":{{\"timestamp\":1,\"miners\":[{}]}}}}", all(&info)),
        2 => format!("{{\"type\":\"MinerSnapshot\",\"miners\" : [ {} ] ,\"timestamp\":1}}", all(&info)),
        3 => format!("{{\"ConnectionSnapshot\":{{\"connections\":[{}],\"timestamp\":1}}}}", all(&connection)),
        4 => format!(
            "{{\"connections\":[{}],\"timestamp\":1,\"type\":\"ConnectionSnapshot\"}}",
            all(&connection)
        ),
        5 => format!(
            "{{\"services\":[{{\"service_type\":\"Pool\"}}],\"downstream_proxies\":[{}],\"listen_address\":\"l\",\
             \"timestamp\":1}}",
            all(&proxy)
        ),
        _ => format!("{{\"service_type\":\"Pool\",\"downstreams\":[{}],\"timestamp\":1}}", all(&metrics)),
    }
}

const FORMS: usize = 7;

#[test]
fn entries_of_every_list_are_read_before_the_end_of_their_line() {
    for form in 0..FORMS {
        let line = long(form, 2_000);
        let expected = read(line.as_bytes());
        assert!(expected.is_ok(), "{form}: {expected:?}");
        let bytes = format!("{line}\r\n");
        for packet in [1_000, 64 << 10] {
            let packets: Vec<&[u8]> = bytes.as_bytes().chunks(packet).collect();
            let found = read_in(&packets, MAX_LINE, ReadAhead::default());
            let [Some((message, count))] = &found[..] else { panic!("{form}: {} lines", found.len()) };
            assert_eq!(*message, expected, "{form}");
            // What is left has come with the last packets.
            assert!(*count >= 2_000 - (96 << 10) / 70, "{form}: {count} of 2000 were read ahead");
        }
    }
}

/// A status whose list ends with these bytes in place of an entry.
fn ends_with(before: usize, last: &[u8]) -> Vec<u8> {
    let good: Vec<String> = (0..before).map(status_miner).collect();
    let line = status(&format!("{},LAST", good.join(",")));
    let (head, tail) = line.split_once("LAST").unwrap();
    [head.as_bytes(), last, tail.as_bytes()].concat()
}

#[test]
fn what_is_wrong_late_in_a_line_is_found_as_in_the_whole_line() {
    let repeated = status_miner(3);
    for (last, reason, field) in [
        (&b"{\"id\":1000}"[..], Reason::MissingField, "downstream_miners[1000].name"),
        (b"1", Reason::WrongType, "downstream_miners[1000]"),
        (b"", Reason::Syntax, "downstream_miners[1000]"),
        (repeated.as_bytes(), Reason::RepeatedId, "downstream_miners[1000].id"),
    ] {
        let line = ends_with(1_000, last);
        let error = read(&line).unwrap_err();
        assert_eq!((error.reason, &*error.field), (reason, field), "{error}");
        for packet in [100, 40_000] {
            let bytes = [&line[..], b"\n"].concat();
            let packets: Vec<&[u8]> = bytes.chunks(packet).collect();
            let found = read_in(&packets, MAX_LINE, ReadAhead::default());
            assert_eq!(found[0].as_ref().unwrap().0, Err(error.clone()), "{packet}");
        }
    }
}

#[test]
fn wherever_a_packet_ends_an_odd_line_is_read_as_a_whole_one_is() {
    let unknown = |text: &[u8]| {
        let miner = status_miner(2);
        [miner.strip_suffix('}').unwrap().as_bytes(), b",\"x\":\"", text, b"\"}"].concat()
    };
    let status = |last: &[u8]| ends_with(2, last);
    let good = String::from_utf8(status(status_miner(2).as_bytes())).unwrap();
    let odd = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    let lines = [
        good.clone().into_bytes(),
        status(b""),
        status(b","),
        status(b"\x0c"),
        status(&unknown(b"\xff")),
        status(&unknown("\u{e9}\\\"]},{".as_bytes())),
        odd("},{", "}\x0c,{"),
        odd("},{", "} \t,\r{"),
        odd("}],", "}]}"),
        odd("}],", "}],\"downstream_miners\":[],"),
        odd("}],", "}],\"miners\":[{}],"),
        odd("{\"ehash_balance\"", "{\"type\":\"ShareSubmitted\",\"x\""),
        odd("\"downstream_miners\"", "\"x\":{\"downstream_miners\":[{},{}]},\"downstream_miners\""),
    ];
    for line in &lines {
        let (expected, bytes) = (read(line), [&line[..], b"\n"].concat());
        for cut in 0..bytes.len() {
            let found = read_in(&[&bytes[..cut], &bytes[cut..]], MAX_LINE, ReadAhead::every(1));
            let (message, _) = found[0].as_ref().unwrap();
            assert_eq!(*message, expected, "{cut}: {}", String::from_utf8_lossy(line));
        }
    }
}

#[test]
fn of_a_line_that_is_too_long_or_ends_in_vain_nothing_is_kept() {
    let line = long(0, 2_000);
    let mut ahead = ReadAhead::default();
    while ahead.look(line.as_bytes(), |_| {}) {}
    assert!(format!("{ahead:?}").contains("rig 5"), "it was read ahead");
    // The framer keeps nothing of a line that it skips.
    assert!(!ahead.look(&[], |_| {}));
    assert!(!format!("{ahead:?}").contains("rig"), "{ahead:?}");
    while ahead.look(line.as_bytes(), |_| {}) {}
    assert!(ahead.read(b"{").0.is_err());
    assert!(!format!("{ahead:?}").contains("rig"), "{ahead:?}");

    // One that is too long by its last packets, and one after it.
    let short = long(0, 10);
    let bytes = format!("{line}\n{short}\n");
    for packet in [1, 5_000] {
        let packets: Vec<&[u8]> = bytes.as_bytes().chunks(packet).collect();
        let found = read_in(&packets, line.len() - 3, ReadAhead::every(100));
        let [None, Some((message, _))] = &found[..] else { panic!("{packet}") };
        assert_eq!(*message, read(short.as_bytes()));
    }
}

#[test]
fn however_much_has_come_it_is_read_in_batches() {
    let line = long(0, 2_000);
    let (mut ahead, mut batches) = (ReadAhead::default(), Vec::new());
    while ahead.look(line.as_bytes(), |entries| batches.push(length(&entries))) {}
    assert!(batches.iter().all(|batch| *batch <= 256), "{batches:?}");
    assert_eq!(batches.iter().sum::<usize>(), 2_000);
}

#[test]
fn an_entry_without_an_end_and_a_very_long_list_are_left_to_the_end() {
    let endless = format!("{{\"downstream_miners\":[{{\"name\":\"{}", "a".repeat(1 << 20));
    let mut ahead = ReadAhead::default();
    while ahead.look(endless.as_bytes(), |_| {}) {}
    assert_eq!(format!("{ahead:?}"), "ReadAhead { step: 32768, looked: 0, state: Whole }");
    let line = long(0, 60_000);
    assert!(line.len() > 5 << 20);
    let bytes = format!("{line}\n");
    let packets: Vec<&[u8]> = bytes.as_bytes().chunks(64 << 10).collect();
    let found = read_in(&packets, MAX_LINE, ReadAhead::default());
    let (message, count) = found[0].as_ref().unwrap();
    assert!(*count * line.len() / 60_000 < 5 << 20, "{count} entries are held beside their line");
    assert_eq!(*message, read(line.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn damaged_lines_are_read_ahead_as_they_are_read_as_a_whole(
        form in 0..FORMS,
        entries in 0_usize..12,
        damages in vec((any::<Index>(), 0_usize..40, select(vec![
            "", "", " ", ",", "]", "[", "{", "}", "\"", "\\", "\u{c}", "{}", "null", "-1", "\t\r", "\"x\":1,", "\"miners\":[",
            "\"type\":\"ShareSubmitted\",", "\u{e9}",
        ])), 0..3),
        bad_byte in proptest::option::weighted(0.1, any::<Index>()),
        cuts in vec(any::<Index>(), 0..12),
        step in 1_usize..300,
    ) {
        let mut line = long(form, entries).into_bytes();
        for (at, cut, with) in damages {
            let start = at.index(line.len() + 1);
            // As often none is cut off as some are.
            let end = (start + cut.saturating_sub(20)).min(line.len());
            line.splice(start..end, with.bytes());
        }
        if let Some(at) = bad_byte && !line.is_empty() {
            let at = at.index(line.len());
            line[at] = 0xff;
        }
        let expected: Vec<Result<Message, Unreadable>> = {
            let without_end = line.strip_suffix(b"\r").unwrap_or(&line);
            if without_end.is_empty() { Vec::new() } else { vec![read(without_end)] }
        };
        line.push(b'\n');
        // Two of them, so that nothing of the first one is taken for the second.
        let twice = [&line[..], &line].concat();
        let found = read_in(&split(&twice, &cuts), MAX_LINE, ReadAhead::every(step));
        let found: Vec<_> = found.into_iter().map(|found| found.unwrap().0).collect();
        prop_assert_eq!(found, [&expected[..], &expected].concat());
    }

    #[test]
    fn good_and_hostile_files_are_read_ahead_as_they_are_read_as_a_whole(
        which in any::<Index>(), cuts in vec(any::<Index>(), 0..6), step in 1_usize..60,
    ) {
        let files = files();
        let file = &files[which.index(files.len())];
        let lines = file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let expected: Vec<_> = lines.filter(|line| !line.is_empty()).map(read).collect();
        let bytes = [&file[..], b"\n"].concat();
        let found = read_in(&split(&bytes, &cuts), MAX_LINE, ReadAhead::every(step));
        let found: Vec<_> = found.into_iter().map(|found| found.unwrap().0).collect();
        prop_assert_eq!(found, expected);
    }
}
