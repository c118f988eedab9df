//! Properties: any message survives writing and reading, any split of the bytes gives the same lines, and no bytes do harm.

#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

mod common;

use std::{fs, path::PathBuf};

use common::split;
use peer_snapshots::{
    ConnectionInfo, ConnectionSnapshot, ConnectionType, DownstreamMetrics, Endless, Frame, Framer, Heartbeat,
    Message, MeteredService, Metrics, MinerInfo, MinerSnapshot, PoolProxy, PoolStatus, ProxyMiner,
    ProxyStatus, QuoteCreated, Service, ServiceType, Tagging, UpstreamPool, read,
};
use proptest::{collection::vec, option, prelude::*, sample::Index, sample::select};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.:]{0,20}", "\\PC{0,20}", "[\"\\\\\n\r\t{}]{0,5}"]
}

fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1e18, 0.0..1e30]
}

fn numbered<T>(mut list: Vec<T>, number: impl Fn(&mut T, u32)) -> Vec<T> {
    // From the largest to the smallest, so that ids don't ascend.
    let count = u32::try_from(list.len()).unwrap();
    list.iter_mut().zip((0..count).rev()).for_each(|(entry, id)| number(entry, id));
    list
}

fn miners() -> impl Strategy<Value = Message> {
    let miner = (text(), option::of(text()), rate(), any::<u64>(), any::<i64>());
    let miner = miner.prop_map(|(name, address, hashrate, shares_submitted, connected_at)| MinerInfo {
        downstream_id: 0,
        name,
        address,
        hashrate,
        shares_submitted,
        connected_at,
    });
    (vec(miner, 0..8), any::<u64>()).prop_map(|(miners, timestamp)| {
        let miners = numbered(miners, |miner, id| miner.downstream_id = id);
        Message::Miners(MinerSnapshot { miners, timestamp })
    })
}

fn connections() -> impl Strategy<Value = Message> {
    let one = (
        select(ConnectionType::ALL),
        rate(),
        any::<u64>(),
        vec(any::<u32>(), 0..4),
        any::<i64>(),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
    );
    let one = one.prop_map(
        |(
            connection_type,
            hashrate,
            shares_submitted,
            channels,
            connected_at,
            quotes_created,
            ehash_mined,
        )| {
            ConnectionInfo {
                downstream_id: 0,
                connection_type,
                hashrate,
                shares_submitted,
                channels,
                connected_at,
                quotes_created,
                ehash_mined,
            }
        },
    );
    (vec(one, 0..8), any::<u64>()).prop_map(|(all, timestamp)| {
        let connections = numbered(all, |one, id| one.downstream_id = id);
        Message::Connections(ConnectionSnapshot { connections, timestamp })
    })
}

fn proxy() -> impl Strategy<Value = Message> {
    let miner = (text(), option::of(text()), rate(), any::<u64>(), any::<i64>());
    let miner = miner.prop_map(|(name, address, hashrate, shares_submitted, connected_at)| ProxyMiner {
        name,
        id: 0,
        address,
        hashrate,
        shares_submitted,
        connected_at,
    });
    let pool = option::of(option::of(text()).prop_map(|address| UpstreamPool { address }));
    (any::<u64>(), pool, vec(miner, 0..8), text(), any::<u64>()).prop_map(
        |(ehash_balance, upstream_pool, miners, blockchain_network, timestamp)| {
            let downstream_miners = numbered(miners, |miner, id| miner.id = id);
            Message::Proxy(ProxyStatus {
                ehash_balance,
                upstream_pool,
                downstream_miners,
                blockchain_network,
                timestamp,
            })
        },
    )
}

fn pool() -> impl Strategy<Value = Message> {
    let service = (select(ServiceType::ALL), option::of(text()));
    let service = service.prop_map(|(service_type, address)| Service { service_type, address });
    let proxy = (
        option::of(text()),
        vec(any::<u32>(), 0..4),
        any::<[u64; 3]>(),
        option::of(any::<u64>()),
        any::<bool>(),
    );
    let proxy = proxy.prop_map(|(address, channels, counts, last_share_at, work_selection)| PoolProxy {
        id: 0,
        address,
        channels,
        shares_submitted: counts[0],
        quotes_created: counts[1],
        ehash_mined: counts[2],
        last_share_at,
        work_selection,
    });
    (vec(service, 0..4), vec(proxy, 0..8), text(), any::<u64>()).prop_map(
        |(services, proxies, listen_address, timestamp)| {
            let downstream_proxies = numbered(proxies, |proxy, id| proxy.id = id);
            Message::Pool(PoolStatus { services, downstream_proxies, listen_address, timestamp })
        },
    )
}

