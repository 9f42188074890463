//! Batches of commands to one engine. Owns: that commands go in order, many in one request, one request at a time; and
//! that what waits is bounded, because a call has at most one waiting command.

use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use indexmap::{IndexMap, IndexSet};
use lps_api::ids::{CallId, EngineId, ProgramId};
use lps_api::protocol::{CallCommand, CallCommands, Release};
use lps_api::quantity::Order;
use lps_api::wellknown::path;
use lps_runtime::task;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::discovery::EngineEndpoint;
use crate::engine_client::Report;
use crate::engine_client::connection::Connections;
use crate::message::CallKey;

/// Tries to deliver one batch. An engine that does not take it is about to be reported gone.
const TRIES: u32 = 3;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Commands on their way to one engine.
#[derive(Debug)]
pub struct Lane {
    waiting: IndexMap<CallKey, CallCommand>,
    releases: IndexSet<ProgramId>,
    batches: mpsc::Sender<Batch>,
    is_busy: bool,
    task: AbortHandle,
}

#[derive(Debug)]
struct Batch {
    commands: Vec<CallCommand>,
    releases: Vec<ProgramId>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lane {
    /// A lane to one engine; it reports [`Report::CommandsSent`] after each batch.
    pub fn open(
        endpoint: &EngineEndpoint,
        connections: Connections,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let (batches, receiver) = mpsc::channel(1);
        let delivery = Delivery {
            engine: endpoint.id.clone(),
            calls: endpoint.url.at(path::CALLS),
            release: endpoint.url.at(path::RELEASE),
            connections,
        };
        let task = task::spawn("engine-commands", delivery.run(receiver, reports)).abort_handle();
        Self {
            waiting: IndexMap::new(),
            releases: IndexSet::new(),
            batches,
            is_busy: false,
            task,
        }
    }

    /// A call's new place; replaces one that waits, but never a cancel.
    pub fn order(&mut self, key: CallKey, call: CallId, order: Order) {
        if !matches!(self.waiting.get(&key), Some(CallCommand::Cancel { .. })) {
            self.waiting.insert(key, CallCommand::Order { call, order });
        }
    }

    /// Ends a call.
    pub fn cancel(&mut self, key: CallKey, call: CallId) {
        self.waiting.insert(key, CallCommand::Cancel { call });
    }

    /// A program's pages go first.
    pub fn release(&mut self, program: ProgramId) {
        self.releases.insert(program);
    }

    /// The last batch is through.
    pub fn sent(&mut self) {
        self.is_busy = false;
    }

    /// Sends what waits, unless a batch is under way.
    pub fn flush(&mut self) {
        if self.is_busy || (self.waiting.is_empty() && self.releases.is_empty()) {
            return;
        }
        let batch = Batch {
            commands: std::mem::take(&mut self.waiting).into_values().collect(),
            releases: std::mem::take(&mut self.releases).into_iter().collect(),
        };
        self.is_busy = self.batches.try_send(batch).is_ok();
    }
}

struct Delivery {
    engine: EngineId,
    calls: Uri,
    release: Uri,
    connections: Connections,
}

impl Delivery {
    async fn run(self, mut batches: mpsc::Receiver<Batch>, reports: mpsc::Sender<Report>) {
        while let Some(batch) = batches.recv().await {
            if !batch.commands.is_empty() {
                self.post(
                    &self.calls,
                    &CallCommands {
                        commands: batch.commands,
                    },
                )
                .await;
            }
            for program in batch.releases {
                self.post(&self.release, &Release { program }).await;
            }
            let sent = Report::CommandsSent {
                engine: self.engine.clone(),
            };
            if reports.send(sent).await.is_err() {
                return;
            }
        }
    }

    async fn post(&self, uri: &Uri, message: &impl serde::Serialize) {
        let body = serde_json::to_vec(message).expect("protocol messages have text keys only");
        let body = Bytes::from(body);
        for attempt in 1..=TRIES {
            let refused = match self.connections.post(uri.clone(), body.clone()).await {
                Ok(answer) if answer.status.is_success() => return,
                Ok(answer) => format!("status {}", answer.status),
                Err(error) => error.to_string(),
            };
            tracing::debug!(engine = %self.engine, attempt, refused, "commands were not taken");
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(engine = %self.engine, %uri, "commands were not taken; given up");
    }
}
