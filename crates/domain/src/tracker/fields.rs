//! How the fields of a dataset are listed: name, value and sentence in one row.

use serde_json::{Map, Value};

/// A field of a dataset.
#[derive(Clone, Copy, Debug)]
pub struct Field<F> {
    /// Its name in the JSON object.
    pub name: &'static str,
    /// What it says.
    pub sentence: &'static str,
    /// Computes its value.
    pub value: F,
}

/// A field whose value follows from a `T` and the present time in Unix seconds; `None` leaves it out.
pub(super) type ValueOf<T> = fn(&T, f64) -> Option<Value>;

pub(super) const fn field<F>(name: &'static str, value: F, sentence: &'static str) -> Field<F> {
    Field { name, sentence, value }
}

/// The JSON object of these fields.
pub(super) fn object<T>(fields: &[Field<ValueOf<T>>], of: &T, now: f64) -> Value {
    let values = fields.iter().filter_map(|field| Some((field.name.to_owned(), (field.value)(of, now)?)));
    Value::Object(values.collect::<Map<_, _>>())
}

/// The whole second of a moment, in Unix seconds.
pub(super) fn whole_second(now: f64) -> u64 {
    now.max(0.0) as u64
}
