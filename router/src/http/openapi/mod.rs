//! The API as an OpenAPI 3.1 document. Owns: how it is put together of routes, operations and the schemas of types; what
//! each operation takes and tells is said in `operations`.

mod operations;
mod shapes;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use lps_api::openai::{ErrorBody, Object};
use lps_api::wellknown::header as known;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::http::gate::Access;
use operations::{Operation, SchemaOf};
use shapes::{Identity, MessageError, Tenant};

/// Where the document has its schemas.
const SCHEMAS: &str = "/components/schemas";
/// What a refusal means, by its status.
const REFUSALS: [(u16, &str); 11] = [
    (400, "A field, header or path has no use as it is."),
    (401, "There is no key, or it is unknown or has expired."),
    (403, "The key has not the role, or is another tenant's."),
    (404, "There is no such thing, or it is another tenant's."),
    (408, "The body did not come, or broke off."),
    (409, "A call of this name is open, or it was cancelled."),
    (413, "The body is too large."),
    (
        429,
        "Too much at once; `retry-after` says when to come again.",
    ),
    (
        500,
        "The model gave no number for this call, and would again.",
    ),
    (502, "The engine is gone, and what it had done with it."),
    (
        503,
        "There is no engine now, or the router ends; `retry-after` says when to come again.",
    ),
];

/// `GET /openapi.json`.
pub(super) async fn get() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], TEXT.clone())
}

/// The document.
///
/// # Panics
/// When a route has no operation, or an operation no route.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let (routes, operations) = (super::accesses(), operations::all());
    assert_eq!(routes.len(), operations.len(), "an operation has no route");
    let mut paths = Map::new();
    for (method, path, access) in routes {
        let mut all = operations.iter();
        let operation = all.find(|told| told.method == method && told.path == path);
        let operation = operation.unwrap_or_else(|| panic!("{method} {path} has no operation"));
        let mut told = schemas.operation(operation, access);
        if !operation.makes.is_empty() {
            let answer = &mut told["responses"][operation.status.to_string()];
            answer["links"] = links(operation.makes, &operations).into();
        }
        let path = paths.entry(path.replace("{*", "{")).or_insert(json!({}));
        path[method.as_str().to_lowercase()] = told;
    }
    let responses = schemas.refusals();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lps",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's API and Anthropic's messages, and the programs that calls belong to.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take(),
            "responses": responses,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": known::API_KEY},
            },
        },
    })
}

/// Types' schemas, as they are read and as they are written.
struct Schemas {
    asked: SchemaGenerator,
    told: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = |settings: SchemaSettings| {
            let at = |settings: &mut SchemaSettings| settings.definitions_path = SCHEMAS.into();
            settings.with(at).into_generator()
        };
        Self {
            asked: settings(SchemaSettings::draft2020_12().for_deserialize()),
            told: settings(SchemaSettings::draft2020_12().for_serialize()),
        }
    }
}

impl Schemas {
    fn operation(&mut self, operation: &Operation, access: Access) -> Value {
        let mut told = json!({
            "operationId": operation.id(),
            "summary": operation.summary,
            "parameters": self.parameters(operation),
            "responses": self.responses(operation, access),
        });
        if let Some(asked) = operation.asks {
            let schema = asked(&mut self.asked);
            told["requestBody"] = json!({
                "required": operation.needs_body,
                "content": {"application/json": {"schema": schema}},
            });
        }
        if let Access::Role(role) = access {
            told["security"] = json!([{"bearer": []}, {"key": []}]);
            told["description"] = json!(format!(
                "Where keys are asked for, one with the role `{role}` opens it."
            ));
        }
        told
    }

    fn parameters(&mut self, operation: &Operation) -> Vec<Value> {
        let mut parameters: Vec<Value> = operation.names().map(in_path).collect();
        if let Some(queries) = operation.queries {
            parameters.extend(self.each_of(queries, "query"));
        }
        if operation.is_tenants {
            parameters.extend(self.each_of(Tenant::json_schema, "header"));
        }
        if operation.is_call {
            parameters.extend(self.each_of(Identity::json_schema, "header"));
        }
        parameters
    }

