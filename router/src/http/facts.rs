//! What of an inference request the router needs. Owns: finding it in the body's bytes, which stay as they are, and
//! refusing what no engine could take. Everything else is the engine's to check.

use std::fmt::{self, Display};
use std::ops::{Range, RangeInclusive};

use bytes::{Bytes, BytesMut};
use lps_api::ids::ModelName;
use lps_api::openai::limits::{CHOICES, OUTPUT_TOKENS, TEMPERATURE, TOP_P};
use lps_api::protocol::RESUME_FIELD;
use lps_api::quantity::Tokens;
use serde::de::{self, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::conversations::said::{Messages, place};
use crate::dispatcher::PromptSize;
use crate::echoes::Echoes;
use crate::few::few_or_none;
use crate::http::error::Error;
use crate::identity::{BodyId, BodySays, PARENTS_MAX, ProgramObject};

/// Which of the forms a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `messages`.
    Chat,
    /// The same, of which a response is made.
    Response,
    /// `prompt`.
    Plain,
    /// `input`, of which vectors are wanted.
    Vectors,
}

impl Form {
    const fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::Response)
    }
}

/// The fields that are looked at, as written; `M` is what is read of the messages.
#[derive(Deserialize)]
#[serde(bound(deserialize = "M: Deserialize<'de>"))]
struct Written<'a, M> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(default)]
    messages: Option<M>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    expected_output_tokens: Option<u64>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(borrow, default)]
    program: Option<&'a RawValue>,
    #[serde(default)]
    session_id: Option<BodyId>,
    #[serde(default)]
    autellix_session_id: Option<BodyId>,
    #[serde(default)]
    autellix_thread_id: Option<BodyId>,
    #[serde(default)]
    autellix_call_id: Option<BodyId>,
    #[serde(default, deserialize_with = "few_or_none::<_, _, PARENTS_MAX>")]
    autellix_parent_threads: Option<Vec<BodyId>>,
    #[serde(default)]
    lps_resume: Option<IgnoredAny>,
}

/// What the router needs of a request.
#[derive(Debug)]
pub(super) struct Facts {
    /// The model's name as the client wrote it, and where its JSON text stands in the body.
    pub(super) model: String,
    model_at: Range<usize>,
    /// Where a chat's messages stand in the body.
    messages_at: Option<Range<usize>>,
    /// How long the prompt is.
    pub(super) prompt: PromptSize,
    /// What the client says about the output.
    pub(super) expected_output: Option<Tokens>,
    /// Whether the answer is to come piece by piece.
    pub(super) stream: bool,
    /// What it says about its program.
    pub(super) says: BodySays,
    /// Calls of ours whose tools' results it brings.
    pub(super) echoes: Option<Echoes>,
}

impl Facts {
    /// Reads a body.
    pub(super) fn read(body: &[u8], form: Form) -> Result<Self, Error> {
        // A list would be taken for the fields in their order.
        if !body.trim_ascii_start().starts_with(b"{") && !body.trim_ascii().is_empty() {
            return Err(Error::malformed("the body is not a JSON object"));
        }
        let written: Written<'_, &RawValue> =
            serde_json::from_slice(body).map_err(|error| refusal(body, &error))?;
        let text = written.messages.map(RawValue::get);
        Self::of(written, (body, text), form)
    }

    /// Reads a body, and in the same go a chat's messages. Where that does not come off they are read one after the other: that
    /// says best what is wrong.
    pub(super) fn read_with_messages(
        body: &[u8],
        form: Form,
    ) -> Result<(Self, Option<Messages<'_>>), Error> {
        if form.is_chat()
            && let Ok(json) = std::str::from_utf8(body)
            && json.trim_ascii_start().starts_with('{')
            && let Ok(mut written) = serde_json::from_str::<Written<'_, Messages<'_>>>(json)
            && let Some(messages) = written.messages.take()
            && let Some(text) = messages.text(json)
        {
            let facts = Self::of(written, (body, Some(text)), form)?;
            return Ok((facts, Some(messages)));
        }
        let facts = Self::read(body, form)?;
        let messages = facts.messages(body).filter(|_| form.is_chat());
        Ok((facts, messages.and_then(Messages::read)))
    }

    fn of<M>(
        written: Written<'_, M>,
        (body, messages): (&[u8], Option<&str>),
        form: Form,
    ) -> Result<Self, Error> {
        let model_text = written.model.ok_or_else(|| missing("model"))?.get();
        let model: String = serde_json::from_str(model_text)
            .map_err(|_| Error::invalid("model", "model is a text: the name of a served model"))?;
        check(&written)?;
        let messages = messages.filter(|_| form.is_chat());
        let prompt = match form {
            Form::Chat | Form::Response => chat(messages, written.tools)?,
            Form::Plain => prompt("prompt", written.prompt)?,
            Form::Vectors => prompt("input", written.input)?,
        };
        let limit = written.max_completion_tokens.or(written.max_tokens);
        let all_choices = limit.map(|tokens| tokens * u64::from(written.n.unwrap_or(1)));
        let expected = match form {
            Form::Vectors => Some(0),
            Form::Chat | Form::Response | Form::Plain => {
                written.expected_output_tokens.or(all_choices)
            }
        };
        Ok(Self {
            model,
            model_at: place(model_text, body),
            messages_at: messages.map(|messages| place(messages, body)),
            prompt,
            expected_output: expected.map(|tokens| Tokens(tokens.try_into().unwrap_or(u32::MAX))),
            stream: form != Form::Vectors && written.stream.unwrap_or(false),
            says: BodySays {
                program: written.program.map(program).transpose()?,
                autellix_session: written.autellix_session_id,
                autellix_thread: written.autellix_thread_id,
                autellix_call: written.autellix_call_id,
                autellix_parents: written.autellix_parent_threads,
                session: written.session_id,
                may_be_followed: form == Form::Response
                    || written.tools.is_some_and(|tools| tools.get().contains('{')),
            },
            echoes: messages
                .filter(|_| form == Form::Chat)
                .and_then(Echoes::find),
        })
    }

