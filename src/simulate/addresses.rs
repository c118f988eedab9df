//! The addresses that simulated senders come from. A receiver takes all connections of one address for one sender, so each has its own
//! where that is possible.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use color_eyre::eyre::{Result, WrapErr, ensure};
use tokio::net::lookup_host;

/// The first of the addresses towards this machine itself, all of which lead to it.
const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// What is said where all senders have the same address.
const SHARED: &str =
    "; they share one address, so the receiver takes them for one sender: --from names the first of several";

/// The addresses of senders.
pub(super) struct Addresses {
    /// One for each; the system chooses where it is `None`.
    pub(super) all: Vec<Option<IpAddr>>,
    /// What the user should know of them.
    pub(super) note: &'static str,
}

/// The addresses of so many senders to `to`: successive ones from `first` on, else local ones if the receiver is on this machine.
pub(super) async fn of_senders(to: &str, first: Option<IpAddr>, many: usize) -> Result<Addresses> {
    let found = lookup_host(to)
        .await
        .wrap_err_with(|| format!("the receiver `{to}` has no address; give it as HOST:PORT"))?;
    let found: Vec<SocketAddr> = found.collect();
    ensure!(!found.is_empty(), "the receiver `{to}` has no address; give it as HOST:PORT");
    Ok(choose(&found, first, many))
}

fn choose(to: &[SocketAddr], first: Option<IpAddr>, many: usize) -> Addresses {
    let is_local = to.iter().any(|to| to.is_ipv4() && to.ip().is_loopback());
    match first.or_else(|| is_local.then_some(LOCAL.into())) {
        Some(first) => {
            Addresses { all: (0..many).map(|number| Some(nth(first, number))).collect(), note: "" }
        }
        None => Addresses { all: vec![None; many], note: if many > 1 { SHARED } else { "" } },
    }
}

/// The address so many after this one.
fn nth(first: IpAddr, number: usize) -> IpAddr {
    match first {
        IpAddr::V4(first) => {
            Ipv4Addr::from_bits(first.to_bits().wrapping_add(u32::try_from(number).unwrap_or(0))).into()
        }
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(number as u128)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(to: &[&str], first: Option<&str>) -> (Vec<String>, bool) {
        let to: Vec<SocketAddr> = to.iter().map(|to| to.parse().expect("an address")).collect();
        let first = first.map(|first| first.parse().expect("an address"));
        let Addresses { all, note } = choose(&to, first, 300);
        let shown = |from: &Option<IpAddr>| from.map_or("-".to_owned(), |from| from.to_string());
        ([0, 1, 299].map(|number| shown(&all[number])).into(), note.is_empty())
    }

    #[test]
    fn senders_have_addresses_of_their_own_where_the_machine_has_them() {
        for (to, first, from, is_apart) in [
            (&["127.0.0.1:8082"][..], None, ["127.1.0.1", "127.1.0.2", "127.1.1.44"], true),
            (&["[::1]:8082", "127.0.0.1:8082"], None, ["127.1.0.1", "127.1.0.2", "127.1.1.44"], true),
            (&["192.0.2.1:8082"], None, ["-", "-", "-"], false),
            (&["[::1]:8082"], None, ["-", "-", "-"], false),
            (&["192.0.2.1:8082"], Some("10.0.0.255"), ["10.0.0.255", "10.0.1.0", "10.0.2.42"], true),
            (
                &["[2001:db8::1]:1"],
                Some("2001:db8::ffff"),
                ["2001:db8::ffff", "2001:db8::1:0", "2001:db8::1:12a"],
                true,
            ),
        ] {
            assert_eq!(chosen(to, first), (from.map(str::to_owned).into(), is_apart), "{to:?}");
        }
    }
}
