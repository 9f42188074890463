//! What a request wants its answer to look like. Owns: the fields that say so (`response_format`, `structured_outputs`,
//! `tools`, `tool_choice`) and which of them exclude each other. A refusal names the field.

use lps_api::openai::{ChatRequest, Generation, Object};
use lps_engine_core::model::Matcher;
use serde_json::{Value, json};

use super::Shared;
use super::error::Error;
use super::parse::Rules;
use crate::text::grammar::{Calls, Form, Shape, Tool};
use crate::text::template::Template;
use crate::text::tool_calls::format::ToolCallFormat;

const FORMAT: &str = "response_format";
const STRUCTURED: &str = "structured_outputs";
const CHOICE: &str = "tool_choice";
const TOOLS: &str = "tools";
/// Choices of all prompts of one request that may have a form: each has a grammar's state of its own.
const CHOICES_MAX: u32 = 64;

/// One for each choice of all prompts; none where there is no form.
pub(super) type Matchers = Vec<Box<dyn Matcher>>;

/// The tools of a chat.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tools<'a> {
    /// Those that the model is shown; none where the request forbids calls.
    pub(super) shown: Option<&'a [Object]>,
    /// Whether it must call one.
    forced: Forced<'a>,
    /// Whether its answer has at most one call.
    pub(super) only_one: bool,
    /// How calls are told from text; `None`: they are not.
    pub(super) format: Option<&'static ToolCallFormat>,
}

impl Tools<'_> {
    /// What the tools are called.
    pub(super) fn names(&self) -> Vec<String> {
        let shown = self.shown.unwrap_or_default().iter();
        let names = shown.filter_map(|tool| tool.get("function")?["name"].as_str());
        names.map(str::to_owned).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forced<'a> {
    No,
    Any,
    Named(&'a str),
}

/// What a request may call and what it must.
pub(super) fn tools<'a>(
    request: &'a ChatRequest,
    template: Option<&Template>,
) -> Result<Tools<'a>, Error> {
    let mut shown = request.tools.as_deref().filter(|tools| !tools.is_empty());
    let forced = match request.tool_choice.as_ref() {
        None => Forced::No,
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Forced::No,
            "none" => {
                shown = None;
                Forced::No
            }
            "required" => Forced::Any,
            _ => return Err(wrong_choice()),
        },
        Some(choice) => {
            let name = choice["function"]["name"].as_str();
            let is_function = choice["type"] == "function";
            Forced::Named(name.filter(|_| is_function).ok_or_else(wrong_choice)?)
        }
    };
    let format = template.and_then(|template| template.tool_calls);
    if shown.is_some() && template.is_some_and(|template| !template.takes_tools) {
        let message = "the model's chat template takes no tools";
        return Err(Error::unsupported(TOOLS, message));
    }
    if forced != Forced::No {
        if shown.is_none() {
            let message = "tool_choice wants a call, but there are no tools";
            return Err(Error::invalid(CHOICE, message));
        }
        if !format.is_some_and(ToolCallFormat::has_grammar) {
            let message = "the format of this model's calls is not known, or has no JSON, so none can \
                           be forced; tool_choice is \"auto\" or \"none\"";
            return Err(Error::unsupported(CHOICE, message));
        }
    }
    Ok(Tools {
        shown,
        forced,
        only_one: request.parallel_tool_calls == Some(false) || matches!(forced, Forced::Named(_)),
        format: format.filter(|_| shown.is_some()),
    })
}

fn wrong_choice() -> Error {
    let message = "tool_choice is \"auto\", \"none\", \"required\" or \
                   {\"type\": \"function\", \"function\": {\"name\": …}}";
    Error::invalid(CHOICE, message)
}

/// What follows the form of a chat's answer in each of its choices.
pub(super) async fn of_chat(
    request: &ChatRequest,
    tools: &Tools<'_>,
    rules: &Rules,
    shared: &Shared,
) -> Result<Matchers, Error> {
    let text = shape(&request.generation)?;
    let (field, text, calls) = match (text, tools.forced) {
        (None, Forced::No) => {
            let has_grammar = tools.format.is_some_and(ToolCallFormat::has_grammar);
            let shown = tools.shown.unwrap_or_default();
            if !has_grammar || !shown.iter().any(is_strict) {
                return Ok(Matchers::new());
            }
            let mut calls = calls(tools)?;
            let callable = calls.iter_mut().flat_map(|calls| &mut calls.tools);
            for (tool, shown) in callable.zip(shown) {
                if !is_strict(shown) {
                    tool.parameters = object_schema();
                }
            }
            (TOOLS, Some(Shape::Any), calls)
        }
        // Who may call tools answers with a call or with such a text.
        (Some((field, shape)), Forced::No) => (field, Some(shape), calls(tools)?),
        (_, Forced::Any | Forced::Named(_)) => (TOOLS, None, calls(tools)?),
    };
    let reasoning = rules.text.reasoning.as_ref();
    let form = Form {
        text,
        calls,
        reasoning: reasoning.map(|reasoning| (reasoning.format, reasoning.stage)),
    };
    check(field, &request.generation, rules.choices)?;
    compiled(field, form, rules.choices, shared).await
}

/// The same of a plain text's choices, over all prompts.
pub(super) async fn of_text(
    generation: &Generation,
    choices: u32,
    shared: &Shared,
) -> Result<Matchers, Error> {
    let Some((field, shape)) = shape(generation)? else {
        return Ok(Matchers::new());
    };
    let form = Form {
        text: Some(shape),
        ..Form::default()
    };
    check(field, generation, choices)?;
    compiled(field, form, choices, shared).await
}

