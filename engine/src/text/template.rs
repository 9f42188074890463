//! From messages to a prompt. Owns: the chat template, rendered as transformers renders it (Jinja2 in its sandbox, with
//! `tojson`, `raise_exception`, `strftime_now` and the `generation` tag). Must not know tokens.

use std::io;
use std::time::Duration;

use lps_api::openai::Object;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind, merge_maps};
use minijinja::{Environment, ErrorKind, Value, context};
use serde_json::{Value as Json, json};

use crate::model::directory::{Files, ModelDirectory};
use crate::model::{Error as ModelError, line};
use crate::text::python_date::strftime;
use crate::text::python_json::{Layout, dumps};
use crate::text::reasoning::ReasoningFormat;
use crate::text::tool_calls::format::{PROBE_ID, PROBE_KEY, PROBE_NAME, ToolCallFormat};

const NAME: &str = "chat_template";

/// Instructions of one rendering, at most: a template is a program, and might not end. Those in use take a hundred for a
/// message.
const INSTRUCTIONS_MAX: u64 = 5_000_000;

/// Longest text that a template may write: no body of a request is as long.
pub const TEXT_BYTES_MAX: usize = 64 << 20;

/// Spaces by which `tojson` indents, at most.
const INDENT_MAX: usize = 64;

/// Why a conversation has no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: the chat template refuses these messages: {}", line(reason))]
pub struct RenderError {
    file: &'static str,
    reason: String,
}

/// A model's chat template.
#[derive(Debug)]
pub struct Template {
    /// The file that it is in.
    file: &'static str,
    environment: Environment<'static>,
    /// Name of the one for requests with tools, where there are two.
    with_tools: &'static str,
    special_tokens: Object,
    /// Whether it shows tools to the model.
    pub takes_tools: bool,
    /// How it writes tool calls; `None`: in no way that is known.
    pub tool_calls: Option<&'static ToolCallFormat>,
    /// How its model reasons before an answer; `None`: it does not.
    pub reasoning: Option<&'static ReasoningFormat>,
}

/// What is rendered.
#[derive(Debug)]
pub struct Conversation<'a> {
    /// The messages, their contents flattened to text.
    pub messages: &'a [Object],
    /// What the model may call.
    pub tools: Option<&'a [Object]>,
    /// Whether the template opens the answer.
    pub add_generation_prompt: bool,
    /// Whether the last message is to be continued.
    pub continue_final_message: bool,
    /// Further variables.
    pub variables: Option<&'a Object>,
    /// The time, for templates that say it; since 1970.
    pub now: Duration,
}

impl Template {
    /// Reads the template, wherever the checkpoint keeps it; `None` where it has none.
    ///
    /// # Errors
    /// When it is no template.
    pub fn open(directory: &ModelDirectory) -> Result<Option<Self>, ModelError> {
        let files = &directory.files;
        let tokenizer_config = files.json("tokenizer_config.json")?.unwrap_or_default();
        let Some(sources) = sources(files, &tokenizer_config)? else {
            return Ok(None);
        };
        let file = sources.file;
        let special_tokens = special_tokens(&tokenizer_config);
        match Self::new(sources, special_tokens) {
            Ok(template) => Ok(Some(template)),
            Err(error) => Err(ModelError::File {
                file: files.path(file),
                reason: format!("the chat template cannot be read: {error:#}"),
            }),
        }
    }

    fn new(sources: Sources, special_tokens: Object) -> Result<Self, minijinja::Error> {
        let mut environment = environment();
        let both = format!(
            "{}{}",
            sources.plain,
            sources.with_tools.as_deref().unwrap_or_default()
        );
        environment.add_template_owned(NAME, without_generation_tags(&sources.plain))?;
        let mut with_tools = NAME;
        if let Some(source) = &sources.with_tools {
            with_tools = "tool_use";
            environment.add_template_owned(with_tools, without_generation_tags(source))?;
        }
        let mut template = Self {
            file: sources.file,
            environment,
            with_tools,
            special_tokens,
            takes_tools: both.contains("tools"),
            tool_calls: None,
            reasoning: ReasoningFormat::of(&both),
        };
        template.tool_calls = template.probe();
        Ok(template)
    }

