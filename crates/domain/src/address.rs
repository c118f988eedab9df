//! Contract addresses as they appear in keys.

use std::fmt;

use sha3::{Digest, Keccak256};

/// The name of a protocol-state contract or of a data market: an address as it was configured, or any other
/// name, which is used as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    configured: String,
    checksum: Option<String>,
}

impl Address {
    /// Takes an address in any spelling, or a name.
    #[must_use]
    pub fn new(configured: &str) -> Self {
        Self { configured: configured.to_owned(), checksum: checksum(configured) }
    }

    /// As it was configured.
    #[must_use]
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// In EIP-55 checksum form; a name that is no hex address stays as it is.
    #[must_use]
    pub fn checksummed(&self) -> &str {
        self.checksum.as_deref().unwrap_or(&self.configured)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.checksummed())
    }
}

/// EIP-55: a hex letter is upper case where the nibble of the hash of the lower-case address is 8 or more.
fn checksum(address: &str) -> Option<String> {
    // Producers accept 40 digits alone too.
    let digits = address.strip_prefix("0x").or_else(|| address.strip_prefix("0X")).unwrap_or(address);
    if digits.len() != 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    // EIP-55 hashes the text of the digits, not the 20 bytes.
    let hash = Keccak256::digest(lower.as_bytes());
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let spell = |(digit, nibble): (char, u8)| if nibble >= 8 { digit.to_ascii_uppercase() } else { digit };
    Some("0x".chars().chain(lower.chars().zip(nibbles).map(spell)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_addresses_are_spelled_as_eip_55_says() {
        // The test vectors of EIP-55.
        for vector in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
        ] {
            let address = Address::new(&vector.to_lowercase());
            assert_eq!((address.checksummed(), address.to_string().as_str()), (vector, vector));
            assert_eq!(address.configured(), vector.to_lowercase());
            assert_eq!(Address::new(&vector[2..]).checksummed(), vector, "without 0x");
            assert_eq!(Address::new(&vector.to_uppercase().replacen("0X", "0x", 1)).checksummed(), vector);
        }
    }

    #[test]
    fn a_name_that_is_no_address_is_used_as_it_is() {
        for name in ["0xMARKET00000000000000000000000000000000001", "0xabc", "market-a", ""] {
            assert_eq!(Address::new(name).checksummed(), name);
        }
    }
}
