//! Messages and tools to a prompt, by the chat template that came with the model. Owns: the dialect of Jinja that
//! transformers gives its templates. Knows nothing of tokens.

use std::sync::Arc;

use minijinja::value::{Kwargs, Serde, merge_maps};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use serde_json::{Map, Value as Json};

use crate::text::python_json;

const NAME: &str = "chat_template";

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The template is not one.
    #[error("{file} is not a chat template: {source}")]
    Template {
        /// Where it stands.
        file: String,
        /// What is wrong with it.
        source: minijinja::Error,
    },
    /// The template refuses the messages, or trips over them.
    #[error("the model's chat template refuses the messages: {0}")]
    Render(String),
    /// `continue_final_message` without something to continue.
    #[error("continue_final_message wants a last message with text, and add_generation_prompt off")]
    NothingToContinue,
}

/// What a prompt is made of.
#[derive(Debug, Clone, Default)]
pub struct Chat {
    /// As the client sent them, each an object with a `role`.
    pub messages: Vec<Json>,
    /// As the client sent them; empty where it sent none.
    pub tools: Vec<Json>,
    /// Ask for the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Leave the last message open, so that the model goes on with it.
    pub continue_final_message: bool,
    /// `chat_template_kwargs`: further variables of the template.
    pub variables: Map<String, Json>,
}

/// A compiled chat template; clones share it.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    /// `bos_token`, `eos_token` and so on, as templates name them.
    special: Map<String, Json>,
}

impl ChatTemplate {
    /// Compiles a template. `special` maps `bos_token` and its like to their texts; `file` names the source in errors.
    ///
    /// # Errors
    /// When the source is no template.
    pub fn compile(source: String, special: Map<String, Json>, file: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the default delimiters are valid"));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", raise_exception);
        environment
            .add_template_owned(NAME, without_generation_tags(&source))
            .map_err(|source| Error::Template { file: file.to_owned(), source })?;
        Ok(Self { environment: Arc::new(environment), special })
    }

    /// Renders the prompt.
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub fn render(&self, chat: &Chat) -> Result<String, Error> {
        let messages: Vec<Json> = chat.messages.iter().cloned().map(for_template).collect();
        let tools = (!chat.tools.is_empty()).then_some(&chat.tools);
        let own = context! {
            messages => Value::from(Serde(&messages)),
            tools => tools.map(|tools| Value::from(Serde(tools))),
            add_generation_prompt => chat.add_generation_prompt && !chat.continue_final_message,
        };
        let [asked, special] = [&chat.variables, &self.special].map(|map| Value::from(Serde(map)));
        let variables = merge_maps([own, asked, special]);
        let text = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(variables))
            .map_err(|error| Error::Render(reason(&error)))?;
        if chat.continue_final_message { left_open(text, &messages) } else { Ok(text) }
    }
}

/// The message of an error and of what caused it, without the template's source.
fn reason(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned)
}

/// A message as templates expect it: parts of text joined, arguments of tool calls as objects.
fn for_template(mut message: Json) -> Json {
    if let Some(parts) = message.get("content").and_then(Json::as_array) {
        let texts: Vec<&str> =
            parts.iter().filter_map(|part| part.get("text").and_then(Json::as_str)).collect();
        let joined = texts.join("\n");
        message["content"] = Json::String(joined);
    }
    let calls = message.get_mut("tool_calls").and_then(Json::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments")) else {
            continue;
        };
        if let Some(Ok(object)) = arguments.as_str().map(serde_json::from_str::<Map<String, Json>>) {
            *arguments = Json::Object(object);
        }
    }
    message
}

/// Cuts the prompt right after the text of the last message.
fn left_open(mut text: String, messages: &[Json]) -> Result<String, Error> {
    let last = messages.last().and_then(|message| message.get("content")).and_then(Json::as_str);
    let last = last.map(str::trim_end).filter(|last| !last.is_empty());
    let end = last.and_then(|last| text.rfind(last).map(|at| at + last.len()));
    text.truncate(end.ok_or(Error::NothingToContinue)?);
    Ok(text)
}

/// `{% generation %}` marks what a trainer learns from; for serving it is a comment.
fn without_generation_tags(source: &str) -> String {
    let mut text = source.to_owned();
    for tag in ["generation", "endgeneration"] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            let block = format!("{open} {tag} {close}");
            text = text.replace(&block, &block.replace('%', "#"));
        }
    }
    text
}

fn tojson(value: &Value, kwargs: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    // Others, such as ensure_ascii, ask for what is done anyway.
    let text = python_json::to_string(value, indent)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(source: &str) -> ChatTemplate {
        ChatTemplate::compile(source.to_owned(), Map::new(), "test").expect("a template")
    }

    fn chat(messages: Json) -> Chat {
        Chat {
            messages: messages.as_array().expect("a list").clone(),
            add_generation_prompt: true,
            ..Chat::default()
        }
    }

    #[test]
    fn the_dialect_is_that_of_transformers() {
        for (source, expected) in [
            ("{{ messages[0].content.upper().strip() }}", "HI"),
            ("{% for m in messages %}\n  {%- if loop.first %}\n{{ m.role }}\n  {%- endif %}\n{% endfor %}", "user"),
            ("{% for m in messages %}{% if true %}{% break %}{% endif %}{% endfor %}x", "x"),
            ("{% generation %}{{ messages[0]['content'] }}{% endgeneration %}", " hi "),
            ("a  {%- generation -%}  b", "ab"),
            ("{{ tools is none }}{{ 'a' if add_generation_prompt }}", "Truea"),
            ("{{ {'b': 1, 'a': ['<', 2]} | tojson }}", "{\"b\": 1, \"a\": [\"<\", 2]}"),
        ] {
            let text = compile(source).render(&chat(json!([{"role": "user", "content": " hi "}]))).expect(source);
            assert_eq!(text, expected, "{source}");
        }
    }

    #[test]
    fn parts_are_joined_and_arguments_are_objects() {
        let template =
            compile("{{ messages[0].content }}|{{ messages[1].tool_calls[0].function.arguments | tojson }}");
        let text = template.render(&chat(json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\":1}"}}]},
        ])));
        assert_eq!(text.expect("a prompt"), "a\nb|{\"x\": 1}");
    }

    #[test]
    fn a_template_can_refuse() {
        let error = compile("{{ raise_exception('roles must alternate') }}").render(&chat(json!([])));
        assert_eq!(
            error.expect_err("refused").to_string(),
            "the model's chat template refuses the messages: roles must alternate"
        );
    }

    #[test]
    fn the_last_message_can_be_left_open() {
        let template = compile("{% for m in messages %}[{{ m.content }}]{% endfor %}");
        let mut open = chat(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "so"}]));
        open.continue_final_message = true;
        assert_eq!(template.render(&open).expect("a prompt"), "[q][so");
    }
}
