//! What a schema costs before the library's own bounds hold. Owns: which schemas are refused for it: `llguidance` copies what
//! stands beside alternatives for each of them, and reads patterns, and names against patterns, without a bound.

use serde_json::{Map, Value};

use super::GrammarError;

/// Of a pattern; where parts may be left out its cost grows with the square: 32 KB took 0.4 GB, 8 KB nothing to speak of.
pub(super) const PATTERN_BYTES_MAX: usize = 8 << 10;
/// Of a property's name, which is held against patterns.
const NAME_BYTES_MAX: usize = 1 << 10;
/// Of what is copied: so much stands beside alternatives, times their number.
const COPIED_BYTES_MAX: usize = 64 << 20;

/// Whose values are alternatives.
const ALTERNATIVES: [&str; 4] = ["enum", "anyOf", "oneOf", "type"];
/// What is not put together with anything.
const REMARKS: [&str; 7] = [
    "$defs",
    "definitions",
    "description",
    "title",
    "default",
    "examples",
    "$comment",
];

/// Looks at every object of a schema as if it were one itself.
///
/// # Errors
/// When a pattern or a name is too long, or alternatives would be copied too often.
pub(super) fn check(schema: &Value) -> Result<(), GrammarError> {
    let whole = Part {
        alternatives: longest(schema),
        bytes: bytes(schema),
    };
    check_all(schema, &whole)
}

/// Something that is put together with what stands beside it.
#[derive(Clone, Copy)]
struct Part {
    alternatives: usize,
    bytes: usize,
}

fn check_all(value: &Value, whole: &Part) -> Result<(), GrammarError> {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Array(values) => return values.iter().try_for_each(|one| check_all(one, whole)),
        _ => return Ok(()),
    };
    let pattern = fields.get("pattern").and_then(Value::as_str);
    let patterns = fields.get("patternProperties").and_then(Value::as_object);
    let patterns = patterns.into_iter().flat_map(Map::keys).map(String::as_str);
    let is_long = |one: &str| one.len() > PATTERN_BYTES_MAX;
    if patterns.chain(pattern).any(is_long) {
        return refused(&format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"));
    }
    if fields.keys().any(|name| name.len() > NAME_BYTES_MAX) {
        return refused(&format!("a name has at most {NAME_BYTES_MAX} bytes"));
    }
    let mut parts = Vec::new();
    gather(fields, whole, &mut parts);
    let beside: usize = parts.iter().map(|part| part.bytes).sum();
    let copied = |part: &Part| part.alternatives.saturating_mul(beside - part.bytes);
    if parts.iter().map(copied).fold(0, usize::saturating_add) > COPIED_BYTES_MAX {
        return refused("it has too many alternatives for what stands beside them");
    }
    fields.values().try_for_each(|one| check_all(one, whole))
}

/// The parts of one object, those of its `allOf` among them. A reference may be to anything.
fn gather(fields: &Map<String, Value>, whole: &Part, parts: &mut Vec<Part>) {
    for (name, value) in fields {
        match name.as_str() {
            "$ref" => parts.push(*whole),
            "allOf" => {
                let all = value.as_array().into_iter().flatten();
                all.filter_map(Value::as_object)
                    .for_each(|fields| gather(fields, whole, parts));
            }
            name if REMARKS.contains(&name) => {}
            name => parts.push(Part {
                alternatives: if ALTERNATIVES.contains(&name) {
                    leaves(value)
                } else {
                    0
                },
                bytes: bytes(value),
            }),
        }
    }
}

/// Alternatives of alternatives, too.
fn leaves(alternatives: &Value) -> usize {
    let one = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        let inner = fields.filter(|(name, _)| ALTERNATIVES.contains(&name.as_str()));
        inner.map(|(_, inner)| leaves(inner)).sum::<usize>().max(1)
    };
    alternatives.as_array().into_iter().flatten().map(one).sum()
}

/// Of the longest list in it.
fn longest(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(longest).fold(values.len(), usize::max),
        Value::Object(fields) => fields.values().map(longest).max().unwrap_or(0),
        _ => 0,
    }
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(bytes).sum::<usize>() + values.len(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| name.len() + bytes(value))
            .sum(),
        _ => 8,
    }
}

fn refused(why: &str) -> Result<(), GrammarError> {
    Err(GrammarError::Form(why.to_owned()))
}
