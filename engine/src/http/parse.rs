//! From a request's fields to rules that the core takes. Owns: that the ranges hold, the defaults and which of them stands
//! above which; a refusal names the field.

use std::fmt::Display;
use std::ops::RangeInclusive;

use lps_api::openai::limits::{
    CHOICES, LOGIT_BIAS, LOGPROBS, MIN_P, OUTPUT_TOKENS, PENALTY, PRIORITY, REPETITION_PENALTY,
    SALT_BYTES_MAX, STOP_BYTES_MAX, STOP_TOKENS_MAX, STOPS_MAX, TEMPERATURE, TOP_K, TOP_P,
};
use lps_api::openai::{ChatRequest, CompletionRequest, Generation};
use lps_api::protocol::{RESUME_FIELD, Resume};
use lps_engine_core::request::{SamplingParams, TokenId};

use super::error::Error;
use crate::model::directory::GenerationDefaults;
use crate::model::embedding::Embedding;
use crate::text::choice::TextRules;

/// OpenAI's default for plain prompts.
const COMPLETION_TOKENS: u32 = 16;

/// What the served model allows and prefers.
#[derive(Debug, Clone)]
pub struct ModelFacts {
    /// Its name.
    pub name: String,
    /// Longest prompt plus output.
    pub max_model_len: u32,
    /// Tokens that it knows.
    pub vocab_size: u32,
    /// Tokens that end an answer.
    pub end_tokens: Vec<TokenId>,
    /// Sampling defaults.
    pub generation: GenerationDefaults,
    /// What its vectors are like, if it makes any: then it makes no text.
    pub embedding: Option<Embedding>,
}

/// A request's rules, checked.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) return_token_ids: bool,
    pub(super) choices: u32,
    /// `None`: to the end of the context.
    pub(super) max_tokens: Option<u32>,
    pub(super) min_tokens: u32,
    pub(super) stop_tokens: Vec<TokenId>,
    /// The seed is set where the client gave one.
    pub(super) sampling: SamplingParams,
    pub(super) has_seed: bool,
    pub(super) text: TextRules,
    pub(super) cache_salt: Option<String>,
    pub(super) priority: u8,
    /// What the client has already.
    pub(super) resume: Option<Resume>,
}

/// Rules of a chat.
pub(super) fn chat(request: &ChatRequest, facts: &ModelFacts) -> Result<Rules, Error> {
    let newer = request.max_completion_tokens;
    let (field, limit) = match newer {
        Some(_) => ("max_completion_tokens", newer),
        None => ("max_tokens", request.generation.max_tokens),
    };
    let max_tokens = tokens_max(field, limit)?;
    let mut rules = generation(&request.generation, facts, max_tokens)?;
    let wanted = request.logprobs.unwrap_or(false);
    let top = in_range("top_logprobs", request.top_logprobs, LOGPROBS)?;
    if top.is_some() && !wanted {
        return Err(Error::invalid(
            "top_logprobs",
            "top_logprobs needs logprobs: true",
        ));
    }
    rules.sampling.logprobs = wanted.then(|| top.unwrap_or(0) as u32);
    Ok(rules)
}

/// Rules of a plain prompt.
pub(super) fn completion(request: &CompletionRequest, facts: &ModelFacts) -> Result<Rules, Error> {
    let limit = tokens_max("max_tokens", request.generation.max_tokens)?;
    let max_tokens = Some(limit.unwrap_or(COMPLETION_TOKENS));
    let mut rules = generation(&request.generation, facts, max_tokens)?;
    let logprobs = in_range("logprobs", request.logprobs, LOGPROBS)?;
    rules.sampling.logprobs = logprobs.map(|count| count as u32);
    if request.echo == Some(true) {
        let message = "echo is not supported: the prompt is not repeated in the answer";
        return Err(Error::unsupported("echo", message));
    }
    if request
        .suffix
        .as_ref()
        .is_some_and(|suffix| !suffix.is_empty())
    {
        return Err(Error::unsupported("suffix", "suffix is not supported"));
    }
    if request
        .best_of
        .is_some_and(|best| best != i64::from(rules.choices))
    {
        let message = "best_of is not supported, unless it is equal to n";
        return Err(Error::unsupported("best_of", message));
    }
    Ok(rules)
}

