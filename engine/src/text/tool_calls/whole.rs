//! A call that was read to its end. Owns: what its JSON says. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::head::ARGUMENTS;

/// Whether all of a text is JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The name and the arguments that an object says. What no mark told from text has both.
pub(super) fn called(object: &str, is_marked: bool) -> Option<(String, String)> {
    let call: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    let name = serde_json::from_str(call.get("name")?.get()).ok()?;
    let mut arguments = ARGUMENTS.iter().filter_map(|key| call.get(*key));
    let arguments = match arguments.next().map(|value| value.get()) {
        None if !is_marked => return None,
        None | Some("null") => "{}".to_owned(),
        // Some models write them as a text.
        Some(text) if text.starts_with('"') => serde_json::from_str(text).ok()?,
        Some(value) => value.to_owned(),
    };
    Some((name, arguments))
}
