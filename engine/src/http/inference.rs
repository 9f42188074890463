//! `/v1/chat/completions` and `/v1/completions`. Owns: the way of a request from its bytes to its answer, whole or in
//! chunks.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lps_api::openai::{ChatRequest, CompletionRequest};
use lps_engine_core::batch::Sampled;
use lps_engine_core::request::TokenId;

use super::answer::{Choice, Closing, Frame, Kind};
use super::checkpoint::Checkpoints;
use super::error::Error;
use super::form::{self, Matchers};
use super::identity::Identity;
use super::parse;
use super::prompt;
use super::running::{Asked, Event, Running};
use super::{Shared, object};
use crate::text::tool_calls::ToolRules;

type Received = Result<Bytes, BytesRejection>;

/// `POST /v1/chat/completions`.
pub(super) async fn chat(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Received,
) -> Result<Response, Error> {
    shared.check_open()?;
    let request = ChatRequest::read(object(body)?)?;
    parse::check_model(request.generation.model.as_deref(), &shared.facts)?;
    parse::check_makes_text(&shared.facts)?;
    let mut rules = parse::chat(&request, &shared.facts)?;
    let tools = form::tools(&request, shared.text.template.as_deref())?;
    let (prompts, reasoning) = prompt::of_chat(&request, tools.shown, &shared).await?;
    let identity = Identity::read(&headers, &shared.mint())?;
    rules.text.reasoning = reasoning;
    rules.text.tools = tools.format.map(|format| ToolRules {
        format,
        call: identity.call.clone(),
        offered: tools.names(),
        only_one: tools.only_one,
    });
    let matchers = form::of_chat(&request, &tools, &rules, &shared).await?;
    let asked = Asked {
        prompts,
        identity,
        rules,
    };
    answer(Kind::Chat, (asked, matchers), shared).await
}

/// `POST /v1/completions`.
pub(super) async fn completions(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Received,
) -> Result<Response, Error> {
    shared.check_open()?;
    let request = CompletionRequest::read(object(body)?)?;
    parse::check_model(request.generation.model.as_deref(), &shared.facts)?;
    parse::check_makes_text(&shared.facts)?;
    let rules = parse::completion(&request, &shared.facts)?;
    let special = request.generation.add_special_tokens.unwrap_or(true);
    let prompts = prompt::of_completion(request.prompt.as_ref(), special, &shared).await?;
    let identity = Identity::read(&headers, &shared.mint())?;
    let choices = (prompts.len() as u32).saturating_mul(rules.choices);
    let matchers = form::of_text(&request.generation, choices, &shared).await?;
    let asked = Asked {
        prompts,
        identity,
        rules,
    };
    answer(Kind::Completion, (asked, matchers), shared).await
}

async fn answer(
    kind: Kind,
    (asked, matchers): (Asked, Matchers),
    shared: Arc<Shared>,
) -> Result<Response, Error> {
    let running = Running::start(&asked, matchers, &shared).await?;
    let Asked {
        prompts,
        identity,
        rules,
    } = asked;
    let prefix = match kind {
        Kind::Chat => "chatcmpl",
        Kind::Completion => "cmpl",
    };
    let resume = rules.resume.as_ref();
    let created = resume.map_or_else(|| shared.unix_s(), |resume| resume.beginning.created);
    let frame = Frame {
        kind,
        id: format!("{prefix}-{}", identity.call),
        created,
        model: shared.facts.name.clone(),
        with_logprobs: rules.sampling.logprobs.is_some(),
        with_token_ids: rules.return_token_ids,
        tokenizer: Arc::clone(&shared.text.tokenizer),
    };
    let prompt = rules.return_token_ids.then(|| Arc::clone(&prompts[0]));
    let choices = prompts.len() * rules.choices as usize;
    if rules.stream {
        let mut chunks = Chunks {
            checkpoints: (identity.by_router && choices == 1)
                .then(|| Checkpoints::new(created, running.seed())),
            running,
            frame,
            prompt,
            include_usage: rules.include_usage,
            choices: vec![None; choices],
            held: None,
            ready: VecDeque::new(),
            is_over: false,
        };
        if let Some(resume) = resume {
            chunks.catch_up(&resume.tokens);
        }
        return Ok(event_stream(chunks));
    }
    whole(running, &frame, prompt.as_deref(), choices).await
}