    /// A chat's messages, as they stand in the body that was read.
    pub(super) fn messages<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(body.get(self.messages_at.clone()?)?).ok()
    }

    /// The body for an engine that knows the model as `name`: the client's own bytes, but for an alias.
    pub(super) fn body_for(&self, body: Bytes, name: &ModelName) -> Bytes {
        if self.model == name.as_str() {
            return body;
        }
        let mut renamed = BytesMut::with_capacity(body.len() + name.as_str().len());
        renamed.extend_from_slice(&body[..self.model_at.start]);
        renamed.extend_from_slice(format!("\"{name}\"").as_bytes());
        renamed.extend_from_slice(&body[self.model_at.end..]);
        renamed.freeze()
    }
}

fn missing(field: &'static str) -> Error {
    Error::invalid(field, format!("{field} is missing"))
}

/// Why a body cannot be read, with the field's path where it is one field's fault.
fn refusal(body: &[u8], error: &serde_json::Error) -> Error {
    if !error.is_data() {
        return Error::malformed(format!("the body is not valid JSON: {error}"));
    }
    // The path costs time, so it is looked for only when it is needed.
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, Written<'_, &RawValue>>(&mut deserializer) {
        Err(error) if error.path().iter().next().is_some() => {
            let path = error.path().to_string();
            Error::invalid(path.clone(), format!("{path}: {}", error.inner()))
        }
        _ => Error::malformed(format!(
            "the body is not the JSON object of a request: {error}"
        )),
    }
}

fn check<M>(written: &Written<'_, M>) -> Result<(), Error> {
    if written.lps_resume.is_some() {
        let message = format!("{RESUME_FIELD} is the router's own");
        return Err(Error::invalid(RESUME_FIELD, message));
    }
    within("n", written.n.map(i64::from), CHOICES)?;
    for (field, tokens) in [
        ("max_tokens", written.max_tokens),
        ("max_completion_tokens", written.max_completion_tokens),
        ("expected_output_tokens", written.expected_output_tokens),
    ] {
        let tokens = tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
        within(field, tokens, OUTPUT_TOKENS)?;
    }
    within("temperature", written.temperature, TEMPERATURE)?;
    within("top_p", written.top_p, TOP_P)
}

fn within<T: Display + PartialOrd>(
    field: &'static str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Result<(), Error> {
    if value.is_none_or(|value| range.contains(&value)) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(Error::invalid(
        field,
        format!("{field} is {least} to {most}"),
    ))
}

fn program(object: &RawValue) -> Result<ProgramObject, Error> {
    if !object.get().starts_with('{') {
        return Err(Error::invalid(
            "program",
            "program is an object: {id, thread, call, parents}",
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = format!("program.{}", error.path());
        Error::invalid(path.clone(), format!("{path}: {}", error.inner()))
    })
}

fn chat(messages: Option<&str>, tools: Option<&RawValue>) -> Result<PromptSize, Error> {
    let messages = messages.ok_or_else(|| missing("messages"))?;
    let inner = messages
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner.map(str::trim_ascii) {
        None => Err(Error::invalid("messages", "messages is a list of messages")),
        Some("") => Err(Error::invalid("messages", "messages has no message")),
        Some(_) => {
            let tools = tools.map_or(0, |tools| tools.get().len());
            Ok(PromptSize::Bytes(messages.len() + tools))
        }
    }
}

/// A prompt is a text, texts, token ids, or lists of token ids; ids are counted exactly.
fn prompt(field: &'static str, prompt: Option<&RawValue>) -> Result<PromptSize, Error> {
    let refused = || {
        let message = format!(
            "{field} is a text, a list of texts, a list of token ids, or a list of such lists"
        );
        Error::invalid(field, message)
    };
    let text = prompt.ok_or_else(|| missing(field))?.get();
    if text.starts_with('"') {
        return Ok(PromptSize::Bytes(text.len() - 2));
    }
    let Prompts(size) = serde_json::from_str(text).map_err(|_| refused())?;
    Ok(size)
}

/// A list of prompts, or one of token ids: how long it is. It is counted while it is read, since its items take many times
/// the bytes of what was written.
struct Prompts(PromptSize);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Prompts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts, token ids, or lists of token ids")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompts, A::Error> {
                let (mut first, mut total) = (None, 0);
                while let Some(item) = list.next_element::<&RawValue>()? {
                    let item = item.get();
                    // Of which kind all are, the first one says.
                    total += match *first.get_or_insert(item.as_bytes()[0]) {
                        b'"' => item.len().saturating_sub(2),
                        b'0'..=b'9' => 1,
                        b'[' => {
                            let ids = serde_json::from_str::<Vec<IgnoredAny>>(item);
                            ids.map_err(de::Error::custom)?.len()
                        }
                        _ => return Err(de::Error::invalid_type(Unexpected::Other(item), &self)),
                    };
                }
                match first {
                    None => Err(de::Error::invalid_length(0, &self)),
                    Some(b'"') => Ok(Prompts(PromptSize::Bytes(total))),
                    Some(_) => {
                        let tokens = Tokens(u32::try_from(total).unwrap_or(u32::MAX));
                        Ok(Prompts(PromptSize::Tokens(tokens)))
                    }
                }
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
