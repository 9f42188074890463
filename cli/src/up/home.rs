//! Engines of one pool as processes of this machine. Owns: which there are and where each stands, and the list of
//! their addresses that the router reads. It decides nothing: it is the local half of the operator's seam.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lps_api::ids::{EngineId, ModelName};
use lps_api::quantity::Micros;
use lps_operator::home::EngineHome;
use lps_operator::plan::{DeleteReason, EngineLoad, EngineSpec, EngineState, ObservedEngine};
use lps_router::discovery::EngineEndpoint;
use lps_router::message::Intake;
use lps_runtime::clock::Clock;
use tokio::sync::{mpsc, watch};

use super::flags::{Share, flags};
use super::process::{self, Event, Launch, Report, Stop};

/// What all engines of a stack share.
#[derive(Debug)]
pub(super) struct Machine {
    /// The engine's program.
    pub(super) program: PathBuf,
    /// Where addresses and logs are kept.
    pub(super) folder: PathBuf,
    /// What each engine gets.
    pub(super) share: Share,
    /// Time.
    pub(super) clock: Clock,
    /// Where the router reads addresses.
    pub(super) endpoints: watch::Sender<Vec<EngineEndpoint>>,
    /// Where processes report.
    pub(super) reports: mpsc::Sender<Report>,
}

/// Why an engine cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The program cannot be run.
    #[error(
        "engine {engine} cannot be started: {program}: {source}; build it with `make run`, or name it with --engine-bin"
    )]
    Start {
        /// Which one.
        engine: EngineId,
        /// What was to run.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Starting,
    Ready { since: Micros, address: SocketAddr },
    Ended { at: Micros, ready_for: Micros },
}

#[derive(Debug)]
struct Process {
    spec: EngineSpec,
    created_at: Micros,
    standing: Standing,
    draining_since: Option<Micros>,
    deleted: bool,
    stop: watch::Sender<Stop>,
}

/// What a report meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The engine serves; it took so long.
    Ready {
        /// Where.
        address: SocketAddr,
        /// From its start.
        after: Micros,
    },
    /// It ended because it was told to.
    Gone,
    /// It ended by itself.
    Failed {
        /// Whether it had been ready.
        had_been_ready: bool,
        /// How, and its last line.
        why: String,
    },
}

/// The engines of one pool.
#[derive(Debug)]
pub(super) struct LocalHome {
    machine: Arc<Machine>,
    /// The pool's model; no other pool has it.
    model: ModelName,
    processes: BTreeMap<EngineId, Process>,
    /// What the router says that each engine holds, and whether it knows that it drains.
    loads: BTreeMap<EngineId, (EngineLoad, bool)>,
}

impl LocalHome {
    /// No engines yet.
    pub(super) fn new(machine: Arc<Machine>, model: ModelName) -> Self {
        Self {
            machine,
            model,
            processes: BTreeMap::new(),
            loads: BTreeMap::new(),
        }
    }

    /// Whether the engine is of this pool.
    pub(super) fn has(&self, engine: &EngineId) -> bool {
        self.processes.contains_key(engine)
    }

    /// Engines that serve.
    pub(super) fn ready(&self) -> u32 {
        let ready = |process: &&Process| matches!(process.standing, Standing::Ready { .. });
        self.processes.values().filter(ready).count() as u32
    }

    /// Whether what the engines hold matters now: some drain, or more serve than `desired`.
    pub(super) fn loads_matter(&self, desired: u32) -> bool {
        let drains = |process: &Process| process.draining_since.is_some();
        self.ready() > desired || self.processes.values().any(drains)
    }

    /// Processes that have not ended.
    pub(super) fn alive(&self) -> usize {
        let alive = |process: &&Process| !matches!(process.standing, Standing::Ended { .. });
        self.processes.values().filter(alive).count()
    }

    /// Takes what the router says about loads.
    pub(super) fn set_loads(&mut self, loads: &BTreeMap<EngineId, (EngineLoad, bool)>) {
        self.loads = loads.clone();
    }

    /// Takes what happened to a process.
    pub(super) fn on(&mut self, report: Report) -> Option<Heard> {
        let now = Micros::from(self.machine.clock.now());
        let process = self.processes.get_mut(&report.engine)?;
        let heard = match report.event {
            Event::Ready(address) => {
                process.standing = Standing::Ready {
                    since: now,
                    address,
                };
                Heard::Ready {
                    address,
                    after: now.saturating_sub(process.created_at),
                }
            }
            Event::Ended { how, last_line } => {
                let had_been_ready = matches!(process.standing, Standing::Ready { .. });
                let ready_for = match process.standing {
                    Standing::Ready { since, .. } => now.saturating_sub(since),
                    _ => Micros::ZERO,
                };
                process.standing = Standing::Ended { at: now, ready_for };
                if process.deleted {
                    self.processes.remove(&report.engine);
                    Heard::Gone
                } else {
                    let why = match last_line {
                        None => how,
                        // What does not start says why; what is killed does not.
                        Some(line) if had_been_ready => format!("{how}; its last line: {line}"),
                        Some(line) => format!("{line} ({how})"),
                    };
                    Heard::Failed {
                        had_been_ready,
                        why,
                    }
                }
            }
        };
        self.publish();
        Some(heard)
    }