async fn whole(
    mut running: Running,
    frame: &Frame,
    prompt: Option<&[TokenId]>,
    choices: usize,
) -> Result<Response, Error> {
    let mut choices = vec![Choice::default(); choices];
    let closing = loop {
        match running.next().await {
            Event::Piece { index, piece, end } => choices[index as usize].extend(piece, end),
            Event::Ended {
                usage,
                reasoning_tokens,
            } => break Closing::new(usage, reasoning_tokens),
            Event::Failed(error) => return Err(error),
        }
    };
    let json = frame.whole(choices, prompt, closing);
    let content_type = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, content_type)], json).into_response())
}

/// An answer in chunks. A client that does not read is not computed ahead of its connection, but its tokens wait in the
/// call's own queue; one that leaves drops this, and with it the call.
struct Chunks {
    running: Running,
    frame: Frame,
    /// Told in the first chunk.
    prompt: Option<Arc<[TokenId]>>,
    include_usage: bool,
    /// Of each choice that has begun, the characters of its tokens.
    choices: Vec<Option<u32>>,
    /// A choice's last chunk: if it is the answer's last as well, it carries the figures.
    held: Option<(u32, Choice)>,
    /// Where a router reads.
    checkpoints: Option<Checkpoints>,
    /// Events, each with the comment before it.
    ready: VecDeque<(String, Vec<u8>)>,
    is_over: bool,
}

impl Chunks {
    async fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() {
            if self.is_over {
                return None;
            }
            let event = self.running.next().await;
            self.take(event);
        }
        let mut events = Vec::new();
        for (comment, json) in self.ready.drain(..) {
            events.extend_from_slice(comment.as_bytes());
            events.extend_from_slice(b"data: ");
            events.extend_from_slice(&json);
            events.extend_from_slice(b"\n\n");
        }
        Some(Bytes::from(events))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Piece { index, piece, end } => {
                self.release(Closing::default());
                let begun = &mut self.choices[index as usize];
                let is_first = begun.is_none();
                let offset = begun.unwrap_or(0);
                *begun = Some(offset + self.frame.offset(&piece.tokens));
                let is_last = end.is_some();
                let choice = Choice {
                    piece,
                    end,
                    is_first,
                    is_last,
                    offset,
                };
                if is_last {
                    self.end(index, choice);
                } else {
                    self.show(index, choice, Closing::default());
                }
            }
            Event::Ended {
                usage,
                reasoning_tokens,
            } => {
                let closing = Closing::new(usage, reasoning_tokens);
                if self.include_usage {
                    self.release(Closing::default());
                    self.push(self.frame.usage_chunk(closing));
                } else {
                    self.release(Closing {
                        usage: None,
                        ..closing
                    });
                }
                self.push(b"[DONE]".to_vec());
                self.is_over = true;
            }
            Event::Failed(error) => {
                self.release(Closing::default());
                self.push(error.json());
                self.is_over = true;
            }
        }
    }

    /// A choice's last text goes out before its reason, which has a chunk of its own.
    fn end(&mut self, index: u32, mut choice: Choice) {
        let end = choice.end.take();
        let is_first = choice.is_first;
        if is_first || !choice.piece.is_empty() {
            self.show(index, choice, Closing::default());
        }
        let last = Choice {
            end,
            is_last: true,
            ..Choice::default()
        };
        self.held = Some((index, last));
    }

    fn release(&mut self, closing: Closing) {
        if let Some((index, choice)) = self.held.take() {
            self.show(index, choice, closing);
        }
    }

    fn show(&mut self, index: u32, choice: Choice, closing: Closing) {
        let comment = self.checkpoints.as_mut();
        let comment = comment.map_or_else(String::new, |checkpoints| checkpoints.of(&choice));
        let prompt = self.prompt.take();
        let json = self.frame.chunk(index, choice, prompt.as_deref(), closing);
        self.ready.push_back((comment, json));
    }

    fn push(&mut self, json: Vec<u8>) {
        self.ready.push_back((String::new(), json));
    }

    /// The client has these tokens from another engine, and what comes with the first of them.
    fn catch_up(&mut self, given: &[TokenId]) {
        if given.is_empty() {
            return;
        }
        let sampled = |&token| Sampled {
            token,
            logprobs: None,
        };
        let given: Vec<_> = given.iter().map(sampled).collect();
        self.choices[0] = Some(self.frame.offset(&given));
        self.prompt = None;
    }
}

fn event_stream(chunks: Chunks) -> Response {
    let events = stream::unfold(chunks, async |mut chunks| {
        let bytes = chunks.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), chunks))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(events)).into_response()
}
