//! The small paths: models, tokens, health.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use lps_api::openai::{ChatRequest, CompletionRequest, Model, ModelList, Object, Prompt};
use lps_engine_core::request::TokenId;
use serde_json::{Value, json};

use super::error::Error;
use super::{Shared, object, parse, prompt};

type Received = Result<Bytes, BytesRejection>;

/// `GET /health`.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Result<(), Error> {
    shared.check_open()
}

/// `GET /v1/models`.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<ModelList> {
    Json(ModelList {
        object: "list".to_owned(),
        data: vec![served(&shared)],
    })
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, Error> {
    let Path(id) = id.map_err(|error| Error::invalid("path", error.body_text()))?;
    parse::check_model(Some(&id), &shared.facts)?;
    Ok(Json(served(&shared)))
}

fn served(shared: &Shared) -> Model {
    Model {
        id: shared.facts.name.clone(),
        object: "model".to_owned(),
        created: shared.started_unix_s,
        owned_by: "lps".to_owned(),
        max_model_len: Some(shared.facts.max_model_len),
    }
}

/// `POST /tokenize`: of a `prompt`, or of `messages` as a chat would have it.
pub(super) async fn tokenize(
    State(shared): State<Arc<Shared>>,
    body: Received,
) -> Result<Json<Value>, Error> {
    let object = object(body)?;
    let has = |field: &str| object.get(field).is_some_and(|value| !value.is_null());
    let tokens: Vec<TokenId> = if has("messages") && !has("prompt") {
        let request = ChatRequest::read(object)?;
        parse::check_model(request.generation.model.as_deref(), &shared.facts)?;
        let tools = request.tools.as_deref();
        let (prompts, _) = prompt::of_chat(&request, tools, &shared).await?;
        prompts[0].to_vec()
    } else {
        let CompletionRequest {
            prompt, generation, ..
        } = CompletionRequest::read(object)?;
        parse::check_model(generation.model.as_deref(), &shared.facts)?;
        let Some(Prompt::Text(text)) = prompt else {
            let message = "prompt is a text; or there are messages";
            return Err(Error::invalid("prompt", message));
        };
        let special = generation.add_special_tokens.unwrap_or(true);
        prompt::encode(text, special, "prompt", &shared).await?
    };
    let count = tokens.len();
    Ok(Json(json!({
        "tokens": tokens, "count": count, "max_model_len": shared.facts.max_model_len,
    })))
}

/// `POST /detokenize`.
pub(super) async fn detokenize(
    State(shared): State<Arc<Shared>>,
    body: Received,
) -> Result<Json<Value>, Error> {
    let mut object: Object = object(body)?;
    let tokens = object.remove("tokens").unwrap_or_default();
    let tokens: Vec<TokenId> = serde_json::from_value(tokens).map_err(|error| {
        Error::invalid("tokens", format!("tokens is a list of token ids: {error}"))
    })?;
    parse::check_tokens("tokens", &tokens, &shared.facts)?;
    Ok(Json(
        json!({ "prompt": shared.text.tokenizer.decode(&tokens, false) }),
    ))
}