    /// Tells every process to end.
    pub(super) fn end_all(&mut self, stop: Stop) {
        for process in self.processes.values_mut() {
            process.deleted = true;
            process.stop.send_replace(stop);
        }
    }

    /// Writes this pool's addresses into the list that the router reads.
    fn publish(&self) {
        let mine: Vec<EngineEndpoint> = self
            .processes
            .values()
            // Nobody is to wonder why one that was told to end does not answer.
            .filter(|process| !process.deleted)
            .filter_map(|process| {
                let Standing::Ready { address, .. } = process.standing else {
                    return None;
                };
                Some(EngineEndpoint {
                    id: process.spec.id.clone(),
                    uid: address.to_string(),
                    model: process.spec.template.model.clone(),
                    revision: process.spec.revision,
                    url: format!("http://{address}").parse().ok()?,
                    intake: if process.draining_since.is_some() {
                        Intake::Pinned
                    } else {
                        Intake::All
                    },
                })
            })
            .collect();
        self.machine.endpoints.send_if_modified(|endpoints| {
            let mut next: Vec<_> = endpoints
                .iter()
                .filter(|endpoint| endpoint.model != self.model)
                .cloned()
                .chain(mine)
                .collect();
            next.sort_by(|a, b| a.id.cmp(&b.id));
            let changed = *endpoints != next;
            *endpoints = next;
            changed
        });
    }

    fn observe(&self, process: &Process) -> ObservedEngine {
        let state = match (process.standing, process.draining_since) {
            (Standing::Ended { at, ready_for }, _) => EngineState::Failed { at, ready_for },
            _ if process.deleted => EngineState::Ending,
            (Standing::Starting, _) => EngineState::Starting {
                placed: true,
                loaded: false,
            },
            (Standing::Ready { .. }, Some(since)) => EngineState::Draining { since },
            (Standing::Ready { .. }, None) => EngineState::Ready,
        };
        let load = self.loads.get(&process.spec.id);
        // What a draining engine holds is known only when the router has stopped to send it more.
        let load = load.filter(|(_, drains)| process.draining_since.is_none() || *drains);
        ObservedEngine {
            id: process.spec.id.clone(),
            revision: process.spec.revision,
            failures_before: process.spec.failures_before,
            created_at: process.created_at,
            state,
            load: load.map(|(load, _)| *load),
        }
    }
}

impl EngineHome for LocalHome {
    type Error = Error;

    async fn list(&mut self) -> Result<Vec<ObservedEngine>, Error> {
        Ok(self
            .processes
            .values()
            .map(|process| self.observe(process))
            .collect())
    }

    async fn create(&mut self, spec: EngineSpec) -> Result<(), Error> {
        let machine = &self.machine;
        let file = |extension: &str| machine.folder.join(format!("{}.{extension}", spec.id));
        let address_file = file("address");
        let launch = Launch {
            engine: spec.id.clone(),
            program: machine.program.clone(),
            flags: flags(&spec, machine.share, &address_file),
            address_file,
            log_file: file("log"),
        };
        tracing::debug!(engine = %spec.id, flags = ?launch.flags, "starts");
        let stop =
            process::start(launch, machine.reports.clone()).map_err(|source| Error::Start {
                engine: spec.id.clone(),
                program: machine.program.display().to_string(),
                source,
            })?;
        let process = Process {
            created_at: Micros::from(machine.clock.now()),
            standing: Standing::Starting,
            draining_since: None,
            deleted: false,
            stop,
            spec,
        };
        self.processes.insert(process.spec.id.clone(), process);
        Ok(())
    }

    async fn drain(&mut self, id: &EngineId, drain: bool) -> Result<(), Error> {
        let now = Micros::from(self.machine.clock.now());
        if let Some(process) = self.processes.get_mut(id) {
            process.draining_since = drain.then_some(now);
        }
        self.publish();
        Ok(())
    }

    async fn delete(&mut self, id: &EngineId, reason: DeleteReason) -> Result<(), Error> {
        let Some(process) = self.processes.get_mut(id) else {
            return Ok(());
        };
        if matches!(process.standing, Standing::Ended { .. }) {
            self.processes.remove(id);
        } else {
            process.deleted = true;
            process.stop.send_replace(match reason {
                DeleteReason::Drained => Stop::Drained,
                _ => Stop::Now,
            });
        }
        self.publish();
        Ok(())
    }
}
