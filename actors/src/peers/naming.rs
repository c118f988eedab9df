//! Who may connect, and what a sender is called.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr, sync::Arc};

use domain::peers::Pseudonyms;
use peer_snapshots::{Entries, LONGEST_TEXT, Message};

/// A network of addresses, such as `10.0.0.0/8`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no address such as 10.0.0.7 and no network such as 10.0.0.0/8")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| NoNetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits <= most { Ok(Self { address, bits }) } else { Err(NoNetwork) }
    }
}

impl Network {
    /// Whether an address belongs to it. An IPv4 address in the form of IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                (u64::from(own.to_bits()) >> shift) == (u64::from(other.to_bits()) >> shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// Whether a text can be the name of a source: 1 to 64 letters, digits, `.`, `-` and `_`.
#[must_use]
pub fn is_source_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// What senders are called.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// Names of the configuration.
    pub names: BTreeMap<IpAddr, Arc<str>>,
    /// Makes the names of all others; `None` where addresses may be shown.
    pub pseudonyms: Option<Pseudonyms>,
}

impl Naming {
    /// The name of a source with this name in its verified certificate, else of the one at this address. A certificate proves more than an
    /// address, behind which there may be several senders.
    #[must_use]
    pub fn certified(&self, certified: Option<&str>, address: IpAddr) -> Arc<str> {
        certified.filter(|name| is_source_name(name)).map_or_else(|| self.source(address), Arc::from)
    }

    /// The name of the source at this address: that of the configuration, else a pseudonym, or the address where it may be shown.
    #[must_use]
    pub fn source(&self, address: IpAddr) -> Arc<str> {
        let address = address.to_canonical();
        match (self.names.get(&address), &self.pseudonyms) {
            (Some(name), _) => name.clone(),
            (None, Some(pseudonyms)) => pseudonyms.of(&address.to_string()).into(),
            (None, None) => address.to_string().into(),
        }
    }

    /// Replaces the addresses within the names of a message by their pseudonyms, where no address may be shown: names are shown and
    /// stored as they are, and a sender may take that of a miner from its address. The first `hidden` entries are hidden already: what is
    /// in the place of an address may look like one again.
    pub(super) fn hide(&self, message: &mut Message, hidden: usize) {
        if let Message::Proxy(status) = message {
            self.hide_name(&mut status.blockchain_network);
        }
        self.hide_entries(message.entries_from(hidden));
    }

    /// Replaces the addresses within the names of entries.
    pub(super) fn hide_entries(&self, entries: Entries<'_>) {
        match entries {
            Entries::Miners(all) => all.iter_mut().for_each(|miner| self.hide_name(&mut miner.name)),
            Entries::ProxyMiners(all) => all.iter_mut().for_each(|miner| self.hide_name(&mut miner.name)),
            Entries::Metrics(all) => all.iter_mut().for_each(|peer| self.hide_name(&mut peer.name)),
            // They have no names. Their addresses are hidden where they are shown, and stored nowhere.
            Entries::Connections(_) | Entries::PoolProxies(_) | Entries::None => {}
        }
    }

    fn hide_name(&self, name: &mut String) {
        let Some(pseudonyms) = &self.pseudonyms else { return };
        if let Some(hidden) = pseudonyms.hide(name, LONGEST_TEXT) {
            *name = hidden;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_has_the_addresses_that_share_its_first_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.7/32", "::ffff:10.0.0.7", "::1"),
            ("192.168.4.128/25", "192.168.4.200", "192.168.4.100"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
        ] {
            let network: Network = network.parse().expect("a network");
            assert!(network.contains(address(inside)) && !network.contains(address(outside)), "{network:?}");
        }
        for all in ["0.0.0.0/0", "::/0"] {
            let network: Network = all.parse().expect("a network");
            assert!(
                network.contains(address(if all.contains(':') { "fe80::1" } else { "9.9.9.9" })),
                "{all}"
            );
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/", "host"] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }

    #[test]
    fn a_source_has_its_configured_name_or_a_pseudonym_and_its_address_only_where_that_may_be_shown() {
        let names: BTreeMap<_, _> = [(address("10.0.0.7"), "proxy-a".into())].into();
        let shown = Naming { names: names.clone(), pseudonyms: None };
        let hidden = Naming { names, pseudonyms: Some(Pseudonyms::new([7; 32])) };
        assert_eq!(&*shown.source(address("::ffff:10.0.0.7")), "proxy-a");
        assert_eq!(&*hidden.source(address("10.0.0.7")), "proxy-a");
        assert_eq!(&*shown.source(address("10.0.0.8")), "10.0.0.8");
        assert!(hidden.source(address("10.0.0.8")).starts_with("peer-"));
    }

    #[test]
    fn the_name_of_a_certificate_comes_before_that_of_the_address_if_it_can_be_one() {
        let names: BTreeMap<_, _> = [(address("10.0.0.7"), "proxy-a".into())].into();
        let naming = Naming { names, pseudonyms: None };
        assert_eq!(&*naming.certified(Some("north.example.org"), address("10.0.0.7")), "north.example.org");
        let long = "a".repeat(65);
        for none in [None, Some(""), Some("a b"), Some("a\nb"), Some(&*long)] {
            assert_eq!(&*naming.certified(none, address("10.0.0.7")), "proxy-a", "{none:?}");
        }
    }
}
