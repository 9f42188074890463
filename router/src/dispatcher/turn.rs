//! The dispatcher's loop. Owns: what it listens to and in which order: what engines report comes before what clients
//! ask, so that a child call never overtakes the figures of its parent.

use std::sync::Arc;
use std::time::Duration;

use lps_api::ids::ModelName;
use lps_runtime::clock::Clock;
use lps_runtime::task;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use crate::admission;
use crate::discovery::{EngineEndpoint, Pool, Sources};
use crate::dispatcher::desk::Desk;
use crate::dispatcher::handle::Handle;
use crate::dispatcher::requests::Request;
use crate::engine_client::leg::Rim;
use crate::engine_client::{Connections, Report};
use crate::keys;
use crate::metrics::Metrics;
use crate::programs_log::ProgramsLog;
use crate::scheduler::Classes;
use crate::state::State;
use crate::traces;

/// Reports that may wait for the dispatcher.
const REPORTS_MAX: usize = 4_096;
/// Requests that may wait, beside the reserved places.
const REQUESTS_SPARE: usize = 1_024;

/// Changes that are kept for who reads them slowly; whoever is further behind has lost the oldest.
const CHANGES_MAX: usize = 4_096;

/// What calls are held to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Ready calls.
    pub ready: admission::Limits,
    /// Most calls open at once: each holds a place for its cancel.
    pub open_max: usize,
    /// How long a client may not read.
    pub stall_limit: Duration,
}

/// Who is told of what ended, if anybody is.
#[derive(Debug, Default)]
pub struct Told {
    /// Of calls and programs, as spans.
    pub traces: Option<traces::Sink>,
    /// Of programs, as lines.
    pub programs_log: Option<ProgramsLog>,
}

/// What the dispatcher is made of.
#[derive(Debug)]
pub struct Setup {
    /// What calls are held to.
    pub bounds: Bounds,
    /// Tenants with limits of their own.
    pub keys: keys::Current,
    /// To engines.
    pub connections: Connections,
    /// The process's time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: Metrics,
    /// Who is told of what ended.
    pub told: Told,
    /// Who makes engines; rung when a call comes for which there is none.
    pub stranded: Arc<Notify>,
    /// What an earlier router learned.
    pub learned: Vec<(ModelName, Classes)>,
}

/// Starts the dispatcher. It ends when its last handle is dropped.
pub fn start(setup: Setup, sources: Sources) -> Handle {
    let (requests, request_receiver) = mpsc::channel(setup.bounds.open_max + REQUESTS_SPARE);
    let (reports, report_receiver) = mpsc::channel(REPORTS_MAX);
    let rim = Rim {
        connections: setup.connections,
        reports,
        clock: setup.clock,
        stall_limit: setup.bounds.stall_limit,
    };
    let state = State::recalling(setup.learned);
    let (changes, _) = broadcast::channel(CHANGES_MAX);
    let desk = Desk::new(
        (state, rim),
        (setup.bounds.ready, setup.keys),
        (setup.metrics, setup.told),
        (setup.stranded, changes.clone()),
    );
    let inbox = Inbox {
        requests: request_receiver,
        reports: report_receiver,
        pools: sources.pools,
        engines: sources.engines,
    };
    task::spawn("dispatcher", run(desk, inbox));
    Handle::new(requests, changes)
}

struct Inbox {
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Report>,
    pools: watch::Receiver<Vec<Pool>>,
    engines: watch::Receiver<Vec<EngineEndpoint>>,
}

/// What one turn takes.
enum Taken {
    Report(Report),
    Request(Request),
    Pools(Vec<Pool>),
    Engines(Vec<EngineEndpoint>),
    Time,
    End,
}

async fn run(mut desk: Desk, mut inbox: Inbox) {
    inbox.pools.mark_changed();
    inbox.engines.mark_changed();
    loop {
        let taken = inbox.take(desk.sleep_limit()).await;
        match taken {
            Taken::Report(report) => desk.report(report),
            Taken::Request(request) => desk.request(request),
            Taken::Pools(pools) => desk.set_pools(pools),
            Taken::Engines(engines) => desk.set_engines(&engines),
            Taken::Time => {}
            Taken::End => return,
        }
        desk.run_due();
        desk.tell_ended();
        desk.flush();
    }
}

impl Inbox {
    async fn take(&mut self, sleep_limit: Duration) -> Taken {
        tokio::select! {
            biased;
            Some(report) = self.reports.recv() => Taken::Report(report),
            // A source whose sender is gone stays as it last was.
            Ok(()) = self.pools.changed() => Taken::Pools(self.pools.borrow_and_update().clone()),
            Ok(()) = self.engines.changed() => Taken::Engines(self.engines.borrow_and_update().clone()),
            request = self.requests.recv() => request.map_or(Taken::End, Taken::Request),
            () = tokio::time::sleep(sleep_limit) => Taken::Time,
        }
    }
}
