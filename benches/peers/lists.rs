//! `/api/miners` of 10,000 miners beside a file of the same bytes from the same server, and answers to readers who have it already.

use std::{process::Stdio, time::Duration};

use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
};

use crate::{
    client::{Answer, Client, Load, answers},
    figure, fixed,
    picture::MINERS,
    pictures::{Template, now},
    service::{SOON, Service},
};

const LEAST_RATIO: f64 = 0.8;
const LEAST_UNCHANGED: f64 = 20_000.0;
/// Rounds of both, by turns, so that a busy machine slows both down.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const GZIP: &str = "Accept-Encoding: gzip\r\n";

pub(crate) async fn measure() -> bool {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::start(&redis, folder.path(), &[]).await;
    let mut sender = TcpStream::connect(service.sends).await.expect("connected");
    sender.write_all(Template::status(0, MINERS).at(now())).await.expect("sent");
    let list = async |lines: &str| Client::connect(service.reads).await.ask("/api/miners", lines).await;
    wait_until("the list is there", SOON, async || list("").await.body.len() > MINERS).await;
    let (plain, packed) = (list("").await, list(GZIP).await);
    let files = [("plain", &plain), ("packed", &packed)].map(|(name, answer): (&str, &Answer)| {
        let path = folder.path().join(name);
        std::fs::write(&path, &answer.body).expect("written");
        path
    });
    let mut server = Command::new(std::env::current_exe().expect("a program"))
        .arg(fixed::WORD)
        .args(&files)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
    let fixed = lines.next_line().await.expect("read").expect("its address").parse().expect("an address");
    let mut is_kept = true;
    for (path, lines, answer) in [("/plain", "", &plain), ("/packed", GZIP, &packed)] {
        let load =
            Load { to: service.reads, path: "/api/miners", lines, status: 200, connections: 4, at_a_time: 1 };
        let (mut ours, mut files) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            files.push(answers(Load { to: fixed, path, lines: "", ..load }, ROUND).await);
            ours.push(answers(load, ROUND).await);
        }
        let (ours, files) = (spread(&mut ours), spread(&mut files));
        let ratio = ours[1] / files[1];
        is_kept &= figure(
            &format!(
                "/api/miners of {MINERS}, {} kB {}: {:.0} answers a second ({:.0} to {:.0}), a file of the same bytes {:.0} \
                 ({:.0} to {:.0}): ratio {ratio:.2} (at least {LEAST_RATIO})",
                answer.body.len() / 1_000,
                if lines.is_empty() { "plain" } else { "as gzip" },
                ours[1],
                ours[0],
                ours[2],
                files[1],
                files[0],
                files[2],
            ),
            ratio >= LEAST_RATIO,
        );
    }
    let known = format!("If-None-Match: {}\r\n", plain.field("etag").expect("a mark"));
    let load = Load {
        to: service.reads,
        path: "/api/miners",
        lines: &known,
        status: 304,
        connections: 8,
        at_a_time: 16,
    };
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(answers(load, ROUND).await);
    }
    let rates = spread(&mut rates);
    is_kept &= figure(
        &format!(
            "304 to readers who have it: {:.0} a second ({:.0} to {:.0}; at least {LEAST_UNCHANGED:.0}), ratio {:.2}",
            rates[1],
            rates[0],
            rates[2],
            rates[1] / LEAST_UNCHANGED,
        ),
        rates[1] >= LEAST_UNCHANGED,
    );
    service.stop().await;
    is_kept
}

/// The lowest, the middle and the highest.
fn spread(all: &mut [f64]) -> [f64; 3] {
    all.sort_unstable_by(f64::total_cmp);
    [all[0], all[all.len() / 2], all[all.len() - 1]]
}
