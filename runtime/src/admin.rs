//! The admin server. Owns: `/metrics`, `/healthz`, `/readyz`, `/log-level`, and serving what its process has for
//! administrators beside. It listens on its own address, because what it tells and takes is not for clients.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::telemetry;

/// Whether the process may be sent work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet, and what it is doing.
    Starting(String),
    /// Yes.
    Ready,
    /// No longer: it finishes what it has.
    Draining,
}

/// What is asked of the admin server that not everybody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `/metrics`.
    Metrics,
    /// `/log-level`, to read or to set.
    Logs,
}

/// Says who may ask. Health and readiness are for everybody: probes have no key.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Status and reason for who may not; `None`: they may.
    fn refusal(&self, headers: &HeaderMap, asked: Asked) -> Option<(StatusCode, String)>;
}

/// What the admin server shows.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Metrics of the process.
    pub registry: Registry,
    /// Set by whoever knows.
    pub ready: watch::Receiver<Readiness>,
    /// For `/log-level`; `None` where logs belong to an embedding process.
    pub telemetry: Option<telemetry::Handle>,
    /// Who may ask; `None`: whoever reaches it.
    pub gate: Option<Arc<dyn Gate>>,
    /// What this process serves here beside; it guards that itself.
    pub beside: Option<Router>,
}

impl Admin {
    /// Serves until `shutdown` resolves.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let beside = self.beside.clone().unwrap_or_default();
        let app = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/log-level", get(log_level).put(set_log_level))
            .with_state(self)
            .merge(beside);
        axum::serve(listener, app)
            .with_graceful_shutdown(shutdown)
            .await
    }

    fn check(&self, headers: &HeaderMap, asked: Asked) -> Result<(), (StatusCode, String)> {
        let gate = self.gate.as_ref();
        match gate.and_then(|gate| gate.refusal(headers, asked)) {
            Some((status, reason)) => Err((status, reason + "\n")),
            None => Ok(()),
        }
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Err(refusal) = admin.check(&headers, Asked::Metrics) {
        return refusal.into_response();
    }
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    match &*admin.ready.borrow() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::Starting(what) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("starting: {what}\n"),
        ),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
    }
}

async fn log_level(
    State(admin): State<Admin>,
    headers: HeaderMap,
) -> Result<String, (StatusCode, String)> {
    admin.check(&headers, Asked::Logs)?;
    let level = admin.telemetry.map(|handle| handle.level() + "\n");
    Ok(level.unwrap_or_default())
}

async fn set_log_level(
    State(admin): State<Admin>,
    headers: HeaderMap,
    level: String,
) -> (StatusCode, String) {
    if let Err(refusal) = admin.check(&headers, Asked::Logs) {
        return refusal;
    }
    let Some(handle) = admin.telemetry else {
        return (
            StatusCode::NOT_FOUND,
            "logs belong to the embedding process\n".to_owned(),
        );
    };
    match handle.set_level(level.trim()) {
        Ok(()) => (StatusCode::OK, handle.level() + "\n"),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
