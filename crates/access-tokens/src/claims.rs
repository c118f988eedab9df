//! What a token claims, and whether it holds now. Pure: the time is given.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use crate::error::TokenError;

/// The longest name of a user, in bytes.
pub(crate) const LONGEST_USER: usize = 256;
/// The most that a clock of an issuer may differ from ours.
pub(crate) const MOST_LEEWAY: Duration = Duration::from_secs(60);
/// The latest time that is told apart, in Unix seconds: the end of the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// The user of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its claim `sub`.
    pub user: Arc<str>,
    /// When the token expires, since the Unix epoch.
    pub expires: Duration,
}

/// What the claims must say.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    /// What the clock of the issuer may differ from ours.
    pub(crate) leeway: Duration,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// A text in its place is no number, and so an error: never "no expiry".
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Expected {
    /// The user of these claims, whose signature is right, at `now` (since the Unix epoch).
    ///
    /// # Errors
    /// [`TokenError`] where a claim is missing, or is not as expected.
    pub(crate) fn check(&self, claims: &[u8], now: Duration) -> Result<Identity, TokenError> {
        let claims: Claims = serde_json::from_slice(claims).map_err(|_| {
            TokenError::Form("its claims are no JSON object with the text `sub` and the number `exp`")
        })?;
        let (now, leeway) = (now.as_secs_f64(), self.leeway.min(MOST_LEEWAY).as_secs_f64());
        if claims.exp + leeway <= now {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|begin| begin - leeway > now) {
            return Err(TokenError::NotYetValid);
        }
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &self.audience {
            let fits = match &claims.aud {
                Some(Audience::One(one)) => one == audience,
                Some(Audience::Many(many)) => many.contains(audience),
                None => false,
            };
            if !fits {
                return Err(TokenError::Audience);
            }
        }
        Ok(Identity { user: user(&claims.sub)?, expires: unix(claims.exp) })
    }
}

/// A name of a user.
///
/// # Errors
/// [`TokenError::Form`] for one that is empty or too long.
pub(crate) fn user(name: &str) -> Result<Arc<str>, TokenError> {
    let fits = (1..=LONGEST_USER).contains(&name.len());
    if fits { Ok(name.into()) } else { Err(TokenError::Form("its user has no name, or a too long one")) }
}

/// A time in Unix seconds, as a duration.
pub(crate) fn unix(seconds: f64) -> Duration {
    // Clamped into what a duration can hold; not a number becomes 0.
    Duration::from_secs_f64(if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, LATEST) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn expected() -> Expected {
        Expected {
            issuer: Some("https://issuer".to_owned()),
            audience: None,
            leeway: Duration::from_secs(3_600),
        }
    }

    fn checked(claims: &str) -> Result<Identity, TokenError> {
        expected().check(claims.as_bytes(), NOW)
    }

    #[test]
    fn the_subject_of_a_valid_token_is_its_user() {
        let found = checked(r#"{"sub":"user-1","exp":1700000060.5,"iss":"https://issuer","x":1}"#).unwrap();
        assert_eq!((&*found.user, found.expires), ("user-1", Duration::from_secs_f64(1_700_000_060.5)));
    }

    #[test]
    fn a_leeway_of_an_hour_is_cut_to_a_minute() {
        let at = |exp: u64| checked(&format!(r#"{{"sub":"u","exp":{exp},"iss":"https://issuer"}}"#));
        assert!(at(1_700_000_000 - 59).is_ok());
        assert!(matches!(at(1_700_000_000 - 60), Err(TokenError::Expired)));
        let begins = |nbf: u64| {
            checked(&format!(r#"{{"sub":"u","exp":1700009999,"nbf":{nbf},"iss":"https://issuer"}}"#))
        };
        assert!(begins(1_700_000_060).is_ok());
        assert!(matches!(begins(1_700_000_061), Err(TokenError::NotYetValid)));
    }

    #[test]
    fn claims_of_a_wrong_type_or_missing_ones_are_refused() {
        for claims in [
            r#"{"sub":"u","iss":"https://issuer"}"#,
            r#"{"sub":"u","exp":"1800000000","iss":"https://issuer"}"#,
            r#"{"sub":"u","exp":null,"iss":"https://issuer"}"#,
            r#"{"sub":1,"exp":1800000000,"iss":"https://issuer"}"#,
            r#"{"exp":1800000000,"iss":"https://issuer"}"#,
            r#"{"sub":"","exp":1800000000,"iss":"https://issuer"}"#,
            r#"{"sub":"u","exp":1800000000,"nbf":"0","iss":"https://issuer"}"#,
            r#"{"sub":"u","exp":1e999,"iss":"https://issuer"}"#,
            r#"{"sub":"u","sub":"v","exp":1800000000,"iss":"https://issuer"}"#,
            "[]",
            "",
        ] {
            assert!(matches!(checked(claims), Err(TokenError::Form(_))), "{claims}");
        }
        for claims in [r#"{"sub":"u","exp":1800000000}"#, r#"{"sub":"u","exp":1800000000,"iss":"other"}"#] {
            assert!(matches!(checked(claims), Err(TokenError::Issuer)), "{claims}");
        }
    }

    #[test]
    fn an_audience_that_is_expected_must_be_among_those_of_the_token() {
        let expected = Expected { issuer: None, audience: Some("web".to_owned()), leeway: Duration::ZERO };
        let with = |aud: &str| {
            expected.check(format!(r#"{{"sub":"u","exp":1800000000{aud}}}"#).as_bytes(), NOW).is_ok()
        };
        assert!(with(r#","aud":"web""#) && with(r#","aud":["other","web"]"#));
        assert!(!with("") && !with(r#","aud":"other""#) && !with(r#","aud":[]"#));
    }
}
