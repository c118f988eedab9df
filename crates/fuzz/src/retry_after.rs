//! The header in which a server asks for a pause.

use std::time::{Duration, Instant};

use http_client::{
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
    retry_after,
};

/// The pause without a request.
const OWN: Duration = Duration::from_secs(3);
/// More than any pause that a request leads to.
const A_DAY: Duration = Duration::from_secs(86_400);

/// The value of the header.
pub(crate) fn header(input: &[u8]) -> String {
    let Ok(value) = HeaderValue::from_bytes(input) else { return "no value of a header".to_owned() };
    let read = |value: HeaderValue| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]));
    let asked = read(value);
    let text = std::str::from_utf8(input.trim_ascii()).unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        let seconds = text.parse().unwrap_or(u64::MAX);
        assert_eq!(asked, Some(Duration::from_secs(seconds)), "{text}");
    }
    // Around it, blanks mean nothing.
    let padded = HeaderValue::from_bytes(&[b" ", input, b"\t"].concat()).expect("blanks are allowed");
    assert_eq!(read(padded).is_some(), asked.is_some(), "{text}");
    let Some(asked) = asked else { return "no pause".to_owned() };
    // What the nodes' pool makes of it.
    let pause = retry::clamp_requested(asked, OWN);
    assert!((OWN..A_DAY).contains(&pause), "{pause:?}");
    assert!(Instant::now().checked_add(pause).is_some());
    format!("{is_number} {}", asked.as_secs().checked_ilog10().unwrap_or_default())
}
