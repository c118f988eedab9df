//! What a poll adds to the history. Pure: the meters are in memory.
//!
//! An application that has clients and is a client itself would count its work twice. So its work is measured at its clients, if it
//! monitors them, else at its own channels.

use std::{collections::BTreeMap, sync::Arc};

use domain::peers::{DeclaredPeer, Now, PeerKind, PictureKind, Poll, WorkSum};
use peer_snapshots::polled::{ChannelKind, Polled};

use super::{declare, gathered};
use crate::peers::{
    pending::Gathered,
    shared::Meters,
    sums::{Place, Sums},
};

/// What a poll adds to the history, and the work a second of each client, by its number.
pub(in crate::peers) fn measure_poll(
    meters: &mut Meters,
    source: &Arc<str>,
    polled: &Polled,
    at: f64,
    now: Now,
) -> (Gathered, BTreeMap<u32, f64>) {
    let (mut all, rates) = measured(meters, source, polled, at, now);
    all.samples.extend(declared(meters, source, polled, now).samples);
    (all, rates)
}

fn measured(
    meters: &mut Meters,
    source: &Arc<str>,
    polled: &Polled,
    at: f64,
    now: Now,
) -> (Gathered, BTreeMap<u32, f64>) {
    let place = match polled {
        Polled { clients: Some(_), .. } => Place::Clients,
        Polled { server_channels: Some(_), .. } => Place::Server,
        // What is not monitored is not zero.
        _ => return (Gathered::default(), BTreeMap::new()),
    };
    let new = || Sums::new(source.clone(), place);
    let sums = meters.sums.entry(source.clone()).or_insert_with(new);
    if sums.place != place {
        *sums = new();
    }
    let poll = Poll { at, uptime: Some(polled.uptime_secs as f64) };
    let (measured, rates) = match place {
        Place::Clients => (sums.meter.measure(of_clients(polled), poll), sums.meter.rates().clone()),
        // Its channels have numbers of their own, which are not those of its clients.
        Place::Server => (sums.meter.measure(of_server(polled), poll), BTreeMap::new()),
    };
    meters.note(source, PictureKind::Polled, &measured, now);
    (gathered(measured, None, place == Place::Clients), rates)
}

fn kind(kind: ChannelKind) -> PeerKind {
    match kind {
        ChannelKind::Extended => PeerKind::Extended,
        ChannelKind::Standard => PeerKind::Standard,
    }
}

fn of_clients(polled: &Polled) -> impl Iterator<Item = WorkSum<'_>> {
    let clients = polled.clients.iter().flatten();
    let channels = clients.flat_map(|client| {
        client.channels.iter().map(|(kind, channel)| (client.info.client_id, *kind, channel))
    });
    channels.filter_map(|(client_id, of, channel)| {
        let (channel_id, name, work) =
            (channel.channel_id, &*channel.user_identity, channel.share_work_sum.0?);
        Some(WorkSum { client_id, channel_id, kind: kind(of), name, work })
    })
}

fn of_server(polled: &Polled) -> impl Iterator<Item = WorkSum<'_>> {
    polled.server_channels.iter().flatten().filter_map(|(of, channel)| {
        let (channel_id, name, work) =
            (channel.channel_id, &*channel.user_identity, channel.validated_work_sum.0?);
        Some(WorkSum { client_id: 0, channel_id, kind: kind(*of), name, work })
    })
}