/// Refuses a model that is not the served one.
pub(super) fn check_model(asked: Option<&str>, facts: &ModelFacts) -> Result<(), Error> {
    match asked {
        Some(asked) if asked != facts.name => Err(Error::unknown_model(asked, &facts.name)),
        _ => Ok(()),
    }
}

/// Refuses a model that makes no text.
pub(super) fn check_makes_text(facts: &ModelFacts) -> Result<(), Error> {
    match facts.embedding {
        None => Ok(()),
        Some(_) => {
            let message = format!(
                "model {:?} makes vectors, not text; ask /v1/embeddings",
                facts.name
            );
            Err(Error::unsupported("model", message))
        }
    }
}

/// Refuses token ids that the model does not know.
pub(super) fn check_tokens(
    field: &str,
    tokens: &[TokenId],
    facts: &ModelFacts,
) -> Result<(), Error> {
    let unknown = tokens.iter().find(|token| **token >= facts.vocab_size);
    unknown.map_or(Ok(()), |token| {
        let most = facts.vocab_size - 1;
        Err(Error::invalid(
            field,
            format!("{field} has token id {token}; the model knows 0 to {most}"),
        ))
    })
}

fn generation(
    request: &Generation,
    facts: &ModelFacts,
    max_tokens: Option<u32>,
) -> Result<Rules, Error> {
    let most = max_tokens
        .unwrap_or(facts.max_model_len)
        .min(facts.max_model_len);
    let min_tokens = in_range("min_tokens", request.min_tokens, 0..=i64::from(most))?;
    let choices = in_range("n", request.n, CHOICES)?;
    let priority = in_range("priority", request.priority, PRIORITY)?;
    Ok(Rules {
        stream: request.stream.unwrap_or(false),
        include_usage: request
            .stream_options
            .is_some_and(|options| options.include_usage == Some(true)),
        return_token_ids: request.return_token_ids.unwrap_or(false),
        choices: choices.unwrap_or(1) as u32,
        max_tokens,
        min_tokens: min_tokens.unwrap_or(0) as u32,
        stop_tokens: stop_tokens(request, facts)?,
        sampling: sampling(request, facts)?,
        has_seed: request.seed.is_some(),
        text: TextRules {
            stops: stops(request)?,
            include_stop: request.include_stop_str_in_output.unwrap_or(false),
            skip_special: request.skip_special_tokens.unwrap_or(true),
            reasoning: None,
            tools: None,
        },
        cache_salt: salt(request)?,
        priority: priority.unwrap_or(0) as u8,
        resume: resume(request, facts)?,
    })
}

fn resume(request: &Generation, facts: &ModelFacts) -> Result<Option<Resume>, Error> {
    let Some(resume) = &request.lps_resume else {
        return Ok(None);
    };
    if request.stream != Some(true) || request.n.is_some_and(|n| n != 1) {
        let message = format!("{RESUME_FIELD} is for streams of one choice");
        return Err(Error::invalid(RESUME_FIELD, message));
    }
    check_tokens(RESUME_FIELD, &resume.tokens, facts)?;
    Ok(Some(resume.clone()))
}

/// The request's fields over the model's own defaults over OpenAI's.
fn sampling(request: &Generation, facts: &ModelFacts) -> Result<SamplingParams, Error> {
    let model = &facts.generation;
    let temperature = real("temperature", request.temperature, TEMPERATURE)?;
    let top_p = real("top_p", request.top_p, TOP_P)?;
    let top_p = top_p.or(model.top_p).unwrap_or(1.0);
    let top_k = in_range("top_k", request.top_k, TOP_K)?;
    let top_k = top_k.map(|k| u32::try_from(k).unwrap_or(0));
    let repetition = real(
        "repetition_penalty",
        request.repetition_penalty,
        REPETITION_PENALTY,
    )?;
    if repetition == Some(*REPETITION_PENALTY.start() as f32) {
        return Err(Error::invalid(
            "repetition_penalty",
            "repetition_penalty is above 0",
        ));
    }
    let frequency = real("frequency_penalty", request.frequency_penalty, PENALTY)?;
    let presence = real("presence_penalty", request.presence_penalty, PENALTY)?;
    Ok(SamplingParams {
        repetition_penalty: repetition.or(model.repetition_penalty).unwrap_or(1.0),
        frequency_penalty: frequency.unwrap_or(0.0),
        presence_penalty: presence.unwrap_or(0.0),
        logit_bias: logit_bias(request, facts)?,
        temperature: temperature.or(model.temperature).unwrap_or(1.0),
        top_k: top_k.or(model.top_k).unwrap_or(0),
        // Of nothing, the most likely token is left.
        top_p: top_p.max(f32::MIN_POSITIVE),
        min_p: real("min_p", request.min_p, MIN_P)?
            .or(model.min_p)
            .unwrap_or(0.0),
        seed: request.seed.unwrap_or(0).cast_unsigned(),
        logprobs: None,
    })
}

