//! The effective value of a setting: its source, its errors, and how it is shown. Pure.

use figment::Figment;
use figment::value::Value;

use super::limits;
use super::loaded::{Shown, fingerprint};
use super::problem::Problem;
use super::secret::HIDDEN;
use super::setting::Setting;
use super::value::{is_unset, shown};

/// The effective value of a setting.
pub(crate) struct Entry {
    pub(crate) setting: &'static Setting,
    pub(crate) value: Value,
    pub(crate) shown: String,
    pub(crate) origin: String,
}

impl Entry {
    pub(crate) fn of(setting: &'static Setting, figment: &Figment) -> Option<Self> {
        let value = figment.find_value(setting.key).ok()?;
        // Figment tags each value with the layer that it comes from.
        let origin = figment.get_metadata(value.tag())?.name.to_string();
        Some(Self { setting, shown: shown(setting, &value), value, origin })
    }

    pub(crate) fn into_shown(self) -> Shown {
        // An empty secret is shown as empty: an operator must see that no password is set.
        let shown_as_it_is = !self.setting.secret || is_unset(&self.value);
        let json = shown_as_it_is.then(|| serde_json::to_value(&self.value).ok()).flatten();
        let json = json.unwrap_or_else(|| HIDDEN.into());
        let fingerprint = fingerprint(&self.value);
        Shown { key: self.setting.key.to_owned(), text: self.shown, json, origin: self.origin, fingerprint }
    }

    /// The items of a list, without those that are not texts.
    pub(crate) fn names(&self) -> Vec<&str> {
        let items = self.value.as_array().unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect()
    }

    pub(crate) fn is_unset(&self) -> bool {
        is_unset(&self.value)
    }

    pub(crate) fn is_json_log(&self) -> bool {
        self.setting.key == "log.format" && self.value.as_str() == Some("json")
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.setting.required.is_some() && self.is_unset()
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let key = self.setting.key;
        match (self.setting.required, self.setting.variable) {
            // A required setting has no useful default to show: the sentence says what to set it to.
            (Some(what), Some(variable)) if self.is_missing() => vec![Problem::of(
                key,
                format!("{key} is not set: set {variable} to {what}, or {key} in the file of --config"),
            )],
            _ => limits::refusals(self.setting, &self.value)
                .into_iter()
                .map(|(shown, allowed)| self.refused(&shown, &allowed))
                .collect(),
        }
    }

    /// The problem for a refused value, or for a refused item of a list.
    pub(crate) fn refused(&self, shown: &str, allowed: &str) -> Problem {
        Problem::bad_value(self.setting.key, shown, &self.origin, allowed)
    }
}
