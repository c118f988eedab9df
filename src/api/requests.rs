//! The bodies of requests, and what is allowed in them, in the words of the original. Pure.

use std::ops::RangeInclusive;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, Unexpected, Visitor},
};
use utoipa::{IntoParams, ToSchema};

use super::outcome::Refusal;

/// The slot ids that there are.
pub(super) const SLOTS: RangeInclusive<i64> = 1..=10_000;
/// The most days that one request may ask for.
pub(super) const MOST_DAYS: u64 = 365;

/// Declares the body of a request. The token is read by the guard of the port, and a number that is missing is 0, as in the original.
macro_rules! body {
    ($(#[doc = $head:literal])+ $Type:ident { $($(#[doc = $text:literal])+ $(#[schema($($schema:tt)+)])? $name:ident: $wire:tt $of:ty,)* }) => {
        $(#[doc = $head])+
        #[derive(Debug, Deserialize, ToSchema)]
        pub(super) struct $Type {
            /// The token of the read API.
            #[serde(default, rename = "token")]
            #[schema(required = true)]
            pub(super) _token: String,
            /// The address of the data market.
            #[serde(default, rename = "dataMarketAddress")]
            #[schema(required = true, pattern = "^0[xX][0-9a-fA-F]{40}$")]
            pub(super) market: String,
            $($(#[doc = $text])+ #[serde(default, rename = $wire, deserialize_with = "whole")] $(#[schema($($schema)+)])? pub(super) $name: $of,)*
        }
    };
}

body! {
    /// A slot and a number of days.
    SlotDays {
        /// The id of a slot.
        #[schema(required = true, minimum = 1, maximum = 10000)]
        slot: "slotID" i64,
        /// How many days, the current one included; at most the current day.
        #[schema(required = true, minimum = 1, maximum = 365)]
        past_days: "pastDays" i64,
    }
}
body! {
    /// A number of days.
    Days {
        /// How many days, the current one included; at most the current day.
        #[schema(required = true, minimum = 1, maximum = 365)]
        past_days: "pastDays" i64,
    }
}
body! {
    /// A day.
    Day {
        /// The day, counted from 1; at most the current one.
        #[schema(required = true, minimum = 1)]
        day: "day" i64,
    }
}
body! {
    /// An epoch.
    Epoch {
        /// The id of an epoch.
        #[schema(required = true, minimum = 1)]
        epoch: "epochID" i64,
    }
}
body! {
    /// An epoch and its day.
    EpochDay {
        /// The day, counted from 1.
        #[schema(required = true, minimum = 1)]
        day: "day" i64,
        /// The id of an epoch.
        #[schema(required = true, minimum = 1)]
        epoch: "epochID" i64,
    }
}
body! {
    /// A slot, a day and a page.
    SlotDay {
        /// The day, counted from 1; at most the current one.
        #[schema(required = true, minimum = 1)]
        day: "day" i64,
        /// The id of a slot.
        #[schema(required = true, minimum = 1, maximum = 10000)]
        slot: "slotID" i64,
        /// The page, counted from 1; what is less is the first one.
        page: "page" i64,
    }
}
body! {
    /// A slot.
    Slot {
        /// The id of a slot.
        #[schema(required = true, minimum = 1, maximum = 10000)]
        slot: "slotID" i64,
    }
}

/// Whether slot ids are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "the description reads it")]
pub(super) struct Details {
    /// `true` lists the slot ids; with any other word, or without one, the list is empty.
    #[param(rename = "includeSlotDetails", required = false)]
    include: String,
}

impl Details {
    /// Whether a query asks for the slot ids.
    pub(super) fn are_wanted(query: Option<&str>) -> bool {
        let pairs = query.unwrap_or_default().split('&');
        let mut words = pairs.filter_map(|pair| pair.strip_prefix("includeSlotDetails="));
        // The first one counts, as in the original.
        words.next() == Some("true")
    }
}

/// A body as a request.
///
/// # Errors
/// 400 with the place of what does not fit.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("the body does not fit: {}", errors::sanitise(error))))
}

/// The id of a slot.
///
/// # Errors
/// 400.
pub(super) fn slot(slot: i64) -> Result<u64, Refusal> {
    let fits = SLOTS.contains(&slot).then(|| slot.unsigned_abs());
    fits.ok_or_else(|| Refusal::bad(format!("Invalid slotID: {slot}")))
}

/// The id of an epoch.
///
/// # Errors
/// 400.
pub(super) fn epoch(epoch: i64) -> Result<u64, Refusal> {
    positive(epoch).ok_or_else(|| Refusal::bad("EpochID is missing or invalid"))
}

/// A day that is compared with no other.
///
/// # Errors
/// 400.
pub(super) fn any_day(day: i64) -> Result<u64, Refusal> {
    positive(day).ok_or_else(|| Refusal::bad("Invalid day!"))
}

/// A day that has begun.
///
/// # Errors
/// 400.
pub(super) fn day(day: i64, current: u64) -> Result<u64, Refusal> {
    let day = positive(day).ok_or_else(|| Refusal::bad("Day must be greater than or equal to 1"))?;
    match day <= current {
        true => Ok(day),
        false => Err(Refusal::bad(format!("Day must not exceed the current day ({current})"))),
    }
}

/// A number of days, as far as it does not depend on the current one.
///
/// # Errors
/// 400.
pub(super) fn past_days(days: i64) -> Result<u64, Refusal> {
    let days = positive(days).ok_or_else(|| Refusal::bad("Past days should be at least 1"))?;
    match days <= MOST_DAYS {
        true => Ok(days),
        false => Err(Refusal::bad(format!("Past days cannot exceed {MOST_DAYS}"))),
    }
}

/// The current day and those before it, the newest first.
///
/// # Errors
/// 400 for more days than there were.
pub(super) fn days(days: u64, current: u64) -> Result<Vec<u64>, Refusal> {
    match days <= current {
        true => Ok((0..days).map(|back| current - back).collect()),
        false => Err(Refusal::bad(format!("Past days cannot exceed the current day ({current})"))),
    }
}

/// A whole number. In JSON `7.0` is one too, which programs in some languages send.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = i64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number of 64 bits")
        }

        fn visit_i64<E>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
            // 2^63 is the first number that does not fit.
            let fits = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
            fits.then_some(number as i64).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
        }
    }
    deserializer.deserialize_any(Whole)
}

fn positive(number: i64) -> Option<u64> {
    (number > 0).then(|| number.unsigned_abs())
}
