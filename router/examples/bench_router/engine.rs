//! An engine that answers at once, for routers of ours and for those that speak OpenAI's HTTP. Owns: its connections. A second
//! address says how calls are answered, and tells when they came; only where it says so is a call itself looked at.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lps_api::protocol::CallState;
use lps_api::wellknown::path;
use lps_runtime::task;
use memchr::memmem;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Ledger, Page, Way};
use crate::pieces::{BURST, MODEL, PACED, PIECE_PERIOD, Part, Told, completion, events, stream_of};

/// Stands in a request that is to be answered by a stream.
pub(crate) const STREAMED: &str = "\"stream\":true";
/// Stands in one that is to be answered slowly.
pub(crate) const SLOW: &str = "slowly";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The connection is to be reset instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("as it was told")]
struct NoAnswer;

/// Where it listens, and what it does at first.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where calls come; one that was killed comes back at its address.
    #[arg(long, default_value = "127.0.0.1:0")]
    at: SocketAddr,
    /// How calls are answered until it is told otherwise.
    #[arg(long, value_enum, default_value_t = Way::Whole)]
    way: Way,
}

/// Runs until it is ended from outside.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let calls = TcpListener::bind(options.at).await?;
    let control = TcpListener::bind("127.0.0.1:0").await?;
    let addresses = json!({"engine": calls.local_addr()?, "control": control.local_addr()?});
    let mut out = std::io::stdout();
    writeln!(out, "{addresses}")?;
    out.flush()?;
    let ledger = Ledger::new(options.way);
    tokio::try_join!(serve_calls(calls, &ledger), serve_control(control, &ledger))?;
    Ok(())
}

async fn serve_calls(mut listener: TcpListener, ledger: &Ledger) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let mut pages = ledger.pages();
    loop {
        let closed = CancellationToken::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let served = connection(accepted?.0, ledger.clone(), closed.clone());
                    task::spawn("connection", served);
                }
                () = refusing(&mut pages, true) => break,
            }
        }
        drop(listener);
        closed.cancel();
        refusing(&mut pages, false).await;
        listener = TcpListener::bind(address).await?;
    }
}

/// Waits until connections are to be refused, or no longer.
async fn refusing(pages: &mut watch::Receiver<Page>, wanted: bool) {
    // It fails only when there is no ledger any more.
    let _ = pages
        .wait_for(|page| (page.way == Way::Refused) == wanted)
        .await;
}

async fn connection(stream: TcpStream, ledger: Ledger, closed: CancellationToken) {
    // What this side closes is reset at once, and says no goodbye.
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_zero_linger());
    if prepared.is_err() {
        return;
    }
    let service = service_fn(move |request| answer(request, ledger.clone()));
    let mut served = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = served.as_mut() => return,
        () = closed.cancelled() => served.as_mut().graceful_shutdown(),
    }
    // What is in use goes on: an event stream stays open.
    let _ = served.await;
}

async fn answer(request: Request<Incoming>, ledger: Ledger) -> Result<Answer, NoAnswer> {
    let (head, body) = request.into_parts();
    let is_call = head.uri.path() == "/v1/chat/completions";
    let way = is_call.then(|| ledger.arrived());
    let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
    let told = Told::read(&head.headers, &ledger);
    match way {
        None if head.uri.path() == path::EVENTS => Ok(streamed(events(ledger))),
        None => Ok(whole(StatusCode::OK, about())),
        Some(Way::Whole) => Ok(in_one_piece(told, None)),
        Some(Way::Asked) => Ok(asked(&body, told).await),
        Some(Way::Burst) => Ok(streamed(stream_of(BURST, None, told))),
        Some(Way::Paced) => Ok(streamed(stream_of(PACED, Some(PIECE_PERIOD), told))),
        Some(Way::Error) => Ok(error(StatusCode::INTERNAL_SERVER_ERROR)),
        Some(Way::Busy) => {
            let mut answer = error(StatusCode::TOO_MANY_REQUESTS);
            let seconds = HeaderValue::from(ledger::RETRY_AFTER.as_secs());
            answer.headers_mut().insert(RETRY_AFTER, seconds);
            Ok(answer)
        }
        Some(Way::Reset | Way::Refused) => Err(NoAnswer),
        Some(Way::Hang) => std::future::pending().await,
    }
}

fn in_one_piece(told: Option<Told>, tool: Option<String>) -> Answer {
    if let Some(told) = told {
        told.is(CallState::Running);
        told.is(CallState::Finished);
    }
    whole(StatusCode::OK, completion(tool))
}

/// As a request's text says. A slow answer takes as long whether it is streamed or not.
async fn asked(body: &[u8], told: Option<Told>) -> Answer {
    let says = |what: &str| memmem::find(body, what.as_bytes()).is_some();
    match (says(STREAMED), says(SLOW)) {
        (true, true) => streamed(stream_of(PACED, Some(PIECE_PERIOD), told)),
        (true, false) => streamed(stream_of(BURST, None, told)),
        (false, is_slow) => {
            if is_slow {
                tokio::time::sleep(PIECE_PERIOD * PACED).await;
            }
            let tool = told.as_ref().map(Told::tool);
            in_one_piece(told, tool)
        }
    }
}

/// What routers ask an engine about before they send it calls, in the words of all of them.
fn about() -> Bytes {
    let about = json!({
        "object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "bench"}],
        "model_id": MODEL, "model_path": MODEL, "served_model_name": MODEL, "status": "ok",
    });
    Bytes::from(about.to_string())
}

fn error(status: StatusCode) -> Answer {
    let body =
        json!({"error": {"message": "as it was told", "type": "server_error", "code": null}});
    whole(status, Bytes::from(body.to_string()))
}

fn whole(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = status;
    typed(answer, "application/json")
}

fn streamed(parts: impl Stream<Item = Part> + Send + 'static) -> Answer {
    typed(
        Response::new(StreamBody::new(parts).boxed_unsync()),
        "text/event-stream",
    )
}

fn typed(mut answer: Answer, kind: &'static str) -> Answer {
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

async fn serve_control(listener: TcpListener, ledger: &Ledger) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let ledger = ledger.clone();
        let service = service_fn(move |request| {
            let answer = control(&request, &ledger);
            async move { Ok::<_, Infallible>(answer) }
        });
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        task::spawn("control", async move {
            // Whoever measures has left.
            let _ = served.await;
        });
    }
}

/// `POST /WAY` turns to another way; anything else is told the arrivals under this one, in seconds.
fn control(request: &Request<Incoming>, ledger: &Ledger) -> Answer {
    if request.method() == Method::POST {
        match Way::from_str(request.uri().path().trim_start_matches('/'), false) {
            Ok(way) => ledger.turn(way),
            Err(_) => return error(StatusCode::NOT_FOUND),
        }
    }
    let pages = ledger.pages();
    let arrivals = pages
        .borrow()
        .arrivals
        .iter()
        .map(|at| at.as_secs_f64())
        .collect::<Vec<f64>>();
    let told = json!({"arrivals_s": arrivals});
    whole(StatusCode::OK, Bytes::from(told.to_string()))
}
