//! Answers that are written once for each change of the pictures, with their mark (`ETag`), and compressed for clients that ask for it.
//!
//! Promise: however many dashboards ask how often, a list is written once for each change, and who has it already is told so.

use std::{
    hash::{BuildHasher, RandomState},
    io::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    },
    response::{IntoResponse, Response},
};
use domain::peers::Now;
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{answers::no_data, lists::Held};

/// A status and the text of an answer.
pub(super) type Written = (StatusCode, serde_json::Result<Vec<u8>>);

/// Writes an answer to a text with this much room: without it, a list of megabytes is copied at each doubling.
pub(super) fn written(status: StatusCode, answer: &impl Serialize, room: usize) -> Written {
    let mut text = Vec::with_capacity(room);
    (status, serde_json::to_writer(&mut text, answer).map(|()| text))
}

/// The answer of one path.
pub(super) struct Made {
    last: Mutex<Option<Last>>,
    /// The next mark. It begins anywhere, so that other paths and other runs of the service have others.
    next: AtomicU64,
}

impl Default for Made {
    fn default() -> Self {
        // Each of these hashers has random keys.
        Self { last: Mutex::default(), next: RandomState::new().hash_one("mark").into() }
    }
}

/// The last answer, of which pictures it tells, and until when they are seen so, by the steady clock.
struct Last {
    pictures: Arc<Held>,
    until: f64,
    answer: Arc<Answer>,
}

/// An answer as it is sent.
struct Answer {
    status: StatusCode,
    mark: HeaderValue,
    text: Bytes,
    packed: OnceLock<Bytes>,
}

impl Made {
    /// The answer for these pictures, in the form that a client with these headers takes.
    pub(super) async fn answer(
        &self,
        pictures: Arc<Held>,
        now: Now,
        headers: &HeaderMap,
        make: impl FnOnce(&Held, usize) -> Written + Send + 'static,
    ) -> Response {
        let Some(answer) = self.made(pictures, now, make).await else { return no_data() };
        let common = [
            (ETAG, answer.mark.clone()),
            // It may be kept, and is asked for each time.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if answer.status == StatusCode::OK && is_known(headers, &answer.mark) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if !takes_gzip(headers) {
            return (answer.status, common, kind, Body::from(answer.text.clone())).into_response();
        }
        let status = answer.status;
        let packed = match answer.packed.get() {
            Some(packed) => packed.clone(),
            None => {
                let pack = move || answer.packed.get_or_init(|| packed(&answer.text)).clone();
                // Only a panic ends it.
                let Ok(packed) = spawn_blocking(pack).await else { return no_data() };
                packed
            }
        };
        let encoding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (status, common, kind, encoding, Body::from(packed)).into_response()
    }

    /// The answer of these pictures; `None` if it can't be written.
    async fn made(
        &self,
        pictures: Arc<Held>,
        now: Now,
        make: impl FnOnce(&Held, usize) -> Written + Send + 'static,
    ) -> Option<Arc<Answer>> {
        // Others that ask meanwhile get the same answer.
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref()
            && Arc::ptr_eq(&last.pictures, &pictures)
            && now.steady < last.until
        {
            return Some(last.answer.clone());
        }
        // Of up to thousands of miners: in a thread that may take its time.
        let of = pictures.clone();
        // The next list is about as long as the last one.
        let room = last.as_ref().map_or(0, |last| last.answer.text.len() + last.answer.text.len() / 16);
        let written = spawn_blocking(move || {
            let (status, text) = make(&of, room);
            text.map(|text| (status, text, of.same_until(now)))
        });
        let (status, text, until) = written.await.ok()?.ok()?;
        let same = |last: &&Last| last.answer.status == status && last.answer.text == text;
        let answer = match last.as_ref().filter(same) {
            // The pictures are others, and tell the same: what was compressed holds.
            Some(same) => same.answer.clone(),
            None => {
                // Weak, since it is the same for both encodings.
                let mark = format!("W/\"{:016x}\"", self.next.fetch_add(1, Relaxed));
                let mark = HeaderValue::from_str(&mark).ok()?;
                Arc::new(Answer { status, mark, text: text.into(), packed: OnceLock::new() })
            }
        };
        let before = last.replace(Last { pictures, until, answer: answer.clone() });
        // The pictures before may be held here alone, and have tens of thousands of texts: no reader waits until they are freed.
        drop(spawn_blocking(move || drop(before)));
        Some(answer)
    }
}

/// Whether the client has the answer with this mark.
fn is_known(headers: &HeaderMap, mark: &HeaderValue) -> bool {
    let opaque = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let Ok(mark) = mark.to_str().map(opaque) else { return false };
    let all = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || opaque(known) == mark)
}

/// Whether the client asks for gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let quality =
            quality.trim().strip_prefix("q=").map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && quality > 0.0_f32
    })
}

fn packed(text: &[u8]) -> Bytes {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    // A vector takes everything.
    let _ = packer.write_all(text);
    packer.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::atomic::AtomicUsize};

    use actors::peers::Content;
    use domain::peers::{Origin, PictureKind, Rules};

    use super::*;

    #[tokio::test]
    async fn a_list_is_written_again_for_other_pictures_and_when_time_changes_how_they_are_seen() {
        let at = |steady: f64| Now { unix: 1e9 + steady, steady };
        let picture = |pictures: &mut Held, steady: f64| {
            let content = Content::Polled { told: Arc::default(), rates: BTreeMap::default() };
            let from = Origin { source: "north", connection: 1 };
            pictures.accept(from, PictureKind::Polled, 1, content, at(steady)).expect("accepted");
            Arc::new(pictures.clone())
        };
        let (made, times) = (Made::default(), Arc::new(AtomicUsize::new(0)));
        let ask = async |pictures: &Arc<Held>, steady: f64| {
            let count = times.clone();
            let make = move |_: &Held, room| written(StatusCode::OK, &count.fetch_add(1, Relaxed), room);
            made.answer(pictures.clone(), at(steady), &HeaderMap::new(), make).await;
            times.load(Relaxed)
        };
        let mut held = Held::new(Rules { stale_after: 45.0, ..Rules::default() });
        let first = picture(&mut held, 0.0);
        assert_eq!([ask(&first, 0.0).await, ask(&first, 44.9).await], [1, 1]);
        assert_eq!([ask(&first, 45.1).await, ask(&first, 500.0).await], [2, 2]);
        let second = picture(&mut held, 501.0);
        assert_eq!([ask(&second, 501.0).await, ask(&second, 501.1).await], [3, 3]);
    }

    fn headers(name: axum::http::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn gzip_is_for_clients_that_ask_for_it() {
        for (values, takes) in [
            (&["gzip"][..], true),
            (&["br, GZIP;q=0.5"], true),
            (&["br", "gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["gzip;q=x"], false),
            (&["br, deflate"], false),
            (&["*"], false),
            (&[], false),
        ] {
            assert_eq!(takes_gzip(&headers(ACCEPT_ENCODING, values)), takes, "{values:?}");
        }
    }

    #[test]
    fn a_client_has_the_answer_whose_mark_it_names() {
        let mark = HeaderValue::from_static("W/\"0a\"");
        for (values, has) in [
            (&["W/\"0a\""][..], true),
            (&["\"0a\""], true),
            (&["\"1\", W/\"0a\""], true),
            (&["\"1\"", "\"0a\""], true),
            (&["*"], true),
            (&["\"0b\""], false),
            (&["0a"], false),
            (&[], false),
        ] {
            assert_eq!(is_known(&headers(IF_NONE_MATCH, values), &mark), has, "{values:?}");
        }
    }
}
