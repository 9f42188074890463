//! What clients ask for. Owns: the fields' names and types, and the schemas that tell them; knows no default.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::openai::Object;
use crate::openai::limits::{
    CHOICES, LOGIT_BIAS, LOGPROBS, MESSAGES_MAX, MIN_P, OUTPUT_TOKENS, PENALTY, PRIORITY,
    REPETITION_PENALTY, SALT_BYTES_MAX, STOP_BYTES_MAX, STOP_TOKENS_MAX, STOPS_MAX, TEMPERATURE,
    TOP_K, TOP_P,
};
use crate::openai::message::{Message, Tool, ToolChoice};
use crate::protocol::Resume;

/// A field that has another type than it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Its name.
    pub field: &'static str,
    /// What was expected.
    pub reason: String,
}

/// Takes a field out of a request; absent and null are `None`.
fn take<T: DeserializeOwned>(
    object: &mut Object,
    field: &'static str,
) -> Result<Option<T>, FieldError> {
    match object.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| FieldError {
                field,
                reason: error.to_string(),
            }),
    }
}

/// A struct of optional fields that reads itself out of an object, so that a wrong type is told with its field's name
/// (serde's `flatten` would lose it).
macro_rules! fields {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty,)* } $($(#[$rest_doc:meta])* + $rest:ident: $rest_kind:ident)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Default, JsonSchema)]
        pub struct $name {
            $($(#[$doc])* pub $field: Option<$kind>,)*
            $($(#[$rest_doc])* #[schemars(flatten)] pub $rest: $rest_kind,)*
        }

        impl $name {
            fn take(object: &mut Object) -> Result<Self, FieldError> {
                Ok(Self {
                    $($field: take(object, stringify!($field))?,)*
                    $($rest: $rest_kind::take(object)?,)*
                })
            }
        }
    };
}

fields! {
    /// What both kinds of generation take. A field that is absent or null is `None`.
    Generation {
        /// Which model. (An engine by itself serves one, and takes a request without this.)
        #[schemars(required)]
        model: String,
        /// How many answers.
        #[schemars(range(min = *CHOICES.start(), max = *CHOICES.end()))]
        n: i64,
        /// Whether the answer comes in chunks.
        stream: bool,
        /// What else a stream holds.
        stream_options: StreamOptions,
        /// Most output tokens.
        #[schemars(range(min = *OUTPUT_TOKENS.start(), max = *OUTPUT_TOKENS.end()))]
        max_tokens: i64,
        /// Fewest output tokens.
        #[schemars(range(min = 0, max = *OUTPUT_TOKENS.end()))]
        min_tokens: i64,
        /// Texts that end an answer and are not part of it.
        stop: OneOrMany,
        /// Tokens that end an answer.
        #[schemars(length(max = STOP_TOKENS_MAX), inner(range(min = 0)))]
        stop_token_ids: Vec<i64>,
        /// Whether the model's end token is a token like any other.
        ignore_eos: bool,
        /// Whether the stop text is part of the answer after all.
        include_stop_str_in_output: bool,
        /// 0 = the most likely token each time.
        #[schemars(range(min = *TEMPERATURE.start(), max = *TEMPERATURE.end()))]
        temperature: f64,
        /// Share of probability that is drawn from.
        #[schemars(range(min = *TOP_P.start(), max = *TOP_P.end()))]
        top_p: f64,
        /// Number of tokens that are drawn from; 0 or -1 = all.
        #[schemars(range(min = *TOP_K.start(), max = *TOP_K.end()))]
        top_k: i64,
        /// Least probability, relative to the most likely token's.
        #[schemars(range(min = *MIN_P.start(), max = *MIN_P.end()))]
        min_p: f64,
        /// Fixes the random numbers.
        seed: i64,
        /// Subtracted per occurrence in the output.
        #[schemars(range(min = *PENALTY.start(), max = *PENALTY.end()))]
        frequency_penalty: f64,
        /// Subtracted once for what occurs in the output.
        #[schemars(range(min = *PENALTY.start(), max = *PENALTY.end()))]
        presence_penalty: f64,
        /// Divides what occurs in prompt or output.
        #[schemars(extend("exclusiveMinimum" = REPETITION_PENALTY.start(), "maximum" = REPETITION_PENALTY.end()))]
        repetition_penalty: f64,
        /// Added to the logits of tokens, by id.
        #[schemars(extend(
            "propertyNames" = {"pattern": "^[0-9]+$"},
            "additionalProperties" = {
                "type": "number", "minimum": LOGIT_BIAS.start(), "maximum": LOGIT_BIAS.end(),
            },
        ))]
        logit_bias: BTreeMap<String, f64>,
        /// Whether special tokens are left out of the text; yes by default.
        skip_special_tokens: bool,
        /// Whether the answer holds token ids as well.
        return_token_ids: bool,
        /// Without a router: smaller runs first.
        #[schemars(range(min = *PRIORITY.start(), max = *PRIORITY.end()))]
        priority: i64,
        /// Prefixes are shared only between requests of an equal salt.
        #[schemars(length(min = 1, max = SALT_BYTES_MAX))]
        cache_salt: String,
        /// Form of the text.
        response_format: Object,
        /// Grammar of the text.
        structured_outputs: Object,
        /// Whether the tokenizer adds its special tokens; a plain prompt: yes, a rendered chat: no.
        add_special_tokens: bool,
        /// Router to engine: what the client has of the answer already ([`RESUME_FIELD`](crate::protocol::RESUME_FIELD)).
        #[schemars(skip)]
        lps_resume: Resume,
        /// Who asks; not used.
        user: String,
    }
}

fields! {
    /// `POST /v1/chat/completions`.
    ChatRequest {
        /// The conversation. Messages are kept as they are, because templates read fields of their own.
        #[schemars(required, with = "Vec<Message>", length(min = 1, max = MESSAGES_MAX))]
        messages: Vec<Object>,
        /// What the model may call.
        #[schemars(with = "Option<Vec<Tool>>")]
        tools: Vec<Object>,
        /// Whether it may, or must.
        #[schemars(with = "Option<ToolChoice>")]
        tool_choice: Value,
        /// Whether it may call several at once.
        parallel_tool_calls: bool,
        /// `max_tokens`' newer name.
        #[schemars(range(min = *OUTPUT_TOKENS.start(), max = *OUTPUT_TOKENS.end()))]
        max_completion_tokens: i64,
        /// Whether log-probabilities are reported.
        logprobs: bool,
        /// For how many rivals of each token.
        #[schemars(range(min = *LOGPROBS.start(), max = *LOGPROBS.end()))]
        top_logprobs: i64,
        /// Whether the template opens the answer; yes by default.
        add_generation_prompt: bool,
        /// Whether the last message is to be continued instead of answered.
        continue_final_message: bool,
        /// Further variables of the template.
        chat_template_kwargs: Object,
        /// How long the model reasons, for templates that know it.
        reasoning_effort: String,
        /// Whether the answer has what the model reasoned; yes by default.
        include_reasoning: bool,
    }
    /// What both kinds take.
    + generation: Generation
    /// What is not known here, in its order.
    + other: Other
}

impl ChatRequest {
    /// Reads a request; ranges are not checked.
    ///
    /// # Errors
    /// When a field has a wrong type.
    pub fn read(mut object: Object) -> Result<Self, FieldError> {
        Self::take(&mut object)
    }
}

fields! {
    /// `POST /v1/completions`.
    CompletionRequest {
        /// One prompt or several.
        #[schemars(required)]
        prompt: Prompt,
        /// Whether the answer repeats the prompt.
        echo: bool,
        /// Text after the answer.
        suffix: String,
        /// How many are tried.
        best_of: i64,
        /// For how many rivals of each token log-probabilities are reported.
        #[schemars(range(min = *LOGPROBS.start(), max = *LOGPROBS.end()))]
        logprobs: i64,
    }
    /// What both kinds take.
    + generation: Generation
    /// What is not known here, in its order.
    + other: Other
}

impl CompletionRequest {
    /// Reads a request; ranges are not checked.
    ///
    /// # Errors
    /// When a field has a wrong type.
    pub fn read(mut object: Object) -> Result<Self, FieldError> {
        Self::take(&mut object)
    }
}

fields! {
    /// `POST /v1/embeddings`.
    EmbeddingRequest {
        /// Which model. (An engine by itself serves one, and takes a request without this.)
        #[schemars(required)]
        model: String,
        /// What vectors are wanted of.
        #[schemars(required)]
        input: Prompt,
        /// `float`, or `base64` of 32-bit floats, least byte first.
        encoding_format: String,
        /// Numbers of each vector, where it may be cut.
        dimensions: i64,
        /// Without a router: smaller runs first.
        #[schemars(range(min = *PRIORITY.start(), max = *PRIORITY.end()))]
        priority: i64,
        /// Who asks; not used.
        user: String,
    }
    /// What is not known here, in its order.
    + other: Other
}

impl EmbeddingRequest {
    /// Reads a request; ranges are not checked.
    ///
    /// # Errors
    /// When a field has a wrong type.
    pub fn read(mut object: Object) -> Result<Self, FieldError> {
        Self::take(&mut object)
    }
}

/// Fields that are not known here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Other(pub Object);

impl Other {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "taken like the fields that can fail"
    )]
    fn take(object: &mut Object) -> Result<Self, FieldError> {
        Ok(Self(std::mem::take(object)))
    }
}

