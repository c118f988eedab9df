//! Limits of the framer: what is too long is skipped, and memory stays bounded.

#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

use peer_snapshots::{Endless, Frame, Framer, MAX_LINE};

const LIMIT: usize = 100;

fn lines(framer: &mut Framer, packet: &[u8]) -> Result<Vec<String>, Endless> {
    let mut found = Vec::new();
    let mut input = packet;
    while let Some(frame) = framer.next(&mut input)? {
        found.push(match frame {
            Frame::Line(line) => String::from_utf8(line.to_vec()).unwrap(),
            Frame::TooLong(length) => format!("too long: {length}"),
        });
    }
    Ok(found)
}

#[test]
fn a_line_over_the_limit_is_skipped_and_the_next_one_is_read() {
    for packet in [1, 7, LIMIT, 1_000] {
        let mut framer = Framer::new(LIMIT);
        let bytes = [&b"one\n"[..], &[b'a'; LIMIT + 1], b"\n", &[b'b'; LIMIT], b"\r\ntwo\n"].concat();
        let found: Vec<String> =
            bytes.chunks(packet).flat_map(|part| lines(&mut framer, part).unwrap()).collect();
        let expected =
            ["one".to_owned(), format!("too long: {}", LIMIT + 1), "b".repeat(LIMIT), "two".to_owned()];
        assert_eq!(found, expected, "{packet}");
        assert_eq!(framer.unfinished(), 0);
    }
}

#[test]
fn a_line_of_four_times_the_limit_without_an_end_closes_the_connection() {
    for packet in [1, 7, 10_000] {
        let mut framer = Framer::new(LIMIT);
        let line = vec![b'a'; 4 * LIMIT + 1];
        let (last, before) = line.split_last().unwrap();
        for part in before.chunks(packet) {
            assert_eq!(lines(&mut framer, part), Ok(Vec::new()));
        }
        assert_eq!(lines(&mut framer, &[*last]), Err(Endless(4 * LIMIT)));
    }
    // With an end it is only skipped.
    let mut framer = Framer::new(LIMIT);
    assert_eq!(lines(&mut framer, &[vec![b'a'; 4 * LIMIT], vec![b'\n']].concat()).unwrap().len(), 1);
}

#[test]
fn a_framer_keeps_at_most_one_line_and_little_after_it() {
    const LITTLE: usize = 4 << 10;
    let mut framer = Framer::new(MAX_LINE);
    let packet = vec![b'1'; 64 << 10];
    // The longest line that is kept, and then one that is skipped.
    for _ in 0..MAX_LINE / packet.len() {
        assert_eq!(lines(&mut framer, &packet), Ok(Vec::new()));
    }
    assert!((MAX_LINE..=MAX_LINE + 1).contains(&framer.memory()));
    for _ in 0..MAX_LINE / packet.len() {
        assert_eq!(lines(&mut framer, &packet), Ok(Vec::new()));
        assert!(framer.memory() <= LITTLE, "a skipped line is kept");
    }
    assert_eq!(lines(&mut framer, b"\n").unwrap().len(), 1);
    // One that was read is let go with the next call.
    (0..10).for_each(|_| assert_eq!(lines(&mut framer, &packet), Ok(Vec::new())));
    assert_eq!(lines(&mut framer, b"\n").unwrap().len(), 1);
    assert!(framer.memory() <= LITTLE, "a line that was read is kept");
}
