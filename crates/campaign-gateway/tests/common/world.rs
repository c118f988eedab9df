//! A gateway that is started and killed, and tokens for it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use access_tokens::{Keys, Verifier};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use campaign_gateway::{Bytes, CampaignId, Gateway, Pages, Parts, Response, Settings, StatusCode};
use ports::Tls;
use ring::hmac;
use serde_json::json;
use supervision::Clock;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::log::Memory;

pub const SECRET: &[u8] = b"a secret of at least 32 characters";
pub const ISSUER: &str = "https://issuer.example";

/// A token of this user that expires then.
pub fn token_until(user: &str, expires: SystemTime) -> String {
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{header}.{}", part(json!({ "sub": user, "exp": expires, "iss": ISSUER })));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

/// A token of this user for an hour.
pub fn token(user: &str) -> String {
    token_until(user, SystemTime::now() + Duration::from_secs(3_600))
}

pub fn verifier(clock: &Clock) -> Verifier {
    let settings = access_tokens::Settings {
        keys: Keys::Secret(SECRET.to_vec()),
        issuer: Some(ISSUER.to_owned()),
        audience: None,
        leeway: Duration::ZERO,
    };
    Verifier::new(settings, clock.clone()).unwrap()
}

/// The campaign with this number.
pub fn campaign(number: u128) -> CampaignId {
    CampaignId::new(0x0f1e_2d3c_4b5a_4978_8796_a5b4_0000_0000 + number)
}

/// Pages that say which path was asked for.
pub struct Echo;

impl Pages for Echo {
    async fn answer(&self, head: Parts, body: Bytes) -> Response<Bytes> {
        let text = format!("{} {} {}", head.method, head.uri.path(), String::from_utf8_lossy(&body));
        Response::builder().status(StatusCode::OK).body(text.into()).unwrap()
    }
}

/// A running gateway.
pub struct Running {
    pub gateway: Arc<Gateway<Memory, Memory>>,
    pub port: u16,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    /// Starts a gateway at a free port.
    pub async fn start(memory: &Memory, settings: Settings) -> Self {
        Self::start_at(memory, settings, 0, Clock::system()).await
    }

    pub async fn start_at(memory: &Memory, settings: Settings, port: u16, clock: Clock) -> Self {
        Self::start_with(memory, settings, port, clock, None).await
    }

    /// Starts a gateway that speaks TLS, where it is given.
    pub async fn start_with(
        memory: &Memory,
        settings: Settings,
        port: u16,
        clock: Clock,
        tls: Option<Tls>,
    ) -> Self {
        let gateway = Gateway::new(memory.clone(), memory.clone(), verifier(&clock), settings, clock);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let (served, token) = (gateway.clone(), stop.clone());
        let task = tokio::spawn(async move { served.serve(listener, tls, Echo, token).await });
        Self { gateway, port, task, stop }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/campaigns", self.port)
    }

    /// Ends it as a crash does: nothing is said to anyone.
    pub async fn kill(mut self) -> u16 {
        self.crash().await;
        self.port
    }

    /// The same; what is left only counts.
    pub async fn crash(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Ends it as a stop does.
    pub async fn stop(self) -> u16 {
        self.stop.cancel();
        self.task.await.unwrap();
        self.port
    }
}

/// Settings whose limits of users no test meets by chance.
pub fn settings() -> Settings {
    Settings { connects_per_second: 1_000, requests_per_second: 1_000, ..Settings::default() }
}