fn metrics() -> impl Strategy<Value = Message> {
    let one = (any::<u32>(), text(), option::of(text()), any::<[u64; 4]>(), rate());
    let one =
        one.prop_map(|(downstream_id, name, address, counts, sum_difficulty_in_window)| DownstreamMetrics {
            downstream_id,
            name,
            address,
            shares_lifetime: counts[0],
            shares_in_window: counts[1],
            sum_difficulty_in_window,
            window_seconds: counts[2],
            timestamp: counts[3],
        });
    (select(MeteredService::ALL), vec(one, 0..8), any::<u64>()).prop_map(
        |(service_type, downstreams, timestamp)| {
            Message::Metrics(Metrics { service_type, downstreams, timestamp })
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let small = (text(), any::<u64>(), any::<u64>(), any::<u32>());
    let small = small.prop_flat_map(|(listen_address, timestamp, amount, downstream_id)| {
        select(vec![
            Message::Heartbeat(Heartbeat { listen_address, timestamp }),
            Message::Quote(QuoteCreated { downstream_id, amount, timestamp }),
            Message::Balance(peer_snapshots::BalanceUpdate { balance: amount, timestamp }),
        ])
    });
    prop_oneof![miners(), connections(), proxy(), pool(), metrics(), small]
}

/// The lines that a framer finds in packets; `None` for a line that was too long.
fn frames<'p>(
    packets: impl IntoIterator<Item = &'p [u8]>,
    max_line: usize,
) -> (Vec<Option<Vec<u8>>>, Option<Endless>) {
    let mut framer = Framer::new(max_line);
    let mut found = Vec::new();
    for packet in packets {
        let mut input = packet;
        loop {
            match framer.next(&mut input) {
                Ok(Some(Frame::Line(line))) => found.push(Some(line.to_vec())),
                Ok(Some(Frame::TooLong(_))) => found.push(None),
                Ok(None) => break,
                Err(endless) => return (found, Some(endless)),
            }
        }
    }
    (found, None)
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(message in message(), inner in any::<bool>()) {
        let mut line = Vec::new();
        message.write_line(if inner { Tagging::Inner } else { Tagging::Outer }, &mut line);
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(!line.contains(&b'\n'));
        let read = read(&line);
        // Names beyond the limit are cut, which the generator avoids but for wide characters.
        prop_assert_eq!(read.as_ref(), Ok(&message));
    }

    #[test]
    fn messages_survive_any_split(messages in vec(message(), 0..5), crlf in any::<bool>(), cuts in vec(any::<Index>(), 0..20)) {
        let mut bytes = Vec::new();
        for message in &messages {
            message.write_line(Tagging::Outer, &mut bytes);
            if crlf {
                bytes.pop();
                bytes.extend_from_slice(b"\r\n\r\n");
            }
        }
        let (lines, endless) = frames(split(&bytes, &cuts), 1 << 20);
        prop_assert_eq!(endless, None);
        let read: Vec<Message> = lines.iter().map(|line| read(line.as_ref().unwrap()).unwrap()).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn a_split_changes_no_line_and_limits_hold(
        bytes in vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..200),
        cuts in vec(any::<Index>(), 0..30),
        max_line in 1_usize..12,
    ) {
        // What the lines are, written from the promise: by the whole input at once.
        let mut expected = Vec::new();
        let mut is_endless = false;
        let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        for (at, part) in parts.iter().enumerate() {
            if part.len() > 4 * max_line {
                is_endless = true;
                break;
            }
            let line = part.strip_suffix(b"\r").unwrap_or(part);
            if at + 1 < parts.len() && !line.is_empty() {
                expected.push((line.len() <= max_line).then(|| line.to_vec()));
            }
        }
        let (found, endless) = frames(split(&bytes, &cuts), max_line);
        prop_assert_eq!(endless.is_some(), is_endless);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_damaged_line_is_read_or_refused_with_a_short_error(
        which in any::<Index>(), at in any::<Index>(), with in vec(any::<u8>(), 0..4), cut in 0_usize..4,
    ) {
        let files = files();
        let mut line = files[which.index(files.len())].clone();
        let start = at.index(line.len() + 1);
        let end = (start + cut).min(line.len());
        line.splice(start..end, with);
        if let Err(error) = read(&line) {
            prop_assert!(error.to_string().len() < 200, "{error}");
            prop_assert!(error.field.is_ascii() && error.field.len() < 100, "{error}");
        }
    }
}

/// Good lines and hostile ones.
fn files() -> Vec<Vec<u8>> {
    let folder = |name: &str| -> PathBuf { [env!("CARGO_MANIFEST_DIR"), "tests", name].iter().collect() };
    let all = ["golden", "corpus"].into_iter().flat_map(|name| fs::read_dir(folder(name)).unwrap());
    all.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}
