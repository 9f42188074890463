//! What router and engine say to each other, under `/internal/v1`. Owns: the event stream's lines and their beat.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use lps_api::protocol::{CallCommandResults, CallCommands, EngineEvent, HEARTBEAT, Release};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::error::Error;
use super::{Shared, bytes};

type Received = Result<Bytes, BytesRejection>;

/// `GET events`: JSON lines, for as long as the reader stays or the engine runs.
pub(super) async fn events(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    let changes = shared
        .engine
        .subscribe()
        .map_err(|_| Error::engine_failed())?;
    let mut beat = interval(HEARTBEAT.as_duration());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = Lines {
        hello: Some(EngineEvent::Hello(shared.engine.hello().clone())),
        is_draining: false,
        shared,
        changes,
        beat,
    };
    let body = stream::unfold(lines, async |mut lines| {
        let event = lines.next().await?;
        let mut line = serde_json::to_vec(&event).expect("an event has text and numbers only");
        line.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((content_type, Body::from_stream(body)).into_response())
}

struct Lines {
    hello: Option<EngineEvent>,
    is_draining: bool,
    shared: Arc<Shared>,
    changes: mpsc::Receiver<EngineEvent>,
    beat: Interval,
}

impl Lines {
    async fn next(&mut self) -> Option<EngineEvent> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        let shared = &self.shared;
        tokio::select! {
            biased;
            () = shared.drain.cancelled(), if !self.is_draining => {
                self.is_draining = true;
                Some(EngineEvent::Draining)
            }
            _ = self.beat.tick() => Some(EngineEvent::Heartbeat(*shared.engine.load().borrow())),
            change = self.changes.recv() => change,
            () = shared.closed.cancelled() => None,
        }
    }
}

/// `POST calls`.
pub(super) async fn calls(
    State(shared): State<Arc<Shared>>,
    body: Received,
) -> Result<Json<CallCommandResults>, Error> {
    let CallCommands { commands } = read(body)?;
    let found = shared.engine.command(commands).await;
    let found = found.map_err(|_| Error::engine_failed())?;
    Ok(Json(CallCommandResults { found }))
}

/// `POST release`.
pub(super) async fn release(
    State(shared): State<Arc<Shared>>,
    body: Received,
) -> Result<Json<serde_json::Value>, Error> {
    let Release { program } = read(body)?;
    let released = shared.engine.release(program);
    released.map_err(|_| Error::engine_failed())?;
    Ok(Json(serde_json::json!({})))
}

/// `POST drain`.
pub(super) async fn drain(State(shared): State<Arc<Shared>>) -> Json<serde_json::Value> {
    shared.drain.cancel();
    Json(serde_json::json!({}))
}

fn read<T: DeserializeOwned>(body: Received) -> Result<T, Error> {
    serde_json::from_slice(&bytes(body)?).map_err(|error| Error::malformed(error.to_string()))
}
