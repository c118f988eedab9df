//! Tokens by a secret, by published keys, and by a provider's word, against a real server of HTTP.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that can not go on panics.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use access_tokens::{Keys, KeysError, SetUpError, Settings, TokenError, Verifier};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_client::{HttpClient, Trust};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use supervision::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const NOW: Duration = Duration::from_secs(1_700_000_000);
const SECRET: &[u8] = b"a secret of at least 32 characters";
const ISSUER: &str = "https://issuer.example";
const RSA_KEY: &str = include_str!("rsa.jwk.json");
/// Signed with that key by another program; it expires in 2100.
const RSA_TOKEN: &str = include_str!("rsa.token.txt");

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn claims() -> Value {
    json!({ "sub": "anna", "exp": 1_700_000_600, "iss": ISSUER })
}

fn by_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A key of P-256 with its id.
struct Key(EcdsaKeyPair, &'static str);

impl Key {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self(pair.unwrap(), id)
    }

    fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.1, "x": x, "y": y })
    }

    fn token(&self, id: Option<&str>) -> String {
        let mut header = json!({ "alg": "ES256" });
        if let Some(id) = id {
            header["kid"] = id.into();
        }
        let signed = format!("{}.{}", part(&header), part(&claims()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A server of HTTP that answers each request with the same status and body, and keeps the requests.
#[derive(Clone)]
struct Site {
    answer: Arc<Mutex<(u16, String)>>,
    requests: Arc<Mutex<Vec<String>>>,
    /// The one that holds it keeps the answers back.
    gate: Arc<tokio::sync::Mutex<()>>,
    url: String,
}

impl Site {
    async fn start(status: u16, body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((status, body)));
        let site = Self { answer, requests: Arc::default(), gate: Arc::default(), url };
        let served = site.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap_or(0) > 0
                {
                }
                served.requests.lock().unwrap().push(String::from_utf8(request).unwrap());
                let _open = served.gate.lock().await;
                let (status, body) = served.answer.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        site
    }

    fn set(&self, status: u16, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn client() -> HttpClient {
    HttpClient::new(Trust::default())
}

fn verifier(keys: Keys, clock: &Clock) -> Verifier {
    let settings = Settings { keys, issuer: Some(ISSUER.to_owned()), audience: None, leeway: Duration::ZERO };
    Verifier::new(settings, clock.clone()).unwrap()
}

fn set_of(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

#[tokio::test]
async fn a_token_of_the_shared_secret_names_its_user_until_it_expires() {
    let clock = Clock::manual(NOW);
    let verifier = verifier(Keys::Secret(SECRET.to_vec()), &clock);
    let token = by_secret(SECRET, &json!({ "alg": "HS256" }), &claims());
    let identity = verifier.verify(&token).await.unwrap();
    assert_eq!((&*identity.user, identity.expires), ("anna", NOW + Duration::from_secs(600)));
    clock.advance(Duration::from_secs(600));
    assert!(matches!(verifier.verify(&token).await, Err(TokenError::Expired)));
}

#[tokio::test]
async fn wrong_signatures_and_algorithms_are_refused_and_no_error_shows_the_token() {
    let clock = Clock::manual(NOW);
    let by = verifier(Keys::Secret(SECRET.to_vec()), &clock);
    let good = by_secret(SECRET, &json!({ "alg": "HS256" }), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = by_secret(b"another secret of 32 characters!!", &json!({ "alg": "HS256" }), &claims());
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims()));
    let renamed = by_secret(SECRET, &json!({ "alg": "RS256" }), &claims());
    let changed =
        format!("{}.{}.{signature}", part(&json!({ "alg": "HS256" })), part(&json!({ "sub": "bert" })));
    for bad in [&*other, &unsigned, &renamed, &changed, &format!("{signed}."), signed, "", "..", "a.b.c"] {
        let error = by.verify(bad).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("eyJ") && !shown.contains(signature), "{shown}");
        assert!(!error.is_temporary(), "{error}");
    }
    assert!(!format!("{by:?}").contains("secret of"));
}

#[tokio::test]
async fn published_keys_of_rsa_and_p256_are_found_by_their_ids() {
    let key = Key::new("ec-1");
    let rsa: Value = serde_json::from_str(RSA_KEY).unwrap();
    let site = Site::start(200, set_of(&[rsa, Key::new("ec-0").jwk(), key.jwk()])).await;
    let by = verifier(Keys::JwksUrl(site.url.parse().unwrap(), client()), &Clock::manual(NOW));
    for token in [RSA_TOKEN.trim(), &key.token(Some("ec-1")), &key.token(None)] {
        assert_eq!(&*by.verify(token).await.unwrap().user, "anna");
    }
    // The right key under another's id, and a text signed by "the public key as a secret".
    assert!(matches!(by.verify(&key.token(Some("ec-0"))).await, Err(TokenError::Signature)));
    let confused = by_secret(RSA_KEY.as_bytes(), &json!({ "alg": "HS256", "kid": "rsa-1" }), &claims());
    assert!(matches!(by.verify(&confused).await, Err(TokenError::Algorithm)));
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn an_unknown_key_makes_the_keys_be_read_again_at_most_once_a_minute() {
    let clock = Clock::manual(NOW);
    let (old, new) = (Key::new("old"), Key::new("new"));
    let site = Site::start(200, set_of(&[old.jwk()])).await;
    let by = verifier(Keys::JwksUrl(site.url.parse().unwrap(), client()), &clock);
    by.verify(&old.token(Some("old"))).await.unwrap();
    site.set(200, set_of(&[old.jwk(), new.jwk()]));
    // A flood of tokens with unknown keys.
    for number in 0..100 {
        let refused = by.verify(&new.token(Some(&number.to_string()))).await;
        assert!(matches!(refused, Err(TokenError::UnknownKey)));
    }
    assert_eq!(site.asked(), 1, "the keys are young");
    clock.advance(Duration::from_secs(61));
    by.verify(&new.token(Some("new"))).await.unwrap();
    for number in 0..100 {
        let _ = by.verify(&new.token(Some(&number.to_string()))).await;
    }
    assert_eq!(site.asked(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_after_ten_minutes_and_old_keys_serve_while_the_site_is_away() {
    let clock = Clock::manual(NOW);
    let (old, new) = (Key::new("old"), Key::new("new"));
    let site = Site::start(200, set_of(&[old.jwk()])).await;
    let by = verifier(Keys::JwksUrl(site.url.parse().unwrap(), client()), &clock);
    let token = old.token(Some("old"));
    by.verify(&token).await.unwrap();
    site.set(503, String::new());
    clock.advance(Duration::from_secs(599));
    by.verify(&token).await.unwrap();
    assert_eq!(site.asked(), 1);
    // The claims expire at 600 s: what follows is about the signature.
    clock.advance(Duration::from_secs(2));
    assert!(matches!(by.verify(&token).await, Err(TokenError::Expired)));
    assert_eq!(site.asked(), 2);
    site.set(200, set_of(&[new.jwk()]));
    clock.advance(Duration::from_secs(61));
    assert!(matches!(by.verify(&token).await, Err(TokenError::UnknownKey)));
}

#[tokio::test]
async fn a_site_that_hangs_is_asked_once_a_minute_for_five_seconds_and_known_keys_go_on() {
    let clock = Clock::manual(NOW);
    let (old, new) = (Key::new("old"), Key::new("new"));
    let site = Site::start(200, set_of(&[old.jwk()])).await;
    let by = Arc::new(verifier(Keys::JwksUrl(site.url.parse().unwrap(), client()), &clock));
    by.verify(&old.token(Some("old"))).await.unwrap();
    let _hanging = site.gate.lock().await;
    clock.advance(Duration::from_secs(61));
    let mut unknown = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (by, token) = (by.clone(), new.token(Some("new")));
        unknown.spawn(async move { by.verify(&token).await });
    }
    testkit::wait_until("the site is asked", Duration::from_secs(10), async || site.asked() == 2).await;
    // The clock stands still, so a wait for the site would have no end.
    by.verify(&old.token(Some("old"))).await.unwrap();
    assert_eq!(unknown.len(), 100);
    clock.advance(Duration::from_secs(5));
    while let Some(refused) = unknown.join_next().await {
        assert!(matches!(refused.unwrap(), Err(TokenError::UnknownKey)));
    }
    assert_eq!(site.asked(), 2);
}

#[tokio::test]
async fn who_leaves_while_keys_are_read_holds_up_no_new_key() {
    let clock = Clock::manual(NOW);
    let (old, new) = (Key::new("old"), Key::new("new"));
    let site = Site::start(200, set_of(&[old.jwk()])).await;
    let by = Arc::new(verifier(Keys::JwksUrl(site.url.parse().unwrap(), client()), &clock));
    by.verify(&old.token(Some("old"))).await.unwrap();
    site.set(200, set_of(&[old.jwk(), new.jwk()]));
    clock.advance(Duration::from_secs(61));
    let slow = site.gate.lock().await;
    let (leaves, unknown) = (by.clone(), new.token(Some("unknown")));
    let leaves = tokio::spawn(async move { leaves.verify(&unknown).await });
    testkit::wait_until("the site is asked", Duration::from_secs(10), async || site.asked() == 2).await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    drop(slow);
    // No time passes: it is the reading of the one who left that brings the key.
    by.verify(&new.token(Some("new"))).await.unwrap();
    assert_eq!(site.asked(), 2);
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
    let site = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut written = 0;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        while stream.write_all(&[b' '; 4096]).await.is_ok() {
            written += 4096;
        }
        written
    });
    let by = verifier(Keys::JwksUrl(url, client()), &Clock::manual(NOW));
    let error = by.verify(&Key::new("a").token(Some("a"))).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    let written: usize = site.await.unwrap();
    assert!(written < 10 << 20, "{written} bytes, with what the system held on the way");
}

#[tokio::test]
async fn a_site_that_is_away_from_the_beginning_makes_no_token_wrong() {
    let site = Site::start(500, String::new()).await;
    let clock = Clock::manual(NOW);
    let by = verifier(Keys::JwksUrl(site.url.parse().unwrap(), client()), &clock);
    let key = Key::new("a");
    let error = by.verify(&key.token(Some("a"))).await.unwrap_err();
    assert!(matches!(error, TokenError::Keys(KeysError::Status(500))) && error.is_temporary(), "{error:?}");
    let again = by.verify(&key.token(Some("a"))).await.unwrap_err();
    assert!(matches!(again, TokenError::Keys(KeysError::Pausing)), "{again:?}");
    for body in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#] {
        clock.advance(Duration::from_secs(6));
        site.set(200, body.to_owned());
        assert!(by.verify(&key.token(Some("a"))).await.unwrap_err().is_temporary(), "{body}");
    }
    clock.advance(Duration::from_secs(6));
    site.set(200, " ".repeat(100_000));
    assert!(by.verify(&key.token(Some("a"))).await.unwrap_err().is_temporary());
}

#[tokio::test]
async fn keys_of_a_file_are_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (old, new) = (Key::new("old"), Key::new("new"));
    fs::write(&path, set_of(&[old.jwk()])).unwrap();
    let clock = Clock::manual(NOW);
    let by = verifier(Keys::JwksFile(path.clone()), &clock);
    by.verify(&old.token(Some("old"))).await.unwrap();
    fs::write(&path, set_of(&[new.jwk()])).unwrap();
    clock.advance(Duration::from_secs(61));
    by.verify(&new.token(Some("new"))).await.unwrap();
    assert!(matches!(by.verify(&old.token(Some("old"))).await, Err(TokenError::UnknownKey)));
    let none = verifier(Keys::JwksFile(folder.path().join("none")), &clock);
    assert!(none.verify(&old.token(None)).await.unwrap_err().is_temporary());
    let no_file = verifier(Keys::JwksFile(folder.path().into()), &clock);
    let error = no_file.verify(&old.token(None)).await.unwrap_err();
    assert!(matches!(error, TokenError::Keys(KeysError::NoFile(_))), "{error:?}");
}

fn provider(site: &Site, clock: &Clock) -> Verifier {
    let headers = vec![("apikey".to_owned(), "key of the application".to_owned())];
    let url = site.url.parse().unwrap();
    verifier(Keys::Provider { url, headers, client: client() }, clock)
}

#[tokio::test]
async fn a_provider_is_asked_once_a_minute_about_each_token() {
    let clock = Clock::manual(NOW);
    let site = Site::start(200, json!({ "id": "anna", "email": "x" }).to_string()).await;
    let by = provider(&site, &clock);
    for _ in 0..10 {
        let identity = by.verify("opaque").await.unwrap();
        assert_eq!((&*identity.user, identity.expires), ("anna", NOW + Duration::from_secs(3_600)));
    }
    assert_eq!(site.asked(), 1);
    let request = site.requests.lock().unwrap()[0].to_lowercase();
    assert!(request.contains("authorization: bearer opaque\r\n"), "{request}");
    assert!(request.contains("apikey: key of the application\r\n"), "{request}");
    clock.advance(Duration::from_secs(61));
    site.set(401, String::new());
    for _ in 0..10 {
        assert!(matches!(by.verify("opaque").await, Err(TokenError::Refused)));
    }
    assert_eq!(site.asked(), 2);
    site.set(200, json!({ "user": { "id": "bert" } }).to_string());
    assert_eq!(&*by.verify("another").await.unwrap().user, "bert");
}

#[tokio::test]
async fn the_word_of_a_provider_ends_with_the_token() {
    let clock = Clock::manual(NOW);
    let site = Site::start(200, json!({ "sub": "anna" }).to_string()).await;
    let by = provider(&site, &clock);
    let short = by_secret(SECRET, &json!({ "alg": "HS512" }), &json!({ "exp": 1_700_000_030 }));
    assert_eq!(by.verify(&short).await.unwrap().expires, NOW + Duration::from_secs(30));
    clock.advance(Duration::from_secs(30));
    assert!(matches!(by.verify(&short).await, Err(TokenError::Expired)));
}

#[tokio::test]
async fn a_provider_that_is_away_or_answers_something_else_makes_no_token_wrong() {
    let clock = Clock::manual(NOW);
    let site = Site::start(502, String::new()).await;
    let by = provider(&site, &clock);
    assert!(by.verify("opaque").await.unwrap_err().is_temporary());
    site.set(200, "<html>".to_owned());
    assert!(by.verify("opaque").await.unwrap_err().is_temporary());
    for body in [json!({}), json!({ "id": "" })] {
        site.set(200, body.to_string());
        assert!(matches!(by.verify("opaque").await, Err(TokenError::Form(_))), "{body}");
    }
    site.set(200, json!({ "id": "anna" }).to_string());
    assert_eq!(&*by.verify("opaque").await.unwrap().user, "anna");
    assert!(matches!(by.verify("with\nline").await, Err(TokenError::Form(_))));
    assert!(matches!(by.verify(&"x".repeat(10_000)).await, Err(TokenError::TooLong(_))));
}

#[tokio::test]
async fn a_flood_of_connections_with_one_token_asks_a_few_times_at_most() {
    let site = Site::start(200, json!({ "id": "anna" }).to_string()).await;
    let by = Arc::new(provider(&site, &Clock::system()));
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (by, done) = (by.clone(), done.clone());
        tasks.spawn(async move {
            by.verify("opaque").await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 500);
    assert!(site.asked() <= 16, "{}", site.asked());
}

#[test]
fn what_can_not_be_checked_is_refused_at_the_start() {
    let made = |keys, issuer: &str| {
        let settings =
            Settings { keys, issuer: Some(issuer.to_owned()), audience: None, leeway: Duration::ZERO };
        Verifier::new(settings, Clock::system()).map(|_| ())
    };
    assert!(matches!(made(Keys::Secret(vec![0; 31]), "x"), Err(SetUpError::ShortSecret(31))));
    assert!(matches!(made(Keys::Secret(vec![0; 32]), ""), Err(SetUpError::EmptyIssuer)));
    let url = "http://127.0.0.1/user".parse().unwrap();
    let headers = vec![("bad header".to_owned(), "x".to_owned())];
    assert!(matches!(
        made(Keys::Provider { url, headers, client: client() }, "x"),
        Err(SetUpError::Header(_))
    ));
}