/// What is declared: by clients and miners, and by the application itself if it monitors neither.
fn declared(meters: &mut Meters, source: &Arc<str>, polled: &Polled, now: Now) -> Gathered {
    // Peers of one name and kind are one, whose rates add up; it has the least of their numbers.
    let mut peers: BTreeMap<(&str, PeerKind), (u32, f64)> = BTreeMap::new();
    let mut add = |name, kind, id: u32, rate: Option<f64>| {
        if let Some(rate) = rate {
            let peer = peers.entry((name, kind)).or_insert((id, 0.0));
            *peer = (peer.0.min(id), peer.1 + rate);
        }
    };
    let has_ids = polled.clients.is_some() || polled.sv1_clients.is_some();
    for client in polled.clients.iter().flatten() {
        for (of, channel) in &client.channels {
            add(&*channel.user_identity, kind(*of), client.info.client_id, channel.nominal_hashrate.0);
        }
    }
    for client in polled.sv1_clients.iter().flatten() {
        add(client.name(), PeerKind::Translated, client.client_id, client.hashrate.and_then(|rate| rate.0));
    }
    if !has_ids {
        let Some(channels) = &polled.server_channels else { return Gathered::default() };
        for (of, channel) in channels {
            add(&*channel.user_identity, kind(*of), 0, channel.nominal_hashrate.and_then(|rate| rate.0));
        }
    }
    let peer =
        |((name, kind), (downstream_id, hashrate))| DeclaredPeer { downstream_id, name, kind, hashrate };
    declare(meters, source, peers.into_iter().map(peer), now, has_ids)
}

#[cfg(test)]
mod tests {
    use peer_snapshots::{
        Known,
        polled::{Client, ClientChannel, ClientInfo, ServerChannel, Sv1Client},
    };
    use store_peers::{Sample, Subject};

    use super::*;

    fn at(seconds: f64) -> Now {
        Now { unix: 1_700_000_000.0 + seconds, steady: seconds }
    }

    fn poll(meters: &mut Meters, polled: &Polled, seconds: f64) -> (Vec<Sample>, BTreeMap<u32, f64>) {
        let polled = Polled { uptime_secs: polled.uptime_secs + seconds as u64, ..polled.clone() };
        let (gathered, rates) = measure_poll(meters, &"app".into(), &polled, at(seconds).unix, at(seconds));
        (gathered.samples, rates)
    }

    fn client(client_id: u32, name: &str, work: f64, declared: f64) -> Client {
        let channel = ClientChannel {
            channel_id: 1,
            user_identity: name.to_owned(),
            nominal_hashrate: Known(Some(declared)),
            share_work_sum: Known(Some(work)),
            ..ClientChannel::default()
        };
        let info = ClientInfo { client_id, ..ClientInfo::default() };
        Client { info, channels: vec![(ChannelKind::Extended, channel)] }
    }

    fn own(work: f64) -> Vec<(ChannelKind, ServerChannel)> {
        let channel = ServerChannel {
            channel_id: 7,
            user_identity: "us".to_owned(),
            nominal_hashrate: Some(Known(Some(1e15))),
            validated_work_sum: Known(Some(work)),
        };
        vec![(ChannelKind::Standard, channel)]
    }

    /// Name and number of a series with its work, seconds and declared rate.
    type Row = (String, Option<u32>, Option<f64>, f64, Option<f64>);

    fn rows(samples: &[Sample]) -> Vec<Row> {
        let row = |sample: &Sample| {
            let (name, id) = match &sample.subject {
                Subject::Miner { name, downstream_id, .. } => (name.to_string(), *downstream_id),
                Subject::Source(source) => (format!("total of {source}"), None),
                Subject::All => ("total".to_owned(), None),
            };
            (name, id, sample.work, sample.seconds, sample.declared_hs)
        };
        samples.iter().map(row).collect()
    }