impl JsonSchema for Other {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Other".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": true})
    }
}

/// What else a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StreamOptions {
    /// A last chunk with the figures.
    pub include_usage: Option<bool>,
}

/// A text or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum OneOrMany {
    /// One.
    One(#[schemars(length(min = 1, max = STOP_BYTES_MAX))] String),
    /// Several.
    Many(
        #[schemars(length(max = STOPS_MAX), inner(length(min = 1, max = STOP_BYTES_MAX)))]
        Vec<String>,
    ),
}

impl OneOrMany {
    /// As a list.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Prompts, as text or as token ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids or a list of such lists"
)]
pub enum Prompt {
    /// One text.
    Text(#[schemars(length(min = 1))] String),
    /// Token ids of one prompt.
    Tokens(#[schemars(length(min = 1))] Vec<u32>),
    /// Several texts.
    Texts(#[schemars(length(min = 1))] Vec<String>),
    /// Token ids of several prompts.
    TokenLists(#[schemars(length(min = 1), inner(length(min = 1)))] Vec<Vec<u32>>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ChatRequest, FieldError> {
        ChatRequest::read(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn unknown_fields_are_kept_in_their_order() {
        let text = r#"{"messages":[{"role":"user","z":1,"a":2}],"model":"m","zeta":[1],"alpha":null,"top_k":5}"#;
        let request = read(text).unwrap();
        assert_eq!(request.generation.top_k, Some(5));
        let json = |object: &Object| serde_json::to_string(object).unwrap();
        assert_eq!(json(&request.other.0), r#"{"zeta":[1],"alpha":null}"#);
        let messages = request.messages.unwrap();
        assert_eq!(json(&messages[0]), r#"{"role":"user","z":1,"a":2}"#);
    }

    #[test]
    fn a_wrong_type_is_told_with_its_field() {
        for (text, field, reason) in [
            (r#"{"messages":"hi"}"#, "messages", "expected a sequence"),
            (r#"{"temperature":"hot"}"#, "temperature", "expected f64"),
            (r#"{"max_tokens":1.5}"#, "max_tokens", "expected i64"),
            (
                r#"{"stop":[1]}"#,
                "stop",
                "expected a string or a list of strings",
            ),
            (
                r#"{"stream_options":{"include_usage":7}}"#,
                "stream_options",
                "expected a boolean",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.reason.contains(reason), "{error}");
        }
        assert_eq!(read(r#"{"n":null}"#).unwrap().generation.n, None);
    }

    #[test]
    fn a_prompt_has_four_forms() {
        for (text, expected) in [
            (r#""a""#, Prompt::Text("a".to_owned())),
            ("[1,2]", Prompt::Tokens(vec![1, 2])),
            (
                r#"["a","b"]"#,
                Prompt::Texts(vec!["a".to_owned(), "b".to_owned()]),
            ),
            ("[[1],[2]]", Prompt::TokenLists(vec![vec![1], vec![2]])),
        ] {
            assert_eq!(serde_json::from_str::<Prompt>(text).unwrap(), expected);
        }
        let error = serde_json::from_str::<Prompt>("[-1]")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected a string, a list of strings"),
            "{error}"
        );
    }
}
