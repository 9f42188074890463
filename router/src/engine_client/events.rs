//! An engine's event stream, kept open. Owns: when an engine counts as up and as gone. Gone at once: its port refuses,
//! or it was started anew. Gone after [`SILENCE_MAX`]: it does not speak. A stream that broke and comes back from the
//! same start of the engine is no loss.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lps_api::ids::EngineId;
use lps_api::protocol::{EngineEvent, HEARTBEAT, Hello, VERSION};
use lps_api::quantity::Micros;
use lps_api::wellknown::path;
use lps_runtime::causes::with_causes;
use tokio::sync::mpsc;

use crate::discovery::EngineEndpoint;
use crate::engine_client::Report;
use crate::engine_client::connection::Connections;

/// Four missed heartbeats.
const SILENCE_MAX: Duration = Micros(4 * HEARTBEAT.0).as_duration();
/// First and longest pause between two attempts to reach an engine.
const PAUSE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// Pause before a stream that was closed is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(5);
/// Longest line.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("it cannot be opened: {0}")]
    Open(String),
    #[error("it was silent for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    #[error("it was closed")]
    Closed,
    #[error("it does not begin with a hello")]
    NoHello,
    #[error("it serves model {0}, not {1}")]
    Model(String, String),
    #[error("it speaks protocol {0}, this router {VERSION}")]
    Protocol(u32),
    #[error("the router ends")]
    RouterEnds,
}

/// Follows one engine until the router ends or the task is aborted.
pub async fn follow(
    endpoint: EngineEndpoint,
    connections: Connections,
    reports: mpsc::Sender<Report>,
) {
    let mut follower = Follower {
        endpoint,
        connections,
        reports,
        incarnation: None,
    };
    let [mut pause, pause_max] = PAUSE;
    loop {
        let broken = follower.stream_once().await;
        let engine = follower.endpoint.id.clone();
        match &broken {
            Broken::RouterEnds => return,
            // The stream broke, not necessarily the engine: the next try tells.
            Broken::Closed if follower.incarnation.is_some() => {
                pause = PAUSE[0];
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
            _ => {
                if follower.incarnation.is_some() {
                    tracing::warn!(%engine, %broken, "engine is gone");
                } else {
                    tracing::debug!(%engine, %broken, "engine does not answer yet");
                }
                if follower.lose().await.is_none() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(pause_max);
            }
        }
    }
}

struct Follower {
    endpoint: EngineEndpoint,
    connections: Connections,
    reports: mpsc::Sender<Report>,
    /// Of the start of the engine that was reported up and not gone since.
    incarnation: Option<u64>,
}

impl Follower {
    /// Reads one stream to its end and says why it ended.
    async fn stream_once(&mut self) -> Broken {
        let uri = self.endpoint.url.at(path::EVENTS);
        let opened = tokio::time::timeout(SILENCE_MAX, self.connections.get(uri)).await;
        let mut lines = match opened {
            Err(_) => return Broken::Silent,
            Ok(Err(error)) => return Broken::Open(with_causes(&error)),
            Ok(Ok(response)) if response.status() != hyper::StatusCode::OK => {
                return Broken::Open(format!("status {}", response.status()));
            }
            Ok(Ok(response)) => Lines {
                body: response.into_body(),
                buffer: BytesMut::new(),
            },
        };
        match lines.next().await {
            Ok(Some(EngineEvent::Hello(hello))) => {
                if let Err(broken) = self.greet(hello).await {
                    return broken;
                }
            }
            Ok(_) => return Broken::NoHello,
            Err(broken) => return broken,
        }
        loop {
            let event = match lines.next().await {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(broken) => return broken,
            };
            if self.report(event).await.is_none() {
                return Broken::RouterEnds;
            }
        }
    }

    async fn greet(&mut self, hello: Hello) -> Result<(), Broken> {
        if hello.model != self.endpoint.model {
            let (theirs, ours) = (hello.model.to_string(), self.endpoint.model.to_string());
            return Err(Broken::Model(theirs, ours));
        }
        if hello.protocol.abs_diff(VERSION) > 1 {
            return Err(Broken::Protocol(hello.protocol));
        }
        if self.incarnation == Some(hello.incarnation) {
            return Ok(());
        }
        self.lose().await.ok_or(Broken::RouterEnds)?;
        self.incarnation = Some(hello.incarnation);
        tracing::info!(engine = %self.endpoint.id, model = %hello.model, url = %self.endpoint.url, "engine is up");
        let up = Report::Up {
            engine: self.endpoint.id.clone(),
            hello,
        };
        self.reports.send(up).await.map_err(|_| Broken::RouterEnds)
    }

    /// Reports the engine gone if it was up; `None` when nobody listens any more.
    async fn lose(&mut self) -> Option<()> {
        match self.incarnation.take() {
            None => Some(()),
            Some(_) => {
                let gone = Report::Gone {
                    engine: self.endpoint.id.clone(),
                };
                self.reports.send(gone).await.ok()
            }
        }
    }

    async fn report(&self, event: EngineEvent) -> Option<()> {
        let engine: EngineId = self.endpoint.id.clone();
        let report = match event {
            EngineEvent::Heartbeat(load) => Report::Load { engine, load },
            EngineEvent::Progress { calls } => Report::Progress { engine, calls },
            EngineEvent::Draining => Report::Draining { engine },
            EngineEvent::Hello(_) | EngineEvent::Kv { .. } => return Some(()),
        };
        self.reports.send(report).await.ok()
    }
}

struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line's event; `None` for a line that this version does not know.
    async fn next(&mut self) -> Result<Option<EngineEvent>, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return Ok(serde_json::from_slice(&line).ok());
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Broken::Closed);
            }
            match tokio::time::timeout(SILENCE_MAX, self.body.frame()).await {
                Err(_) => return Err(Broken::Silent),
                Ok(None | Some(Err(_))) => return Err(Broken::Closed),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
}
