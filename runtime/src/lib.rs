//! What every binary does alike. It knows no domain word: no program, call, engine or model.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The admin server: metrics, health, readiness, log level.
pub mod admin;
/// An error with what led to it.
pub mod causes;
/// The one clock: time since the process started.
pub mod clock;
/// Signals: the first drains, the second cuts.
pub mod shutdown;
/// A Kubernetes Lease: one works, the others stand by.
#[cfg(feature = "kubernetes")]
pub mod lease;
/// TLS from files that change.
#[cfg(feature = "tls")]
pub mod tls;
/// Files that are read again when they change.
pub mod watched;
/// Named tasks.
pub mod task;
/// Logs: format, level, level changes while running.
pub mod telemetry;
/// How soon a broken watch is opened again.
#[cfg(feature = "kubernetes")]
pub mod watch_pause;
