//! Addresses within other texts, such as a name that a miner has taken from its address. Pure.

use core::{
    net::{Ipv4Addr, Ipv6Addr}, // Values only; nothing is opened.
    ops::Range,
};

/// Where the addresses of a text are, in order, without their ports. Rather one too many: what looks like an address is one.
pub(super) fn addresses(text: &str) -> Vec<Range<usize>> {
    // Most names can have none: one of the fourth version has three dots, one of the sixth two colons.
    let count = |of: u8| text.bytes().filter(|byte| *byte == of).count();
    if count(b'.') < 3 && count(b':') < 2 {
        return Vec::new();
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match v4(text.as_bytes(), at).or_else(|| v6(text, at)) {
            Some(end) => {
                found.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

/// The end of the IPv4 address that begins here.
fn v4(text: &[u8], start: usize) -> Option<usize> {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    if !is_digit(start) || start.checked_sub(1).is_some_and(is_digit) {
        return None;
    }
    let mut at = start;
    for octet in 0..4 {
        if octet > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let first = at;
        while is_digit(at) && at - first < 4 {
            at += 1;
        }
        let digits = std::str::from_utf8(&text[first..at]).ok()?;
        // Zeros in front are none of an address, and are read as one by some.
        digits.parse::<u16>().ok().filter(|number| *number < 256)?;
    }
    Some(at)
}

/// The end of the IPv6 address that begins here. One group alone, as in `rig::1`, is none.
fn v6(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
    let before = start.checked_sub(1).map(|before| &bytes[before]);
    if !is_part(&bytes[start]) || before.is_some_and(is_part) {
        return None;
    }
    let length = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
    let mut run = &text[start..start + length];
    // An IPv4 address in the form of IPv6: it is hidden by itself, whatever stands before it.
    if let Some(colon) = run.rfind(':').filter(|colon| v4(bytes, start + colon + 1).is_some()) {
        run = &run[..=colon];
    }
    // What follows the last colon may be a port.
    let shorter = run.rmatch_indices(':').flat_map(|(colon, _)| [&run[..=colon], &run[..colon]]);
    let is_address = |part: &str| {
        let groups = part.split(':').filter(|group| !group.is_empty()).count();
        groups > 1 && part.parse::<Ipv6Addr>().is_ok()
    };
    [run].into_iter().chain(shorter).find(|part| is_address(part)).map(|part| start + part.len())
}

/// The address that a part of a text is, in the form that pseudonyms know.
pub(super) fn plain(part: &str) -> String {
    let octets: Option<Vec<u8>> = part.split('.').map(|octet| octet.parse().ok()).collect();
    match octets.and_then(|octets| <[u8; 4]>::try_from(octets).ok()) {
        Some(octets) => Ipv4Addr::from(octets).to_string(),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_wherever_they_stand_and_names_are_left_alone() {
        for (text, expected) in [
            ("192.0.2.7", &["192.0.2.7"][..]),
            ("rig@192.0.2.7:3333", &["192.0.2.7"]),
            ("farm.192.0.2.7.x", &["192.0.2.7"]),
            ("192.0.2.7,192.0.2.8", &["192.0.2.7", "192.0.2.8"]),
            ("a192.000.002.007b", &["192.000.002.007"]),
            ("2001:db8::7", &["2001:db8::7"]),
            ("[2001:DB8::7]:3333", &["2001:DB8::7"]),
            ("2001:db8:0:0:0:0:0:7:3333", &["2001:db8:0:0:0:0:0:7"]),
            ("xyz-fe80::1%eth0", &["fe80::1"]),
            ("::ffff:192.0.2.7", &["192.0.2.7"]),
            ("64:ff9b::192.0.2.7", &["64:ff9b::", "192.0.2.7"]),
            ("äß 192.0.2.7 ☃", &["192.0.2.7"]),
            ("", &[]),
            ("bc1qdeadbeef.rig7", &[]),
            ("192.0.2", &[]),
            ("192.0.2.256", &[]),
            ("192.0.2.7777", &[]),
            ("12:34:56", &[]),
            ("user::1", &[]),
            ("::", &[]),
            ("00:1a:2b:3c:4d:5e", &[]),
        ] {
            let found: Vec<&str> = addresses(text).into_iter().map(|place| &text[place]).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(
            (plain("192.000.002.007"), plain("2001:db8::7")),
            ("192.0.2.7".into(), "2001:db8::7".into())
        );
    }
}