    #[test]
    fn the_growth_of_sums_is_measured_and_rates_are_declared_and_neither_is_added_to_the_other() {
        let mut meters = Meters::default();
        let picture = |work| Polled {
            uptime_secs: 100,
            clients: Some(vec![client(3, "rig", work, 5e12), client(2, "rig", 2.0 * work, 1e12)]),
            sv1_clients: Some(vec![Sv1Client {
                client_id: 9,
                sv1_worker_name: Some("old".to_owned()),
                hashrate: Some(Known(Some(2e12))),
                ..Sv1Client::default()
            }]),
            // Its own channels have the work of its clients once more.
            server_channels: Some(own(work)),
            ..Polled::default()
        };
        assert_eq!(poll(&mut meters, &picture(10.0), 0.0), (vec![], BTreeMap::new()));
        let (samples, rates) = poll(&mut meters, &picture(20.0), 5.0);
        let expected = [
            ("rig (extended)".to_owned(), Some(2), Some(30.0), 5.0, None),
            ("total of app".to_owned(), None, Some(30.0), 5.0, None),
            ("old (translated)".to_owned(), Some(9), None, 5.0, Some(2e12)),
            ("rig (extended)".to_owned(), Some(2), None, 5.0, Some(6e12)),
            ("total of app".to_owned(), None, None, 5.0, Some(8e12)),
        ];
        let mut read = rows(&samples);
        read.sort_by(|one, other| (one.4.is_some(), &one.0).cmp(&(other.4.is_some(), &other.0)));
        assert_eq!(read, expected);
        assert_eq!(rates, [(2, 4.0), (3, 2.0)].into());
        let rate = meters.rates.values().map(|(rate, _)| *rate).collect::<Vec<_>>();
        assert_eq!(rate, [6.0]);
    }

    #[test]
    fn an_application_without_clients_is_measured_at_its_own_channels_whose_numbers_name_no_client() {
        let mut meters = Meters::default();
        let picture = |work| Polled { server_channels: Some(own(work)), ..Polled::default() };
        poll(&mut meters, &picture(10.0), 0.0);
        let (samples, rates) = poll(&mut meters, &picture(20.0), 5.0);
        assert!(rates.is_empty());
        let expected = [
            ("us (standard)".to_owned(), None, Some(10.0), 5.0, None),
            ("total of app".to_owned(), None, Some(10.0), 5.0, None),
            ("us (standard)".to_owned(), None, None, 5.0, Some(1e15)),
            ("total of app".to_owned(), None, None, 5.0, Some(1e15)),
        ];
        assert_eq!(rows(&samples), expected);
        // Clients are monitored from now on: nothing of before is compared with them.
        let both = Polled { clients: Some(vec![client(1, "us", 1e9, 0.0)]), ..picture(30.0) };
        let (samples, _) = poll(&mut meters, &both, 10.0);
        assert!(samples.iter().all(|sample| sample.work.is_none()), "{samples:?}");
    }

    #[test]
    fn what_is_not_monitored_is_not_zero() {
        let mut meters = Meters::default();
        for second in 0..3 {
            assert_eq!(poll(&mut meters, &Polled::default(), f64::from(second)).0, vec![]);
        }
        // Nobody, where it is monitored, is.
        let nobody = Polled { clients: Some(vec![]), ..Polled::default() };
        poll(&mut meters, &nobody, 5.0);
        let (samples, _) = poll(&mut meters, &nobody, 10.0);
        let expected = [
            ("total of app".to_owned(), None, Some(0.0), 5.0, None),
            ("total of app".to_owned(), None, None, 5.0, Some(0.0)),
        ];
        assert_eq!(rows(&samples), expected);
    }

    #[test]
    fn an_unknown_rate_or_sum_is_left_out() {
        let mut meters = Meters::default();
        let picture = |work| {
            let mut odd = client(1, "odd", 0.0, 0.0);
            (odd.channels[0].1.share_work_sum, odd.channels[0].1.nominal_hashrate) =
                (Known(None), Known(None));
            Polled { clients: Some(vec![odd, client(2, "rig", work, 1.0)]), ..Polled::default() }
        };
        poll(&mut meters, &picture(0.0), 0.0);
        let (samples, rates) = poll(&mut meters, &picture(5.0), 5.0);
        assert!(rows(&samples).iter().all(|row| !row.0.contains("odd")), "{samples:?}");
        assert_eq!(rates, [(2, 1.0)].into());
    }
}
