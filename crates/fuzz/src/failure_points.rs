//! The variable that arms failure points.

use std::sync::LazyLock;

use state_tracker::{app::armed_by, config::Config};
use testkit::fuzz::label;

/// One market and a chain, so that every kind of actor runs.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let environment = [
        ("PROTOCOL_STATE_CONTRACT", "0x1111111111111111111111111111111111111111"),
        ("DATA_MARKET_ADDRESSES", "0x2222222222222222222222222222222222222222"),
        ("RPC_NODES", "http://127.0.0.1:1"),
        ("STATE_TRACKER__INDEX__ENABLED", "true"),
    ];
    Config::load(None, environment).expect("allowed").config
});

/// How much longer than its part of the text a sentence may be, in characters.
const MOST_WORDS: usize = 2_000;
/// The most characters that one of the text may be shown as.
const MOST_GROWTH: usize = 12;

/// A text such as `POINT@ACTOR=FAULT*TIMES,POINT=FAULT`.
pub(crate) fn text(input: &[u8]) -> String {
    let text = &*String::from_utf8_lossy(input);
    let longest = MOST_WORDS + MOST_GROWTH * text.len();
    let sound = |sentence: &String| {
        assert!(sentence.chars().count() <= longest, "{} bytes: {sentence:.300}", sentence.len());
        assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
    };
    match armed_by(&CONFIG, text) {
        Ok(all) => {
            assert!(!all.is_empty(), "a text that arms nothing is refused");
            let parts = text.split(',').filter(|part| !part.trim().is_empty()).count();
            assert_eq!(all.len(), parts, "each part is one point");
            all.iter().for_each(sound);
            // A point is shown as what it does, and never without an actor that passes it.
            assert!(
                all.iter().all(|one| one.contains("::") && one.contains(" of ") || one.contains(" actors"))
            );
            all.iter().take(2).map(|one| label(one)).collect::<Vec<_>>().join("|")
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            errors.problems().iter().for_each(sound);
            errors.problems().iter().take(2).map(|one| label(one)).collect::<Vec<_>>().join("|")
        }
    }
}