    /// Has it write a conversation with a call, and looks how the call is written. What it says about calls in words may be of
    /// any model.
    fn probe(&self) -> Option<&'static ToolCallFormat> {
        let schema = json!({"type": "object", "properties": {PROBE_KEY: {"type": "integer", "description": ""}}, "required": []});
        let function = json!({"name": PROBE_NAME, "description": "", "parameters": schema});
        let call = json!({"name": PROBE_NAME, "arguments": {PROBE_KEY: 1}});
        let call = json!({"id": PROBE_ID, "type": "function", "function": call});
        let object = |value: Json| value.as_object().cloned().unwrap_or_default();
        let tools = [object(json!({"type": "function", "function": function}))];
        let messages = [
            object(json!({"role": "user", "content": "?"})),
            object(json!({"role": "assistant", "content": "", "tool_calls": [call]})),
        ];
        let written = self.render(&Conversation {
            messages: &messages,
            tools: Some(&tools),
            add_generation_prompt: false,
            continue_final_message: false,
            variables: None,
            now: Duration::ZERO,
        });
        ToolCallFormat::written_in(&written.ok()?)
    }

    /// The prompt's text.
    ///
    /// # Errors
    /// When the template raises, for example because roles do not alternate.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, RenderError> {
        let failed = |error: minijinja::Error| match error.kind() {
            ErrorKind::OutOfFuel => self.refuse(format!(
                "it has not ended after {INSTRUCTIONS_MAX} instructions"
            )),
            _ => self.refuse(format!("{error:#}")),
        };
        let tools = conversation.tools.filter(|tools| !tools.is_empty());
        let name = if tools.is_some() {
            self.with_tools
        } else {
            NAME
        };
        let now = conversation.now;
        let given = context! {
            messages => Value::from(Serde(conversation.messages)),
            tools => tools.map(|tools| Value::from(Serde(tools))),
            add_generation_prompt => conversation.add_generation_prompt,
            strftime_now => Value::from_function(move |format: &str| strftime(format, now.as_secs())),
        };
        let asked = conversation
            .variables
            .map(|variables| Value::from(Serde(variables)));
        let special = Value::from(Serde(&self.special_tokens));
        let all = merge_maps([given, asked.unwrap_or_default(), special]);
        let template = self.environment.get_template(name).map_err(failed)?;
        let mut written = Bounded::default();
        let rendered = template.render_captured_to(all, &mut written);
        if written.is_full {
            return Err(self.refuse(format!("it writes more than {TEXT_BYTES_MAX} bytes")));
        }
        rendered.map_err(failed)?;
        let text = String::from_utf8(written.text);
        let mut text = text.map_err(|error| self.refuse(error.to_string()))?;
        if conversation.continue_final_message {
            let cut = cut_after_last(&mut text, conversation.messages);
            cut.map_err(|reason| self.refuse(reason.to_owned()))?;
        }
        Ok(text)
    }

    fn refuse(&self, reason: String) -> RenderError {
        RenderError {
            file: self.file,
            reason,
        }
    }
}

/// Text up to [`TEXT_BYTES_MAX`].
#[derive(Debug, Default)]
struct Bounded {
    text: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= self.text.len() + bytes.len() > TEXT_BYTES_MAX;
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the text where the last message's content ends.
fn cut_after_last(text: &mut String, messages: &[Object]) -> Result<(), &'static str> {
    let last = messages.last().and_then(|message| message.get("content"));
    let content = last.and_then(Json::as_str).unwrap_or_default();
    let trimmed = content.trim();
    let Some(at) = text.rfind(trimmed).filter(|_| !trimmed.is_empty()) else {
        return Err(
            "the last message has no content that the prompt shows, so it cannot be continued",
        );
    };
    let whole = content.trim_start();
    let length = if text[at..].starts_with(whole) {
        whole.len()
    } else {
        trimmed.len()
    };
    text.truncate(at + length);
    Ok(())
}

/// The template's text, and a second one for requests with tools where there are two.
#[derive(Debug, Default)]
struct Sources {
    /// Where it stands.
    file: &'static str,
    plain: String,
    with_tools: Option<String>,
}

/// Finds the template: a file of its own stands above the field.
fn sources(files: &Files, tokenizer_config: &Object) -> Result<Option<Sources>, ModelError> {
    const OWN: &str = "chat_template.jinja";
    const CONFIG: &str = "tokenizer_config.json";
    if let Some(bytes) = files.bytes(OWN)? {
        let plain = String::from_utf8(bytes.into_owned()).map_err(|error| ModelError::File {
            file: files.path(OWN),
            reason: format!("is no UTF-8 text: {error}"),
        })?;
        return Ok(Some(Sources {
            file: OWN,
            plain,
            with_tools: None,
        }));
    }
    let named = |list: &[Json], name: &str| {
        let found = list.iter().find(|entry| entry["name"] == name)?;
        found["template"].as_str().map(str::to_owned)
    };
    let (plain, with_tools) = match tokenizer_config.get(NAME) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(plain)) => (Some(plain.clone()), None),
        Some(Json::Array(list)) => (named(list, "default"), named(list, "tool_use")),
        Some(_) => (None, None),
    };
    match plain {
        Some(plain) => Ok(Some(Sources {
            file: CONFIG,
            plain,
            with_tools,
        })),
        None => Err(ModelError::Field {
            file: files.path(CONFIG),
            field: NAME.to_owned(),
            reason: "is a text, or a list of named templates of which one is \"default\""
                .to_owned(),
        }),
    }
}

/// `bos_token` and the like, as text.
fn special_tokens(tokenizer_config: &Object) -> Object {
    let text = |value: &Json| match value {
        Json::String(_) => Some(value.clone()),
        Json::Object(token) => token.get("content").cloned(),
        _ => None,
    };
    ["bos_token", "eos_token", "pad_token", "unk_token"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), text(tokenizer_config.get(name)?)?)))
        .collect()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_fuel(Some(INSTRUCTIONS_MAX));
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: String| -> Result<Value, _> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment
}

fn tojson(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    if value.kind() == ValueKind::Undefined {
        let message = "what is not defined has no JSON form";
        return Err(minijinja::Error::new(ErrorKind::UndefinedError, message));
    }
    let indent = options.get::<Option<usize>>("indent")?;
    if indent.is_some_and(|indent| indent > INDENT_MAX) {
        let message = format!("tojson indents by at most {INDENT_MAX}");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
    }
    let layout = Layout {
        indent,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
    };
    options.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from(dumps(&json, layout)))
}

/// Replaces the tag that marks for training what the model itself says, keeping its whitespace control.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, inside) = rest.split_at(start + 2);
        let Some((inner, after)) = inside.split_once("%}") else {
            break;
        };
        let word = inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replaced = match word {
            "generation" => inner.replace(word, "if true"),
            "endgeneration" => inner.replace(word, "endif"),
            _ => inner.to_owned(),
        };
        text.extend([before, &replaced, "%}"]);
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests;