/// What excludes a form.
fn check(field: &str, generation: &Generation, choices: u32) -> Result<(), Error> {
    let ends = "exclude each other: the form says when the text ends";
    if generation.ignore_eos == Some(true) {
        let message = format!("ignore_eos and {field} {ends}");
        return Err(Error::invalid("ignore_eos", message));
    }
    if generation.min_tokens.is_some_and(|tokens| tokens > 0) {
        let message = format!("min_tokens and {field} {ends}");
        return Err(Error::invalid("min_tokens", message));
    }
    if choices > CHOICES_MAX {
        let message =
            format!("{choices} choices with {field}; at most {CHOICES_MAX} of a request are taken");
        return Err(Error::invalid("n", message));
    }
    Ok(())
}

async fn compiled(
    field: &str,
    form: Form,
    choices: u32,
    shared: &Shared,
) -> Result<Matchers, Error> {
    let matchers = shared.text.compiler.matchers(form, choices).await;
    matchers.map_err(|error| Error::invalid(field, format!("{field}: {error}")))
}

/// Whether a call of the tool is held to its schema though nobody forced it.
fn is_strict(tool: &Object) -> bool {
    tool.get("function")
        .is_some_and(|function| function["strict"] == true)
}

/// Tools of which one at least is called; `None` where calls are not told from text.
fn calls(tools: &Tools<'_>) -> Result<Option<Calls>, Error> {
    let (Some(shown), Some(format)) = (tools.shown, tools.format) else {
        return Ok(None);
    };
    let wanted = match tools.forced {
        Forced::Named(name) => Some(name),
        Forced::No | Forced::Any => None,
    };
    let mut callable = Vec::new();
    for (index, tool) in shown.iter().enumerate() {
        let function = tool.get("function");
        let name = function.and_then(|function| function["name"].as_str());
        let Some(name) = name else {
            let message = format!("tools[{index}].function.name is missing or no text");
            return Err(Error::invalid(TOOLS, message));
        };
        if wanted.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let parameters = function.and_then(|function| function.get("parameters"));
        let parameters = parameters.filter(|parameters| !parameters.is_null());
        callable.push(Tool {
            name: name.to_owned(),
            parameters: parameters.cloned().unwrap_or_else(object_schema),
        });
    }
    match (wanted, callable.is_empty()) {
        (Some(wanted), true) => {
            let message = format!("tool_choice names {wanted:?}, which is none of the tools");
            Err(Error::invalid(CHOICE, message))
        }
        _ => Ok(Some(Calls {
            format,
            tools: callable,
            only_one: tools.only_one,
        })),
    }
}

/// What the text must look like, and which field says so.
fn shape(generation: &Generation) -> Result<Option<(&'static str, Shape)>, Error> {
    let format = generation.response_format.as_ref();
    let format = format.map(response_format).transpose()?.flatten();
    let structured = generation.structured_outputs.as_ref();
    let structured = structured.map(structured_outputs).transpose()?;
    match (format, structured) {
        (Some(_), Some(_)) => {
            let message = "structured_outputs and response_format exclude each other";
            Err(Error::invalid(STRUCTURED, message))
        }
        (format, None) => Ok(format.map(|shape| (FORMAT, shape))),
        (None, Some(shape)) => Ok(Some((STRUCTURED, shape))),
    }
}

/// OpenAI's.
fn response_format(format: &Object) -> Result<Option<Shape>, Error> {
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(any_object())),
        Some("json_schema") => {
            let schema = format
                .get("json_schema")
                .and_then(|named| named.get("schema"));
            let schema = schema.filter(|schema| schema.is_object());
            schema
                .map(|schema| Some(Shape::Json(schema.clone())))
                .ok_or_else(|| {
                    let message = "response_format.json_schema.schema is missing or no object";
                    Error::invalid(FORMAT, message)
                })
        }
        _ => {
            let message = "response_format.type is \"text\", \"json_object\" or \"json_schema\"";
            Err(Error::invalid(FORMAT, message))
        }
    }
}

/// vLLM's: one of its fields.
fn structured_outputs(fields: &Object) -> Result<Shape, Error> {
    const KNOWN: &str = "json, json_object, regex, choice or grammar";
    let wrong = |message: String| Error::invalid(STRUCTURED, message);
    let mut given = fields.iter().filter(|(_, value)| !value.is_null());
    let (Some((field, value)), None) = (given.next(), given.next()) else {
        return Err(wrong(format!("structured_outputs has one field: {KNOWN}")));
    };
    let text = || {
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| wrong(format!("structured_outputs.{field} is a text")))
    };
    match field.as_str() {
        "json_object" if *value == Value::Bool(true) => Ok(any_object()),
        "json" => match value {
            Value::Object(_) => Ok(Shape::Json(value.clone())),
            // vLLM takes the schema as a text too.
            Value::String(text) => serde_json::from_str(text)
                .map(Shape::Json)
                .map_err(|error| wrong(format!("structured_outputs.json is no JSON: {error}"))),
            _ => Err(wrong("structured_outputs.json is a schema".to_owned())),
        },
        "regex" => text().map(Shape::Regex),
        "grammar" => text().map(Shape::Lark),
        "choice" => {
            let texts = value.as_array().filter(|texts| !texts.is_empty());
            let texts = texts.and_then(|texts| {
                let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<_>>>()
            });
            let wrong = || wrong("structured_outputs.choice is a list of texts".to_owned());
            texts.map(Shape::Choice).ok_or_else(wrong)
        }
        _ => Err(wrong(format!(
            "structured_outputs.{field} is not known, or not true; there are {KNOWN}"
        ))),
    }
}

fn any_object() -> Shape {
    Shape::Json(object_schema())
}

fn object_schema() -> Value {
    json!({"type": "object"})
}
