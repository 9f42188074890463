//! The words for where programs and calls stand, and why a call waits.

use schemars::JsonSchema;
use serde::Serialize;

/// Where a program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgramState {
    /// Has an open call, or has not had one yet.
    Live,
    /// Between two calls.
    InTool,
    /// Takes no new calls; the open ones finish.
    Ending,
    /// Ended by its client, or by its only call.
    Ended,
    /// Ended because nothing came.
    Expired,
}

impl ProgramState {
    /// Whether nothing more will come of it.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Ended | Self::Expired)
    }
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Held here, or waiting in an engine.
    Pending,
    /// In a batch.
    Running,
    /// Ended well.
    Completed,
    /// Ended by a cancel.
    Cancelled,
    /// Ended by an error.
    Failed,
}

impl Phase {
    /// As in metrics, traces and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Why a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No engine of the pool takes calls yet.
    EngineStarting,
    /// All engines of the pool drain.
    Draining,
    /// Those before it in its pool's queues have the room.
    NoCapacity,
    /// The contexts of admitted programs fill the engines: its program waits to be admitted.
    WorkingSet,
    /// Its program's home engine is saturated.
    HomeBusy,
    /// Other tenants have had less.
    TenantTurn,
    /// Its program holds as many slots as it may.
    ProgramLimit,
    /// The room that there is, is kept for a larger call.
    BackfillReserve,
    /// It is in an engine, and waits for a slot there.
    EngineQueue,
    /// It lost its slot to a better call.
    Preempted,
    /// Its engine refused it, or was not reached; it is tried again after a pause.
    RetryBackoff,
}

impl Reason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::EngineStarting,
        Self::Draining,
        Self::NoCapacity,
        Self::WorkingSet,
        Self::HomeBusy,
        Self::TenantTurn,
        Self::ProgramLimit,
        Self::BackfillReserve,
        Self::EngineQueue,
        Self::Preempted,
        Self::RetryBackoff,
    ];

    /// As in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineStarting => "engine_starting",
            Self::Draining => "draining",
            Self::NoCapacity => "no_capacity",
            Self::WorkingSet => "working_set",
            Self::HomeBusy => "home_busy",
            Self::TenantTurn => "tenant_turn",
            Self::ProgramLimit => "program_limit",
            Self::BackfillReserve => "backfill_reserve",
            Self::EngineQueue => "engine_queue",
            Self::Preempted => "preempted",
            Self::RetryBackoff => "retry_backoff",
        }
    }

    /// In words, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::EngineStarting => "no engine of its model takes calls yet",
            Self::Draining => "all engines of its model drain",
            Self::NoCapacity => "calls that stand before it have the room",
            Self::WorkingSet => {
                "the contexts of other programs fill the engines; its program waits to be admitted"
            }
            Self::HomeBusy => "its program's home engine is full",
            Self::TenantTurn => "other tenants have had less",
            Self::ProgramLimit => "its program holds as many slots as it may",
            Self::BackfillReserve => "the room that there is, is kept for a larger call",
            Self::EngineQueue => "it is in an engine, and waits for a slot there",
            Self::Preempted => "it lost its slot to a better call",
            Self::RetryBackoff => "its engine refused it or was not reached; it is tried again",
        }
    }
}

/// How many calls of a program are in each phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct CallCounts {
    /// Held here, or waiting in an engine.
    pub pending: u64,
    /// In a batch.
    pub running: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended by a cancel.
    pub cancelled: u64,
    /// Ended by an error.
    pub failed: u64,
}

impl CallCounts {
    pub(super) fn of(&mut self, phase: Phase) -> &mut u64 {
        match phase {
            Phase::Pending => &mut self.pending,
            Phase::Running => &mut self.running,
            Phase::Completed => &mut self.completed,
            Phase::Cancelled => &mut self.cancelled,
            Phase::Failed => &mut self.failed,
        }
    }
}
