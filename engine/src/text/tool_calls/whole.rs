//! A call that was read to its end. Owns: what its JSON says. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::format::ToolCallFormat;
use super::head::ARGUMENTS;

/// The name and the arguments that an object says, these under the format's own key if it has that. What no mark told from text
/// has both.
pub(super) fn called(
    object: &str,
    format: &ToolCallFormat,
    is_marked: bool,
) -> Option<(String, String)> {
    let call: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    let name = serde_json::from_str(call.get("name")?.get()).ok()?;
    let keys = [format.arguments_key()].into_iter().chain(ARGUMENTS);
    let arguments = { keys }.find_map(|key| call.get(key));
    let arguments = match arguments.map(|value| value.get()) {
        None if !is_marked => return None,
        None | Some("null" | "\"\"") => "{}".to_owned(),
        // Some models write them as a text, which must be JSON as any others.
        Some(text) if text.starts_with('"') => {
            let arguments: String = serde_json::from_str(text).ok()?;
            serde_json::from_str::<&RawValue>(&arguments).ok()?;
            arguments
        }
        Some(value) => value.to_owned(),
    };
    Some((name, arguments))
}
