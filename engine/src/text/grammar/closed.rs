//! Objects that have only what their schema names. Owns: where a schema that says nothing of further properties means none.
//! By the book it would mean any; a model that may write any does so, and who asked for a form is not served by it.

use serde_json::{Map, Value};

/// What says something of properties that an object's schema does not name itself.
const SPEAKING: [&str; 9] = [
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "not",
];
/// Whose values are schemas by name.
const BY_NAME: [&str; 3] = ["properties", "$defs", "definitions"];
/// Whose values are a schema or a list of them. Not `allOf`: what one part does not name another may.
const SCHEMAS: [&str; 4] = ["items", "prefixItems", "anyOf", "oneOf"];

/// What changes no meaning where it stands beside a reference.
const REMARKS: [&str; 11] = [
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "description",
    "title",
    "default",
    "examples",
    "deprecated",
    "$comment",
    "nullable",
];

/// Closes every object of a schema that names properties and says nothing of others.
pub(super) fn close(schema: &mut Value) {
    let are_parts = composes(schema);
    close_all(schema, are_parts);
}

/// Whether definitions may be parts of objects: where schemas are put together with `allOf`, or stand beside a reference, or
/// where alternatives stand beside properties.
pub(super) fn composes(schema: &Value) -> bool {
    match schema {
        Value::Array(schemas) => schemas.iter().any(composes),
        Value::Object(fields) => {
            let refers = fields.contains_key("$ref");
            let is_meant = |field: &String| field != "$ref" && !REMARKS.contains(&field.as_str());
            let has = |field: &str| fields.contains_key(field);
            has("allOf")
                || has("properties") && (has("anyOf") || has("oneOf") || has("if"))
                || refers && fields.keys().any(is_meant)
                || fields.values().any(composes)
        }
        _ => false,
    }
}

fn close_all(schema: &mut Value, are_parts: bool) {
    let Value::Object(fields) = schema else {
        return;
    };
    let close = |schema: &mut Value| close_all(schema, are_parts);
    let names_some = fields.contains_key("properties");
    if names_some && !SPEAKING.iter().any(|field| fields.contains_key(*field)) {
        fields.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for name in BY_NAME {
        if are_parts && name != "properties" {
            continue;
        }
        let schemas = fields.get_mut(name).and_then(Value::as_object_mut);
        schemas
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(close);
    }
    for name in SCHEMAS {
        // Alternatives beside properties are parts of one object.
        let is_part = names_some && name.ends_with("Of");
        match fields.get_mut(name).filter(|_| !is_part) {
            Some(Value::Array(schemas)) => schemas.iter_mut().for_each(close),
            Some(schema) => close(schema),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_that_name_properties_and_speak_of_no_others_are_closed() {
        let open = json!({"properties": {"a": {}}});
        let shut = json!({"properties": {"a": {}}, "additionalProperties": false});
        for (schema, expected) in [
            (open.clone(), shut.clone()),
            (json!({"type": "object"}), json!({"type": "object"})),
            (
                json!({"properties": {}, "additionalProperties": true}),
                json!({"properties": {}, "additionalProperties": true}),
            ),
            (
                json!({"items": open, "$defs": {"x": {"anyOf": [open, {"type": "null"}]}}}),
                json!({"items": shut, "$defs": {"x": {"anyOf": [shut, {"type": "null"}]}}}),
            ),
            // Each part would forbid what the other names.
            (
                json!({"allOf": [open, open]}),
                json!({"allOf": [open, open]}),
            ),
            (
                json!({"properties": {"b": {}}, "oneOf": [open, open]}),
                json!({"properties": {"b": {}}, "oneOf": [open, open]}),
            ),
            // A definition that is part of an object.
            (
                json!({"allOf": [{"$ref": "#/$defs/x"}, open], "$defs": {"x": open}}),
                json!({"allOf": [{"$ref": "#/$defs/x"}, open], "$defs": {"x": open}}),
            ),
            (
                json!({"$ref": "#/$defs/x", "required": ["b"], "$defs": {"x": open}}),
                json!({"$ref": "#/$defs/x", "required": ["b"], "$defs": {"x": open}}),
            ),
            (
                json!({"$ref": "#/$defs/x", "title": "t", "$defs": {"x": open}}),
                json!({"$ref": "#/$defs/x", "title": "t", "$defs": {"x": shut}}),
            ),
            // What only looks like a schema.
            (
                json!({"const": open, "enum": [open]}),
                json!({"const": open, "enum": [open]}),
            ),
            (json!(true), json!(true)),
        ] {
            let mut closed = schema;
            close(&mut closed);
            assert_eq!(closed, expected);
        }
    }
}