fn logit_bias(request: &Generation, facts: &ModelFacts) -> Result<Vec<(TokenId, f32)>, Error> {
    const FIELD: &str = "logit_bias";
    let entries = request.logit_bias.iter().flatten().map(|(key, bias)| {
        let token: TokenId = key.parse().map_err(|_| {
            Error::invalid(
                FIELD,
                format!("logit_bias has key {key:?}, which is no token id"),
            )
        })?;
        check_tokens(FIELD, &[token], facts)?;
        let bias = real(FIELD, Some(*bias), LOGIT_BIAS)?.unwrap_or(0.0);
        Ok((token, bias))
    });
    entries.collect()
}

fn stops(request: &Generation) -> Result<Vec<String>, Error> {
    let stops = request
        .stop
        .as_ref()
        .map_or(&[][..], |stop| stop.as_slice());
    if stops.len() > STOPS_MAX {
        return Err(Error::invalid(
            "stop",
            format!(
                "stop has {} texts, at most {STOPS_MAX} are taken",
                stops.len()
            ),
        ));
    }
    if stops
        .iter()
        .any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX)
    {
        return Err(Error::invalid(
            "stop",
            format!("a stop text has 1 to {STOP_BYTES_MAX} bytes"),
        ));
    }
    Ok(stops.to_vec())
}

fn stop_tokens(request: &Generation, facts: &ModelFacts) -> Result<Vec<TokenId>, Error> {
    const FIELD: &str = "stop_token_ids";
    let given = request.stop_token_ids.as_deref().unwrap_or_default();
    if given.len() > STOP_TOKENS_MAX {
        return Err(Error::invalid(
            FIELD,
            format!("at most {STOP_TOKENS_MAX} stop_token_ids are taken"),
        ));
    }
    let most = i64::from(facts.vocab_size) - 1;
    let mut tokens = Vec::new();
    for token in given {
        tokens.extend(in_range(FIELD, Some(*token), 0..=most)?.map(|token| token as TokenId));
    }
    if request.ignore_eos != Some(true) {
        tokens.extend(&facts.end_tokens);
    }
    Ok(tokens)
}

fn salt(request: &Generation) -> Result<Option<String>, Error> {
    let salt = request.cache_salt.clone();
    if salt
        .as_ref()
        .is_some_and(|salt| salt.is_empty() || salt.len() > SALT_BYTES_MAX)
    {
        return Err(Error::invalid(
            "cache_salt",
            format!("cache_salt has 1 to {SALT_BYTES_MAX} bytes"),
        ));
    }
    Ok(salt)
}

fn tokens_max(field: &str, value: Option<i64>) -> Result<Option<u32>, Error> {
    Ok(in_range(field, value, OUTPUT_TOKENS)?.map(|tokens| tokens as u32))
}

pub(super) fn in_range(
    field: &str,
    value: Option<i64>,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, Error> {
    match value {
        Some(value) if !range.contains(&value) => Err(outside(field, value, &range)),
        value => Ok(value),
    }
}

fn real(field: &str, value: Option<f64>, range: RangeInclusive<f64>) -> Result<Option<f32>, Error> {
    match value {
        Some(value) if !range.contains(&value) => Err(outside(field, value, &range)),
        value => Ok(value.map(|value| value as f32)),
    }
}

fn outside<T: Display>(field: &str, value: T, range: &RangeInclusive<T>) -> Error {
    let (least, most) = (range.start(), range.end());
    Error::invalid(field, format!("{field} is {least} to {most}, not {value}"))
}
