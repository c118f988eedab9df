//! The token in the body of a request, where a port's clients send it there.

use std::borrow::Cow;

use axum::http::StatusCode;
use errors::sanitise;
use serde::Deserialize;

use crate::{
    error::ApiError,
    tokens::{Role, Tokens},
};

/// The part of a body that the guard reads.
#[derive(Deserialize)]
struct Presented<'a> {
    #[serde(borrow, default)]
    token: Cow<'a, str>,
}

/// The role of the token in a body: the text `token` of a JSON object.
///
/// # Errors
/// 400 for what is no such object, 401 for a wrong token or none.
pub(crate) fn role_of(body: &[u8], tokens: &Tokens, needed: Role) -> Result<Role, ApiError> {
    let bad = |why: &dyn std::fmt::Display| {
        let text = format!("the body is no JSON object with a token: {}", sanitise(why));
        ApiError::new(StatusCode::BAD_REQUEST, "bad_body", text)
    };
    // The fields of an object may also be read from a list, by their places.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad(&"it begins with no brace"));
    }
    let presented: Presented<'_> = serde_json::from_slice(body).map_err(|error| bad(&error))?;
    match tokens.role_of(&presented.token) {
        Some(role) if role >= needed => Ok(role),
        // The words of the programs that these clients know.
        _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Incorrect Token!")),
    }
}
