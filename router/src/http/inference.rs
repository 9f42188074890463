//! Chat and plain completions, and vectors. Owns: the way of one call from its request to the dispatcher.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lps_api::ids::CallId;
use lps_api::quantity::Micros;
use lps_api::wellknown::header as known;

use crate::admission::BodyPermit;
use crate::conversations::said::Messages;
use crate::dispatcher::Submission;
use crate::echoes::Echoes;
use crate::engine_client::leg::Outgoing;
use crate::http::answer::{self, Asked};
use crate::http::body::Unread;
use crate::http::context::{Context, header_text, tenant};
use crate::http::error::Error;
use crate::http::facts::{Facts, Form};
use crate::http::shared::{self, Retry, Sharing};
use crate::http::{belonging, body};
use crate::identity::{ClientSays, HeaderSays, identify};
use crate::traces::Said;

/// Headers that go along to the engine when they are there.
const TRACE: [&str; 2] = [known::TRACE, "tracestate"];

/// A request that was read.
pub(super) struct Asking {
    /// What an engine is asked.
    pub(super) body: Bytes,
    /// Of which form that is.
    pub(super) form: Form,
    /// What it echoes of us, where it was looked for already.
    pub(super) echoes: Option<Echoes>,
    /// Room for what the client sent.
    pub(super) room: BodyPermit,
}

/// `POST /v1/chat/completions`.
pub(super) async fn chat(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Unread,
) -> Response {
    answered(&context, &headers, as_written(&context, body, Form::Chat)).await
}

/// `POST /v1/completions`.
pub(super) async fn plain(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Unread,
) -> Response {
    answered(&context, &headers, as_written(&context, body, Form::Plain)).await
}

/// `POST /v1/embeddings`.
pub(super) async fn vectors(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Unread,
) -> Response {
    answered(
        &context,
        &headers,
        as_written(&context, body, Form::Vectors),
    )
    .await
}

/// A request that goes to an engine as it is.
async fn as_written(context: &Context, body: Unread, form: Form) -> Result<Asking, Error> {
    let (body, room) = body::read(context, body).await?;
    Ok(Asking {
        body,
        form,
        echoes: None,
        room,
    })
}

/// The answer to a call, in OpenAI's form whatever form the client's request has.
pub(super) async fn answered(
    context: &Context,
    headers: &HeaderMap,
    asking: impl Future<Output = Result<Asking, Error>>,
) -> Response {
    let (request_id, result) = match request_id(context, headers) {
        Ok(id) => {
            let result = call(context, (headers, &id), asking).await;
            (id, result)
        }
        Err(error) => (context.names.make("request"), Err(error)),
    };
    let mut response = result.unwrap_or_else(|error| {
        context.metrics.refused("invalid");
        error.into_response()
    });
    answer::set(response.headers_mut(), known::REQUEST_ID, &request_id);
    response
}

/// The client's id for its request, or a new one.
fn request_id(context: &Context, headers: &HeaderMap) -> Result<String, Error> {
    match header_text(headers, known::REQUEST_ID)? {
        None => Ok(context.names.make("request")),
        // A request's id obeys the same rule as a call's.
        Some(text) => CallId::parse(text).map(String::from).map_err(|error| {
            let message = format!("{} is not an id: {error}", known::REQUEST_ID);
            Error::invalid(known::REQUEST_ID, message)
        }),
    }
}

async fn call(
    context: &Context,
    (headers, request_id): (&HeaderMap, &str),
    asking: impl Future<Output = Result<Asking, Error>>,
) -> Result<Response, Error> {
    let since = Micros::from(context.clock.now());
    let tenant = tenant(headers)?;
    let says = HeaderSays {
        program: header_text(headers, known::PROGRAM_ID)?,
        thread: header_text(headers, known::THREAD_ID)?,
        call: header_text(headers, known::CALL_ID)?,
        parents: header_text(headers, known::PARENT_CALL_IDS)?,
        client: ClientSays::read(|name| headers.get(name)?.to_str().ok()),
        trace: headers.get(TRACE[0]).and_then(|value| value.to_str().ok()),
    };
    let retry = Retry::read(headers)?;
    let Asking {
        body,
        form,
        echoes,
        room,
    } = asking.await?;
    let (facts, messages) = read(&says, &body, form)?;
    let model = context.pool(&facts.model)?;
    let fresh = retry.fresh.clone();
    let fresh = fresh.unwrap_or_else(|| context.names.fresh());
    let made = fresh.call.clone();
    let identity = identify(&says, &facts.says, fresh)?;
    let echoes = echoes.or_else(|| facts.echoes.clone());
    let said = (echoes, messages, retry.is_again);
    let (identity, said) = belonging::find(context, (identity, &tenant), said).await?;
    let mut outgoing = outgoing(form, facts.body_for(body, &model), (headers, request_id));
    if context.tenants_are_apart {
        answer::set(&mut outgoing.headers, known::CACHE_TENANT, tenant.as_str());
    }
    let name = (&tenant, &identity.call);
    if let Some(answer) = retry.running(context, name, &outgoing).await? {
        return Ok(shared::wait(answer).await?);
    }
    // Who did not name a call cannot ask for it again.
    let is_named = retry.fresh.is_some() || identity.call != made;
    let sharing = (is_named && !facts.stream).then(Sharing::new);
    let asked = Asked {
        program: identity.program.clone(),
        call: identity.call.clone(),
        model: model.clone(),
        since,
        heartbeat: facts.stream.then_some(context.limits.heartbeat),
        standing: Arc::default(),
    };
    let submission = Submission {
        tenant,
        identity,
        model,
        prompt: facts.prompt,
        expected_output: facts.expected_output,
        said: says.trace.and_then(Said::read),
        outgoing: Arc::new(outgoing),
        answer: sharing.as_ref().and_then(Sharing::to_join),
        body: room,
        standing: Arc::clone(&asked.standing),
    };
    let stream = context.dispatcher.submit(submission).await?;
    let answer = answer::pass(stream, asked, (context.clock, context.metrics.clone()));
    let answer = remembered(answer, said);
    Ok(match sharing {
        Some(sharing) => sharing.run(answer).await?,
        None => answer.await,
    })
}

/// An answer from which others may go on: that is known before its client has it.
async fn remembered(
    answer: impl Future<Output = Response>,
    said: Option<belonging::Said>,
) -> Response {
    let answer = answer.await;
    if let Some(said) = said.filter(|_| answer.status().is_success()) {
        said.answered().await;
    }
    answer
}

/// What the router needs of a body; with a chat's messages, where they may have to tell where it belongs.
fn read<'a>(
    says: &HeaderSays<'_>,
    body: &'a [u8],
    form: Form,
) -> Result<(Facts, Option<Messages<'a>>), Error> {
    if says.names_program() {
        return Ok((Facts::read(body, form)?, None));
    }
    Facts::read_with_messages(body, form)
}

fn outgoing(form: Form, body: Bytes, (headers, request_id): (&HeaderMap, &str)) -> Outgoing {
    let path = match form {
        Form::Chat | Form::Response => "/v1/chat/completions",
        Form::Plain => "/v1/completions",
        Form::Vectors => "/v1/embeddings",
    };
    let mut along = HeaderMap::with_capacity(4);
    let request_id = HeaderValue::from_str(request_id).expect("a checked id is printable");
    along.insert(known::REQUEST_ID, request_id);
    for name in TRACE {
        if let Some(value) = headers.get(name) {
            along.insert(name, value.clone());
        }
    }
    Outgoing {
        path,
        body,
        headers: along,
    }
}
