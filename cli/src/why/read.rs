//! Reading JSON objects of a cluster. Owns: conditions, texts and ages as people read them. Pure.

use serde_json::Value;

use crate::cluster::seconds_since;
use crate::console::{self, span};

pub(super) fn is_true(pod: &Value, kind: &str) -> bool {
    condition(&pod["status"]["conditions"], kind).is_some_and(|one| one["status"] == "True")
}

pub(super) fn condition<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    items(conditions).iter().find(|one| one["type"] == kind)
}

pub(super) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Text of a cluster in one line, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let text: Vec<&str> = text.split_whitespace().collect();
    console::plain(&text.join(" "))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), plain)
}

pub(super) fn last_line(text: &str) -> String {
    plain(text.trim().lines().last().unwrap_or_default())
}

pub(super) fn since(facts: &Value, time: &Value) -> String {
    age(facts, time).map_or_else(String::new, |age| format!(", for {age}"))
}

pub(super) fn age(facts: &Value, time: &Value) -> Option<String> {
    let now = facts["now"].as_str()?;
    seconds_since(time.as_str()?, now).map(span)
}
