//! Errors of targets. Pure.

/// The longest error that names one thing, in characters. The values of outside texts are cut before.
const LONGEST_ERROR: usize = 1_000;

/// The label of an error, which is short.
pub(crate) fn refused(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    assert!(text.chars().count() <= LONGEST_ERROR, "an error of {} characters: {text:.300}", text.len());
    assert!(!text.is_empty(), "an error without a text");
    testkit::fuzz::label(&text)
}
