//! What looks wrong at a text: quotes that `docker run --env-file` keeps, the byte-order mark of an editor, blanks and line breaks at
//! an end, characters that can't be seen. One reader for names, which are refused for it, and for secrets, which get a note. Pure.

/// The beginning of the content of a PEM file.
pub(crate) const PEM: &str = "-----BEGIN";

/// What looks wrong at a text, in the words that follow "it". The text itself is not part of it, since it may be a secret.
pub(crate) fn oddity(text: &str) -> Option<&'static str> {
    let quotes = ['"', '\'', '`', '“', '”', '‘', '’', '„'];
    let (begins, ends) = (text.starts_with(quotes), text.ends_with(quotes));
    let any = |odd: fn(char) -> bool| text.contains(odd);
    let findings = [
        (text.starts_with('\u{feff}'), "begins with a byte-order mark"),
        (text.contains(PEM), "is the content of a PEM file"),
        (begins && ends && text.chars().nth(1).is_some(), "is in quotes"),
        (begins, "begins with a quotation mark"),
        (ends, "ends with a quotation mark"),
        (text.ends_with(['\n', '\r']), "ends with a line break"),
        (any(|c| matches!(c, '\n' | '\r')), "has several lines"),
        (text.starts_with(char::is_whitespace), "begins with a blank"),
        (text.ends_with(char::is_whitespace), "ends with a blank"),
        (any(char::is_control), "contains a control character"),
        (any(is_invisible), "contains a character that can't be seen"),
    ];
    findings.into_iter().find_map(|(found, what)| found.then_some(what))
}

/// Whether a character has no shape of its own: marks of direction, joiners, spaces without a width. Copied from a page or a chat, they
/// make a name another one that looks the same.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
