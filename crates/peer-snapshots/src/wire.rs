//! How values are read: each type says what it accepts, clamps what may be clamped, and notes in the trail why it refused.

use std::{fmt, marker::PhantomData};

use serde::{
    Serializer,
    de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor},
};

use crate::trail::{Problem, Segment, Trail};

/// The longest text that is kept, in bytes. A miner chooses its name, so a longer one is cut: it must not cost its proxy
/// the whole picture.
pub const LONGEST_TEXT: usize = 256;
/// The largest rate or sum of difficulties. The whole network has some 1e21 H/s; sums of such numbers stay finite.
pub const LARGEST_RATE: f64 = 1e30;

/// A value that can be read from a line.
pub(crate) trait Wire: Sized {
    /// Reads the value; an error is noted in the trail.
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error>;

    /// The value of a field that is absent; an error unless the field is optional.
    fn absent<E: Error>(name: &'static str, trail: &Trail) -> Result<Self, E> {
        trail.note(Problem::Missing);
        trail.push(Segment::Field(name));
        Err(E::custom("a field is missing"))
    }
}

/// Reads a value with its trail.
pub(crate) struct Seed<'t, T> {
    trail: &'t Trail,
    value: PhantomData<T>,
}

impl<'t, T> Seed<'t, T> {
    pub(crate) fn new(trail: &'t Trail) -> Self {
        Self { trail, value: PhantomData }
    }
}

impl<'de, T: Wire> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<T, D::Error> {
        T::read(input, self.trail)
    }
}

/// Notes that a value has another type, unless the error has been noted more exactly.
pub(crate) fn expecting<T, E>(what: &'static str, trail: &Trail, result: Result<T, E>) -> Result<T, E> {
    if result.is_err() {
        trail.note(Problem::WrongType(what));
    }
    result
}

fn refuse<T, E: Error>(problem: Problem, trail: &Trail) -> Result<T, E> {
    trail.note(problem);
    Err(E::custom("the value is refused"))
}

/// What a number is called in an error. [`is_number`] tells these from other types.
const WHOLE: &str = "a whole number";
const RATE: &str = "a number from 0 to 1e30";

/// Whether the expected value is a number.
pub(crate) fn is_number(expected: &str) -> bool {
    [WHOLE, RATE, A_NUMBER].contains(&expected)
}

/// Reads a whole number of a type that can hold it.
struct Whole<'t, T> {
    trail: &'t Trail,
    value: PhantomData<T>,
}

impl<T: TryFrom<u64> + TryFrom<i64>> Visitor<'_> for Whole<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WHOLE)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).or_else(|_| refuse(Problem::OutOfRange(WHOLE), self.trail))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::try_from(number).or_else(|_| refuse(Problem::OutOfRange(WHOLE), self.trail))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // A whole number with too many digits arrives here too.
        let problem = if number.fract() == 0.0 { Problem::OutOfRange } else { Problem::WrongType };
        refuse(problem(WHOLE), self.trail)
    }
}

macro_rules! whole {
    ($($type:ident by $read:ident),+) => {
        $(impl Wire for $type {
            fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
                expecting(WHOLE, trail, input.$read(Whole { trail, value: PhantomData }))
            }
        })+
    };
}

whole!(u32 by deserialize_u64, u64 by deserialize_u64, i64 by deserialize_i64);

impl Wire for f64 {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        // Not `deserialize_f64`: null would be refused before it is seen.
        expecting(RATE, trail, input.deserialize_any(Rate(trail)))
    }
}

/// Reads a rate or a sum of difficulties.
struct Rate<'t>(&'t Trail);

impl Visitor<'_> for Rate<'_> {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RATE)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        if (0.0..=LARGEST_RATE).contains(&number) {
            Ok(number + 0.0) // Turns -0 into 0.
        } else {
            refuse(Problem::OutOfRange(RATE), self.0)
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        self.visit_f64(number as f64)
    }

    fn visit_unit<E: Error>(self) -> Result<f64, E> {
        // The form in which serde_json writes a number that is not finite.
        refuse(Problem::OutOfRange(RATE), self.0)
    }
}

/// A rate or a sum, if it is known: a number that can be none (negative, too large, not finite) and null are not.
///
/// For texts in which one odd number must not cost all others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known(pub Option<f64>);

/// What may stand where a rate is expected that may not be known.
const A_NUMBER: &str = "a number or null";

impl Wire for Known {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        expecting(A_NUMBER, trail, input.deserialize_any(MaybeRate))
    }
}

/// Reads a rate, or that it is not known.
struct MaybeRate;

impl Visitor<'_> for MaybeRate {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(A_NUMBER)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Known, E> {
        // Turns -0 into 0.
        Ok(Known((0.0..=LARGEST_RATE).contains(&number).then_some(number + 0.0)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Known, E> {
        Ok(Known(Some(number as f64)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Known, E> {
        self.visit_f64(number as f64)
    }

    fn visit_unit<E: Error>(self) -> Result<Known, E> {
        Ok(Known(None))
    }
}

/// Writes a number that may not be known: null then.
pub(crate) fn write_known<S: Serializer>(known: &Option<Known>, output: S) -> Result<S::Ok, S::Error> {
    match known.and_then(|known| known.0) {
        Some(number) => output.serialize_f64(number),
        None => output.serialize_none(),
    }
}

/// Writes a rate that a reader accepts: one that is not finite or negative is 0, one that is too large the largest.
pub(crate) fn write_rate<S: Serializer>(rate: &f64, output: S) -> Result<S::Ok, S::Error> {
    // The other way round, NaN would pass.
    let rate = if *rate > 0.0 { rate.min(LARGEST_RATE) } else { 0.0 };
    output.serialize_f64(rate)
}

/// Reads yes or no.
struct YesOrNo;

impl Visitor<'_> for YesOrNo {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, is_so: bool) -> Result<bool, E> {
        Ok(is_so)
    }
}

impl Wire for bool {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        expecting("true or false", trail, input.deserialize_bool(YesOrNo))
    }
}

/// The beginning of a text, at most [`LONGEST_TEXT`] bytes.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(cut(text).to_owned())
    }
}

impl Wire for String {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        expecting("a text", trail, input.deserialize_str(Text))
    }
}

/// Reads null, or a value.
struct Optional<'t, T> {
    trail: &'t Trail,
    value: PhantomData<T>,
}

impl<'de, T: Wire> Visitor<'de> for Optional<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Option<T>, D::Error> {
        T::read(input, self.trail).map(Some)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        input.deserialize_option(Optional { trail, value: PhantomData })
    }

    fn absent<E: Error>(_: &'static str, _: &Trail) -> Result<Self, E> {
        Ok(None)
    }
}

/// Reads a list.
struct List<'t, T> {
    trail: &'t Trail,
    value: PhantomData<T>,
}

impl<'de, T: Wire> Visitor<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        loop {
            let next = list.next_element_seed(Seed::new(self.trail));
            match self.trail.at(Segment::Element(all.len()), next)? {
                Some(element) => all.push(element),
                None => return Ok(all),
            }
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(input: D, trail: &Trail) -> Result<Self, D::Error> {
        expecting("a list", trail, input.deserialize_seq(List { trail, value: PhantomData }))
    }
}
