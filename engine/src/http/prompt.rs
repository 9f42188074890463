//! From what a client sent to token ids. Owns: what a message may look like, and how long a prompt may be before it is
//! even tokenised.

use std::sync::Arc;
use std::time::Duration;

use lps_api::openai::limits::{MESSAGES_MAX, ROLES};
use lps_api::openai::{ChatRequest, Object, Prompt, REASONING_SWITCHES};
use lps_api::tool_call;
use lps_engine_core::request::TokenId;
use serde_json::Value;

use super::Shared;
use super::error::Error;
use super::parse;
use crate::text::reasoning::ReasoningRules;
use crate::text::template::{Conversation, Template};

/// Texts up to this size are tokenised where they are; longer ones on a thread where blocking is no harm.
const INLINE_BYTES_MAX: usize = 4096;
const PROMPTS_MAX: usize = 256;

/// What clients call the reasoning of an earlier answer.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Prompts as token ids.
pub(super) type Prompts = Vec<Arc<[TokenId]>>;

/// The prompt of a chat, and what it says about reasoning. `tools` are those that the template is shown.
pub(super) async fn of_chat(
    request: &ChatRequest,
    tools: Option<&[Object]>,
    shared: &Shared,
) -> Result<(Prompts, Option<ReasoningRules>), Error> {
    const FIELD: &str = "messages";
    let (text, reasoning) = chat_text(request, tools, shared)?;
    let special = request.generation.add_special_tokens.unwrap_or(false);
    let tokens = encode(text, special, FIELD, shared).await?;
    Ok((vec![checked(tokens, FIELD, shared)?], reasoning))
}

fn chat_text(
    request: &ChatRequest,
    tools: Option<&[Object]>,
    shared: &Shared,
) -> Result<(String, Option<ReasoningRules>), Error> {
    const FIELD: &str = "messages";
    let Some(template) = &shared.text.template else {
        let message = "the model has no chat template, neither chat_template.jinja nor one in \
                       tokenizer_config.json; use /v1/completions";
        return Err(Error::unsupported(FIELD, message));
    };
    let messages = request.messages.as_deref().unwrap_or_default();
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        let message = format!("messages is a list of 1 to {MESSAGES_MAX} messages");
        return Err(Error::invalid(FIELD, message));
    }
    let messages: Vec<Object> = messages
        .iter()
        .enumerate()
        .map(|(index, message)| for_template(message, index, template))
        .collect::<Result<_, _>>()?;
    let continued = request.continue_final_message.unwrap_or(false);
    let opened = request.add_generation_prompt.unwrap_or(!continued);
    if continued && opened {
        let message = "continue_final_message and add_generation_prompt exclude each other";
        return Err(Error::invalid("continue_final_message", message));
    }
    let variables = variables(request);
    let conversation = Conversation {
        messages: &messages,
        tools,
        add_generation_prompt: opened,
        continue_final_message: continued,
        variables: variables.as_ref(),
        now: Duration::from_secs(shared.unix_s()),
    };
    let text = template
        .render(&conversation)
        .map_err(|error| Error::invalid(FIELD, error.to_string()))?;
    let reasoning = template.reasoning.map(|format| {
        let last = messages.last().and_then(|message| message.get("content"));
        ReasoningRules {
            format,
            stage: match last.and_then(Value::as_str).filter(|_| continued) {
                Some(given) => format.stage_after(given),
                None => format.stage(&text),
            },
            is_shown: request.include_reasoning.unwrap_or(true),
        }
    });
    Ok((text, reasoning))
}

/// Variables of the template. Most that can do without reasoning ask for it by one of two names, and know no degrees.
fn variables(request: &ChatRequest) -> Option<Object> {
    let given = request.chat_template_kwargs.as_ref();
    let Some(effort) = &request.reasoning_effort else {
        return given.cloned();
    };
    let mut variables = Object::new();
    variables.insert("reasoning_effort".to_owned(), effort.as_str().into());
    if ["none", "minimal"].contains(&effort.as_str()) {
        for name in REASONING_SWITCHES {
            variables.insert(name.to_owned(), Value::Bool(false));
        }
    }
    variables.extend(given.cloned().unwrap_or_default());
    Some(variables)
}

/// The prompts of a plain request.
pub(super) async fn of_completion(
    prompt: Option<&Prompt>,
    special: bool,
    shared: &Shared,
) -> Result<Prompts, Error> {
    const FIELD: &str = "prompt";
    let mut prompts = Vec::new();
    match prompt {
        None => {}
        Some(Prompt::Text(text)) => {
            prompts.push(encode(text.clone(), special, FIELD, shared).await?);
        }
        Some(Prompt::Tokens(tokens)) => prompts.push(tokens.clone()),
        Some(Prompt::Texts(texts)) => {
            check_count(texts.len())?;
            for text in texts {
                prompts.push(encode(text.clone(), special, FIELD, shared).await?);
            }
        }
        Some(Prompt::TokenLists(lists)) => prompts.clone_from(lists),
    }
    check_count(prompts.len())?;
    prompts
        .into_iter()
        .map(|tokens| checked(tokens, FIELD, shared))
        .collect()
}