    /// The fields of a struct as parameters.
    fn each_of(&mut self, of: SchemaOf, place: &str) -> Vec<Value> {
        let schema = of(&mut self.asked).to_value();
        let fields: Object = serde_json::from_value(schema["properties"].clone())
            .expect("parameters are the fields of a struct");
        let parameter = |(name, mut schema): (String, Value)| {
            // A parameter is there or is not, and never null.
            if let Some(Value::Array(kinds)) = schema.get_mut("anyOf") {
                let kind = kinds.swap_remove(0);
                let about = schema["description"].take();
                schema = kind;
                schema["description"] = about;
            }
            if let Some(Value::Array(kinds)) = schema.get_mut("type") {
                let kind = kinds.swap_remove(0);
                schema["type"] = kind;
            }
            let about = schema
                .as_object_mut()
                .and_then(|schema| schema.shift_remove("description"));
            json!({"name": name, "in": place, "description": about, "schema": schema})
        };
        fields.into_iter().map(parameter).collect()
    }

    fn responses(&mut self, operation: &Operation, access: Access) -> Object {
        let mut content =
            json!({"application/json": {"schema": (operation.tells)(&mut self.told)}});
        if let Some(streams) = operation.streams {
            content["text/event-stream"] = json!({"schema": event(streams(&mut self.told))});
        }
        let answer = json!({"description": operation.tells_what(), "content": content});
        let mut responses = Object::from_iter([(operation.status.to_string(), answer)]);
        let guarded: &[u16] = match access {
            Access::Open => &[],
            Access::Role(_) => &[400, 401, 403, 503],
        };
        let statuses: BTreeSet<u16> = guarded.iter().chain(operation.refuses).copied().collect();
        for status in statuses {
            let name = refusal_name(operation.is_anthropics, status);
            let refusal = json!({"$ref": format!("#/components/responses/{name}")});
            responses.insert(status.to_string(), refusal);
        }
        responses
    }

    fn refusals(&mut self) -> Object {
        let ours = self.told.subschema_for::<ErrorBody>();
        let anthropics = self.told.subschema_for::<MessageError>();
        let mut refusals = Object::new();
        for (is_anthropics, schema) in [(false, ours), (true, anthropics)] {
            for (status, what) in REFUSALS {
                let content = json!({"application/json": {"schema": schema}});
                let refusal = json!({"description": what, "content": content});
                refusals.insert(refusal_name(is_anthropics, status), refusal);
            }
        }
        refusals
    }

    /// All of them, by name.
    ///
    /// # Panics
    /// When two types have one name.
    fn take(mut self) -> Object {
        let mut all = self.asked.take_definitions(true);
        for (name, schema) in self.told.take_definitions(true) {
            let same = all.get(&name).is_none_or(|other| *other == schema);
            assert!(same, "{name} is read as one thing and written as another");
            all.insert(name, schema);
        }
        all.sort_keys();
        all
    }
}

/// Where the names lead that an answer tells: to every operation on what has such a name.
fn links(names: &[(&str, &str)], operations: &[Operation]) -> Object {
    let mut links = Object::new();
    for (name, expression) in names {
        for operation in operations.iter().filter(|to| to.names().eq([*name])) {
            let link = json!({"operationId": operation.id(), "parameters": {*name: expression}});
            links.insert(operation.id(), link);
        }
    }
    links
}

/// One event of a stream, as OpenAPI 3.2 has it: fields of the event, of which one holds JSON.
fn event(data: Schema) -> Value {
    json!({
        "type": "object",
        "description": "One event; OpenAI's streams end with one whose data is `[DONE]`.",
        "properties": {
            "event": {"type": "string"},
            "data": {
                "type": "string", "contentMediaType": "application/json", "contentSchema": data,
            },
        },
    })
}

fn refusal_name(is_anthropics: bool, status: u16) -> String {
    let whose = if is_anthropics { "anthropic" } else { "openai" };
    format!("{whose}-{status}")
}

fn in_path(name: &str) -> Value {
    let schema = match name {
        "response" | "model" => json!({"type": "string", "minLength": 1}),
        _ => lps_api::ids::schema().to_value(),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            _ => {}
        }
    }

    #[test]
    fn what_the_document_refers_to_is_in_it() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_ranges_that_are_checked_are_told() {
        let document = document();
        let chat = &document["components"]["schemas"]["ChatRequest"]["properties"];
        for (field, least, most) in [
            ("n", json!(1), json!(128)),
            ("temperature", json!(0.0), json!(2.0)),
            ("top_logprobs", json!(0), json!(20)),
        ] {
            assert_eq!(chat[field]["minimum"], least, "{field}");
            assert_eq!(chat[field]["maximum"], most, "{field}");
        }
        assert_eq!(chat["logit_bias"]["additionalProperties"]["maximum"], 100.0);
    }
}
