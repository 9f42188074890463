//! `/v1/embeddings`. Owns: the way of a request from its bytes to its vectors: which texts, how long, how many, in which
//! form the answer has them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lps_api::openai::limits::PRIORITY;
use lps_api::openai::{Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage, Prompt, Vector};
use lps_api::protocol::CallUsage;
use lps_api::quantity::Order;
use lps_engine_core::embedding::{Request, Unfinished};
use lps_engine_core::request::TokenId;

use super::error::Error;
use super::identity::Identity;
use super::{Shared, object, parse};
use crate::model::embedding::{self, Shortening, TOKENS_MAX};
use crate::text::tokenizer::Tokenizer;

type Received = Result<Bytes, BytesRejection>;
type Texts = Vec<Arc<[TokenId]>>;

const INPUT: &str = "input";
/// OpenAI's.
const TEXTS_MAX: usize = 2048;
/// Of one text, before it is tokenised: no model's context is as long.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Texts up to this size in all are tokenised where they are; longer ones on a thread where blocking is no harm.
const INLINE_BYTES_MAX: usize = 4096;
/// Numbers up to so many are written where they are; more on such a thread.
const INLINE_NUMBERS_MAX: usize = 4096;

/// How the answer is to look.
#[derive(Debug, Clone, Copy)]
struct Form {
    base64: bool,
    /// Numbers of each vector.
    dimensions: usize,
    normalise: bool,
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Received,
) -> Result<Response, Error> {
    shared.check_open()?;
    let request = EmbeddingRequest::read(object(body)?)?;
    parse::check_model(request.model.as_deref(), &shared.facts)?;
    let Some(embedding) = &shared.facts.embedding else {
        let name = &shared.facts.name;
        let message = format!("model {name:?} makes text, not vectors; ask /v1/chat/completions");
        return Err(Error::unsupported("model", message));
    };
    let form = form(&request, embedding)?;
    let priority = parse::in_range("priority", request.priority, PRIORITY)?;
    let identity = Identity::read(&headers, &shared.mint())?;
    let texts = texts(request.input, &shared).await?;
    let open = shared.engine.embed(Request {
        call: identity.call,
        attempt: identity.attempt,
        program: identity.program,
        order: identity.order.unwrap_or_else(|| Order {
            queue: priority.unwrap_or(0) as u8,
            rank: shared.arrival(),
        }),
        texts,
    });
    let ended = open.await?.end().await;
    let ended = ended.map_err(|_| Error::engine_failed())?;
    let model = shared.facts.name.clone();
    let vectors = ended.vectors.map_err(|unfinished| match unfinished {
        Unfinished::Cancelled => Error::cancelled(ended.usage),
        Unfinished::Failed(failure) => Error::numeric(&model, failure, ended.usage),
    })?;
    let numbers = form.dimensions * vectors.len();
    let write = move || answer(vectors, form, (model, ended.usage));
    let json = if numbers <= INLINE_NUMBERS_MAX {
        write()
    } else {
        let written = tokio::task::spawn_blocking(write);
        written.await.map_err(|_| Error::engine_failed())?
    };
    let content_type = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, content_type)], json).into_response())
}

fn form(request: &EmbeddingRequest, made: &embedding::Embedding) -> Result<Form, Error> {
    const FORMAT: &str = "encoding_format";
    const DIMENSIONS: &str = "dimensions";
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "encoding_format is \"float\" or \"base64\"";
            return Err(Error::invalid(FORMAT, message));
        }
    };
    let all = made.dimensions;
    let asked = parse::in_range(DIMENSIONS, request.dimensions, 1..=i64::from(all))?;
    let asked = asked.map_or(all, |asked| asked as u32);
    let refuse = |message: String| Err(Error::unsupported(DIMENSIONS, message));
    match &made.shortening {
        _ if asked == all => {}
        Shortening::Any => {}
        Shortening::To(lengths) if lengths.contains(&asked) => {}
        Shortening::To(lengths) => {
            return refuse(format!(
                "dimensions is {asked}; the model was trained for {lengths:?} and {all}"
            ));
        }
        Shortening::None => {
            return refuse(format!(
                "the model's vectors have {all} numbers and cannot be cut: it was not trained for that"
            ));
        }
    }
    Ok(Form {
        base64,
        dimensions: asked as usize,
        normalise: made.normalise,
    })
}

