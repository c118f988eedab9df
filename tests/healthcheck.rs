//! The health check by TLS: it trusts the certificate of the configuration and no other, also while that is replaced.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{Process, SOON, environment, free_port, run, with};
use http_server::{ConnectError, connect};
use tempfile::TempDir;
use testkit::{Authority, RedisServer, Tls, TlsFront, wait_until};
use tokio::net::TcpStream;

/// A certificate that names no address of this machine, and has expired.
fn identity() -> Tls {
    let authority = Authority::new("ours").expect("made");
    authority.server_of(&["tracker.example"], (2001, 9, 9)).expect("made")
}

/// The files of a certificate and its key.
struct Files(TempDir);

impl Files {
    fn of(identity: &Tls) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.replace(identity);
        files
    }

    /// One after the other, each at once.
    fn replace(&self, identity: &Tls) {
        for (name, text) in [("cert", &identity.certificate), ("key", &identity.key)] {
            let path = self.path(name);
            fs::write(format!("{path}.new"), text).expect("written");
            fs::rename(format!("{path}.new"), &path).expect("renamed");
        }
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.0.path()).join(name).display().to_string()
    }

    fn in_use(&self, redis: &RedisServer, port: u16) -> BTreeMap<String, String> {
        with(
            &environment(redis.addr()),
            &[
                ("STATE_TRACKER__HTTP__CERT_FILE", &self.path("cert")),
                ("STATE_TRACKER__HTTP__KEY_FILE", &self.path("key")),
                ("STATE_TRACKER__HTTP__METRICS_TLS", "true"),
                ("STATE_TRACKER_METRICS_PORT", &port.to_string()),
            ],
        )
    }
}

async fn is_ready(environment: &BTreeMap<String, String>) {
    wait_until("it is ready", SOON, async || run(environment, &["healthcheck"]).await.0 == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configured_certificate_is_trusted_whatever_its_name_and_no_other_one_is() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let authority = Authority::new("ours").expect("made");
    let ours = authority.server_of(&["tracker.example"], (2001, 9, 9)).expect("made");
    let files = Files::of(&ours);
    let ours_at = files.in_use(&redis, free_port().await);
    let process = Process::start(&ours_at).await;
    is_ready(&ours_at).await;
    let ask = async |environment: &BTreeMap<String, String>, url: &str| {
        let (code, out, said) = run(environment, &["healthcheck", "--url", url]).await;
        assert_eq!(out, "", "{said}");
        (code, said)
    };
    let port = process.metrics;
    assert_eq!(ask(&ours_at, &format!("https://{port}/livez")).await.0, Some(0));
    let (code, said) = ask(&ours_at, &format!("http://{port}/readyz")).await;
    assert!(code == Some(1) && said.contains("speaks TLS; ask it by https"), "{said}");
    let log = process.log.borrow().clone();
    assert!(log.contains("http.cert_file has expired at 2001-09-09T00:00:00Z"), "{log}");

    // Another server with a certificate of the same authority for the same name.
    let plain = Process::start(&environment(redis.addr())).await;
    plain.wait_ready().await;
    let other = authority.server_of(&["tracker.example"], (2001, 9, 9)).expect("made");
    let front = TlsFront::start(&other, plain.metrics).await.expect("a port");
    let url = format!("https://{}/readyz", front.addr());
    let (code, said) = ask(&ours_at, &url).await;
    assert!(code == Some(1) && said.contains("another certificate than the expected one"), "{said}");
    assert!(said.contains("http.cert_file and http.key_file"), "{said}");
    let others = Files::of(&other);
    assert_eq!(ask(&others.in_use(&redis, 0), &url).await.0, Some(0));

    let (code, said) = ask(&ours_at, &format!("https://{}/readyz", plain.metrics)).await;
    assert!(code == Some(1) && said.contains("speaks no TLS; ask it by http"), "{said}");
    let (code, said) = ask(&environment(redis.addr()), &url).await;
    assert!(code == Some(1) && said.contains("set http.cert_file"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_waits_for_a_certificate_that_was_just_replaced() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let (first, second) = (identity(), identity());
    let files = Files::of(&first);
    let environment = files.in_use(&redis, free_port().await);
    let process = Process::start(&environment).await;
    is_ready(&environment).await;
    let shows = async |identity: &Tls| {
        let stream = TcpStream::connect(process.metrics).await.expect("it listens");
        match connect(stream, identity.certificate.as_bytes()).await {
            Ok(_) => true,
            Err(ConnectError::OtherCertificate) => false,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(shows(&first).await && !shows(&second).await);
    files.replace(&second);
    // The service has not read the file yet, or just now.
    let (code, _, said) = run(&environment, &["healthcheck"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(shows(&second).await && !shows(&first).await);
}
