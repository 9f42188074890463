//! Requests that become chats. Owns: reading one, what is wrong with one, and how texts stand in a chat.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use lps_api::openai::Object;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// Why a request is no chat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no JSON, or not the object of a request.
    #[error("the body is not the JSON object of a request: {0}")]
    Body(String),
    /// One field asks for what cannot be had.
    #[error("{field}: {reason}")]
    Field {
        /// Its path.
        field: String,
        /// Why.
        reason: String,
        /// For programs.
        code: &'static str,
    },
}

impl Error {
    /// A field that has no use as it is.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::coded("invalid_value", field, reason)
    }

    /// The same, for clients that read which error it is.
    pub fn coded(code: &'static str, field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        Self::Field {
            field,
            reason,
            code,
        }
    }
}

/// Reads a request.
///
/// # Errors
/// When it is no such request.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        // The path costs time, so it is looked for only when it is needed.
        let mut again = serde_json::Deserializer::from_slice(body);
        match serde_path_to_error::deserialize::<_, T>(&mut again) {
            Err(found) if error.is_data() && found.path().iter().next().is_some() => {
                Error::field(found.path().to_string(), found.inner().to_string())
            }
            _ => Error::Body(error.to_string()),
        }
    })
}

/// Whether a field stands in a request and is not null.
pub fn has(request: &Object, field: &str) -> bool {
    request.get(field).is_some_and(|value| !value.is_null())
}

/// Refuses what nothing here does: an answer that leaves it out would not be what was asked for.
///
/// # Errors
/// When the request has one of these fields.
pub fn refuse(request: &Object, fields: &[&str]) -> Result<(), Error> {
    match fields.iter().find(|field| has(request, field)) {
        Some(field) => Err(Error::field(*field, "is not supported here; leave it out")),
        None => Ok(()),
    }
}

/// A chat as its body. One that is streamed tells its figures.
pub fn body(mut chat: Object) -> Vec<u8> {
    if chat.get("stream") == Some(&Value::Bool(true)) {
        chat.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    serde_json::to_vec(&chat).expect("what was read from JSON can be written as such")
}

/// A chat's content: how several texts become one is the engine's to say.
pub fn parts(texts: Vec<String>) -> Value {
    match <[String; 1]>::try_from(texts) {
        Ok([text]) => Value::String(text),
        Err(texts) if texts.is_empty() => Value::String(String::new()),
        Err(texts) => {
            let part = |text| json!({"type": "text", "text": text});
            texts.into_iter().map(part).collect()
        }
    }
}

/// A list of parts of a message; a text is a list of one.
#[derive(Debug)]
pub struct Content<P>(pub Vec<P>);

impl<P: JsonSchema> JsonSchema for Content<P> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}Content", P::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let parts = generator.subschema_for::<Vec<P>>();
        json_schema!({"anyOf": [{"type": "string"}, parts]})
    }
}

impl<'de, P: Deserialize<'de> + From<String>> Deserialize<'de> for Content<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<P>(PhantomData<P>);
        impl<'de, P: Deserialize<'de> + From<String>> Visitor<'de> for Reader<P> {
            type Value = Content<P>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of blocks")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<P>, E> {
                Ok(Content(vec![P::from(text.to_owned())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content<P>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content)
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}