/// The texts as token ids. Token ids are taken as they are; texts get the model's special tokens.
async fn texts(input: Option<Prompt>, shared: &Shared) -> Result<Texts, Error> {
    let lists = match input {
        None => {
            let message = "input is missing: a text, token ids, or a list of either";
            return Err(Error::invalid(INPUT, message));
        }
        Some(Prompt::Text(text)) => encoded(vec![text], shared).await?,
        Some(Prompt::Texts(texts)) => encoded(texts, shared).await?,
        // As JSON has it, an empty list is one of anything.
        Some(Prompt::Tokens(tokens)) if tokens.is_empty() => Vec::new(),
        Some(Prompt::Tokens(tokens)) => vec![tokens],
        Some(Prompt::TokenLists(lists)) => lists,
    };
    check_count(lists.len())?;
    let limit = shared.facts.max_model_len;
    let mut sum = 0;
    for (index, tokens) in lists.iter().enumerate() {
        if tokens.is_empty() {
            return Err(empty(index));
        }
        if tokens.len() > limit as usize {
            return Err(Error::text_too_long(INPUT, (index, tokens.len()), limit));
        }
        parse::check_tokens(INPUT, tokens, &shared.facts)?;
        sum += tokens.len();
    }
    if sum > TOKENS_MAX as usize {
        let message = format!("input has {sum} tokens in all; at most {TOKENS_MAX} are taken");
        return Err(Error::invalid(INPUT, message));
    }
    Ok(lists.into_iter().map(Arc::from).collect())
}

fn check_count(texts: usize) -> Result<(), Error> {
    if (1..=TEXTS_MAX).contains(&texts) {
        return Ok(());
    }
    let message = format!("input has {texts} texts; 1 to {TEXTS_MAX} are taken");
    Err(Error::invalid(INPUT, message))
}

fn empty(index: usize) -> Error {
    Error::invalid(INPUT, format!("input[{index}] is empty"))
}

async fn encoded(texts: Vec<String>, shared: &Shared) -> Result<Vec<Vec<TokenId>>, Error> {
    check_count(texts.len())?;
    let tokenizer = Arc::clone(&shared.text.tokenizer);
    let limit = shared.facts.max_model_len;
    for (index, text) in texts.iter().enumerate() {
        if text.is_empty() {
            return Err(empty(index));
        }
        if text.len() > TEXT_BYTES_MAX {
            let bytes = text.len();
            let message =
                format!("input[{index}] has {bytes} bytes; at most {TEXT_BYTES_MAX} are taken");
            return Err(Error::invalid(INPUT, message));
        }
        let least = tokenizer.tokens_min(text.len());
        if least > limit as usize {
            return Err(Error::text_too_long(INPUT, (index, least), limit));
        }
    }
    let prompt = shared.facts.embedding.as_ref();
    let prompt = prompt.map_or(String::new(), |made| made.prompt.clone());
    let bytes = texts.iter().map(String::len).sum();
    let encode = move || encode_all(&texts, &prompt, &tokenizer);
    let lists = if bytes <= INLINE_BYTES_MAX {
        encode()
    } else {
        let encoded = tokio::task::spawn_blocking(encode);
        encoded.await.map_err(|_| Error::engine_failed())?
    }?;
    shared
        .engine
        .tokenised(bytes, lists.iter().map(Vec::len).sum());
    Ok(lists)
}

fn encode_all(
    texts: &[String],
    prompt: &str,
    tokenizer: &Tokenizer,
) -> Result<Vec<Vec<TokenId>>, Error> {
    let encode = |text: &String| {
        let encoded = if prompt.is_empty() {
            tokenizer.encode(text, true)
        } else {
            tokenizer.encode(&format!("{prompt}{text}"), true)
        };
        encoded.map_err(|error| Error::invalid(INPUT, error.to_string()))
    };
    texts.iter().map(encode).collect()
}

fn answer(vectors: Vec<Vec<f32>>, form: Form, (model, usage): (String, CallUsage)) -> Vec<u8> {
    let written = vectors.into_iter().zip(0..).map(|(mut vector, index)| {
        vector.truncate(form.dimensions);
        if form.normalise {
            embedding::normalise(&mut vector);
        }
        Embedding {
            object: "embedding".to_owned(),
            index,
            embedding: if form.base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|n| n.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            } else {
                Vector::Floats(vector)
            },
        }
    });
    let list = EmbeddingList {
        object: "list".to_owned(),
        data: written.collect(),
        model,
        usage: EmbeddingUsage {
            prompt_tokens: usage.prompt_tokens.0,
            total_tokens: usage.prompt_tokens.0,
        },
        lps: Some(usage),
    };
    serde_json::to_vec(&list).expect("an answer has text, lists and numbers")
}