fn check_count(prompts: usize) -> Result<(), Error> {
    if (1..=PROMPTS_MAX).contains(&prompts) {
        return Ok(());
    }
    Err(Error::invalid(
        "prompt",
        format!("there are {prompts} prompts; 1 to {PROMPTS_MAX} are taken"),
    ))
}

fn checked(tokens: Vec<TokenId>, field: &str, shared: &Shared) -> Result<Arc<[TokenId]>, Error> {
    let facts = &shared.facts;
    if tokens.is_empty() {
        return Err(Error::invalid(field, format!("{field} has no token")));
    }
    if tokens.len() >= facts.max_model_len as usize {
        return Err(Error::too_long(field, tokens.len(), facts.max_model_len));
    }
    parse::check_tokens(field, &tokens, facts)?;
    Ok(tokens.into())
}

/// Tokens of a text. One that cannot fit is refused before it costs anything.
pub(super) async fn encode(
    text: String,
    special: bool,
    field: &str,
    shared: &Shared,
) -> Result<Vec<TokenId>, Error> {
    let tokenizer = &shared.text.tokenizer;
    let (bytes, limit) = (text.len(), shared.facts.max_model_len);
    let least = tokenizer.tokens_min(bytes);
    if least >= limit as usize {
        return Err(Error::too_long(field, least, limit));
    }
    let encoded = if bytes <= INLINE_BYTES_MAX {
        tokenizer.encode(&text, special)
    } else {
        let tokenizer = Arc::clone(tokenizer);
        let encoded = tokio::task::spawn_blocking(move || tokenizer.encode(&text, special));
        encoded.await.map_err(|_| Error::engine_failed())?
    };
    let tokens = encoded.map_err(|error| Error::invalid(field, error.to_string()))?;
    shared.engine.tokenised(bytes, tokens.len());
    Ok(tokens)
}

/// A message as templates expect it: a role, content as text, arguments of tool calls as objects, reasoning by both of its
/// names.
fn for_template(message: &Object, index: usize, template: &Template) -> Result<Object, Error> {
    let wrong = |what: &str| Error::invalid("messages", format!("messages[{index}]{what}"));
    let mut message = message.clone();
    let role = match message.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.as_str(),
        // A template may drop a message whose role it does not know, without a word.
        _ => return Err(wrong(&format!(".role is one of {}", ROLES.join(", ")))),
    };
    match message.get("content") {
        None | Some(Value::Null) if role != "assistant" => {
            return Err(wrong(&format!(
                ".content is missing; a message of role {role} has one"
            )));
        }
        None | Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            let texts: Option<Vec<_>> = parts.iter().map(text_of).collect();
            let texts = texts.ok_or_else(|| {
                wrong(".content has a part that is no text; this model reads text only")
            })?;
            let joined = texts.join("\n");
            message.insert("content".to_owned(), Value::String(joined));
        }
        Some(_) => return Err(wrong(".content is a text, a list of parts or null")),
    }
    if let Some(calls) = message
        .get_mut("tool_calls")
        .filter(|calls| !calls.is_null())
    {
        let calls = calls
            .as_array_mut()
            .ok_or_else(|| wrong(".tool_calls is a list"))?;
        for call in calls {
            parse_arguments(call);
        }
    }
    let given = REASONING.map(|name| message.get(name).filter(|text| text.is_string()));
    if let Some(text) = given[0].or(given[1]).cloned() {
        message.extend(REASONING.map(|name| (name.to_owned(), text.clone())));
    }
    if template
        .tool_calls
        .is_some_and(|format| format.has_short_ids)
    {
        shorten_ids(&mut message);
    }
    Ok(message)
}

/// Mistral's templates take no longer ids.
fn shorten_ids(message: &mut Object) {
    let shorten = |id: &mut Value| {
        if let Value::String(text) = id {
            *text = tool_call::short(text);
        }
    };
    message.get_mut("tool_call_id").map(shorten);
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    let ids = calls
        .into_iter()
        .flatten()
        .filter_map(|call| call.get_mut("id"));
    ids.for_each(shorten);
}

fn text_of(part: &Value) -> Option<&str> {
    match part.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text") => part.get("text")?.as_str(),
        _ => part.as_str(),
    }
}

/// Clients send the arguments as the text that they were given; templates render objects.
fn parse_arguments(call: &mut Value) {
    let function = call.get_mut("function");
    let Some(arguments) = function.and_then(|function| function.get_mut("arguments")) else {
        return;
    };
    if let Some(Ok(object)) = arguments.as_str().map(serde_json::from_str::<Object>) {
        *arguments = Value::Object(object);
    }
}
