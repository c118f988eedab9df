//! How long a picture of 10,000 miners takes from its last byte until a reader has the list.

use std::time::{Duration, Instant};

use testkit::{RedisServer, wait_until};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    client::Client,
    figure,
    pictures::{Template, now},
    service::{SOON, Service},
};

pub(crate) const MINERS: usize = 10_000;
const ROUNDS: usize = 200;
const LIMIT: Duration = Duration::from_millis(20);

pub(crate) async fn measure() -> bool {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(&redis, folder.path(), &[]).await;
    let mut sender = TcpStream::connect(service.sends).await.expect("connected");
    sender.set_nodelay(true).expect("set");
    let mut picture = Template::status(0, MINERS);
    let mut reader = Client::connect(service.reads).await;
    let (mut mark, mut times, mut alone) = (String::new(), Vec::new(), Vec::new());
    let mut connected = Instant::now();
    for round in 0..ROUNDS + 10 {
        // A connection of a reader lives for a minute.
        if connected.elapsed() > Duration::from_secs(30) {
            (reader, connected) = (Client::connect(service.reads).await, Instant::now());
        }
        let line = picture.at(now());
        let (last, most) = line.split_last().expect("a line");
        sender.write_all(most).await.expect("sent");
        // All but the last byte has arrived, and the picture before is in the file: in truth they come seconds apart.
        tokio::time::sleep(Duration::from_millis(50)).await;
        wait_until("the history is written", SOON, async || {
            service.sum("state_tracker_peers_samples_waiting").await == 0.0
        })
        .await;
        let known = format!("If-None-Match: {mark}\r\n");
        let began = Instant::now();
        sender.write_all(&[*last]).await.expect("sent");
        let answer = loop {
            let answer = reader.ask("/api/miners", &known).await;
            if answer.status == 200
                && answer.field("etag") != Some(mark.as_str())
                && answer.body.len() > MINERS
            {
                break answer;
            }
        };
        let took = began.elapsed();
        mark = answer.field("etag").expect("a mark").to_owned();
        if round >= 10 {
            times.push(took);
            // The least that it can be: the same bytes read and the same bytes written, by `serde_json` alone.
            let (line, body) = (line.to_vec(), answer.body);
            let began = Instant::now();
            let read: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            std::hint::black_box(&read);
            alone.push(began.elapsed());
            std::hint::black_box(body);
        }
    }
    wait_until("nothing was skipped", SOON, async || {
        service.sum("state_tracker_peers_messages_total").await == (ROUNDS + 10) as f64
    })
    .await;
    service.stop().await;
    times.sort_unstable();
    alone.sort_unstable();
    let of = |times: &[Duration], share: usize| times[times.len() * share / 1_000];
    let [half, most, longest] = [500, 990, 999].map(|share| of(&times, share));
    figure(
        &format!(
            "a picture of {MINERS} miners, {} kB, from its last byte until a reader has the list: p50 {half:.1?}, p99 {most:.1?} \
             (at most {LIMIT:?}), p99.9 {longest:.1?}; reading it into a tree by serde_json alone p50 {:.1?}, p99 {:.1?}, ratio {:.2}",
            picture.length() / 1_000,
            of(&alone, 500),
            of(&alone, 990),
            of(&alone, 500).as_secs_f64() / half.as_secs_f64(),
        ),
        most <= LIMIT,
    )
}
