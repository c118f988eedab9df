//! Pseudonyms of addresses: stable, and without the key no way back.

use core::net::{IpAddr, SocketAddr}; // Values only; nothing is opened.
use std::fmt;

use sha3::{Digest, Sha3_256};

use super::address::{addresses, plain};

/// How many bytes of the hash a pseudonym has.
const LENGTH: usize = 8;

/// Makes pseudonyms with a secret key. There are few addresses, so without a key all of them could be tried.
#[derive(Clone)]
pub struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    /// Pseudonyms of this key. They are stable as long as the key is.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The pseudonym of an address, `peer-` and 16 hexadecimal digits. Its port doesn't matter.
    #[must_use]
    pub fn of(&self, address: &str) -> String {
        // The key has a fixed length, and SHA-3 allows no extension of a message: this is a keyed hash.
        let hash = Sha3_256::new_with_prefix(self.key).chain_update(host(address)).finalize();
        let digits: String = hash.iter().take(LENGTH).map(|byte| format!("{byte:02x}")).collect();
        format!("peer-{digits}")
    }

    /// The text with a pseudonym in the place of each address; `None` if it has none. At most `longest` bytes of it.
    #[must_use]
    pub fn hide(&self, text: &str, longest: usize) -> Option<String> {
        let places = addresses(text);
        if places.is_empty() {
            return None;
        }
        let mut hidden = text.to_owned();
        // From the last one, so that the places before it stay where they are.
        for place in places.into_iter().rev() {
            hidden.replace_range(place.clone(), &self.of(&plain(&text[place])));
        }
        hidden.truncate(hidden.floor_char_boundary(longest));
        Some(hidden)
    }
}

/// The host of an address, in one form.
fn host(address: &str) -> String {
    let address = address.trim();
    let canonical = |address: IpAddr| address.to_canonical().to_string();
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return canonical(socket.ip());
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return canonical(address);
    }
    let name = match address.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => address,
    };
    name.to_ascii_lowercase()
}

// Not derived: the key is a secret.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_that_of_the_host_in_whatever_form() {
        let names = Pseudonyms::new([7; 32]);
        for forms in [
            &["192.0.2.7", "192.0.2.7:4711", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:1", " 192.0.2.7 "][..],
            &["2001:db8::1", "[2001:db8::1]", "[2001:db8:0::1]:99"],
            &["pool.example", "Pool.Example:34254"],
        ] {
            let all: Vec<String> = forms.iter().map(|form| names.of(form)).collect();
            assert!(all.iter().all(|name| *name == all[0]), "{forms:?} {all:?}");
        }
        assert_ne!(names.of("192.0.2.7"), names.of("192.0.2.8"));
        assert_ne!(names.of("192.0.2.7"), Pseudonyms::new([8; 32]).of("192.0.2.7"));
    }

    #[test]
    fn addresses_within_a_name_are_hidden_and_other_names_stay() {
        let names = Pseudonyms::new([7; 32]);
        let (one, other) = (names.of("192.0.2.7"), names.of("2001:db8::1"));
        for (text, expected) in [
            ("192.0.2.7", Some(one.clone())),
            ("rig@192.000.2.07:3333", Some(format!("rig@{one}:3333"))),
            ("[2001:db8::1]/192.0.2.7", Some(format!("[{other}]/{one}"))),
            ("bc1q.rig", None),
        ] {
            assert_eq!(names.hide(text, 256), expected, "{text}");
        }
        assert_eq!(names.hide(&"192.0.2.7 ".repeat(25), 256).map(|text| text.len()), Some(256));
    }

    #[test]
    fn a_pseudonym_shows_nothing_of_address_or_key() {
        let names = Pseudonyms::new([7; 32]);
        let name = names.of("192.0.2.7:4711");
        assert!(name.len() == 21 && name.starts_with("peer-") && !name.contains("192"), "{name}");
        assert_eq!(format!("{names:?}"), "Pseudonyms(…)");
    }
}
