//! What the dispatcher's state is told, and what it asks for. Owns: the words between the acting rim (HTTP, engine
//! client, discovery) and the pure state (process table, scheduler); the simulator speaks the same ones.

use lps_api::ids::{
    CallId, ClassName, EngineId, ModelName, ProgramId, Revision, TenantId, ThreadId,
};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use lps_api::scheduling::Settings;
use schemars::JsonSchema;
use serde::Serialize;

/// KV tokens of an engine that has no pool, because it makes vectors and keeps nothing of a call: more than all calls
/// bring, so that its slots alone are limited.
pub const NO_POOL_TOKENS: u64 = 1 << 40;

/// Names one call for the life of the process; handed out in order of arrival by whoever feeds the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub u64);

/// A program inside its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramKey {
    /// Who pays.
    pub tenant: TenantId,
    /// Which run.
    pub program: ProgramId,
}

/// Which calls a new call depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parents {
    /// The client said nothing: the thread's last call.
    Unsaid,
    /// The client gave a list; an empty one is a root.
    Named(Vec<CallId>),
}

/// How a call came to its program; the order is the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentitySource {
    /// Explicit headers.
    Headers,
    /// The body's `program` object.
    Body,
    /// The body's `autellix_*` fields.
    Autellix,
    /// A header that a known client sends by itself.
    Client,
    /// The body's `session_id`.
    Session,
    /// The trace of `traceparent`.
    Trace,
    /// Results of tools that a call of the program asked for.
    Lineage,
    /// Its messages go on where a call of the program ended.
    Prefix,
    /// Nothing was said, but it has tools whose results may come: a program that goes on.
    Tools,
    /// Nothing was said: a program of one call.
    Single,
}

impl IdentitySource {
    /// Whether nobody meant to say it: a program that is only guessed at is refused no room.
    pub const fn is_guessed(self) -> bool {
        matches!(
            self,
            Self::Client | Self::Trace | Self::Lineage | Self::Prefix | Self::Tools
        )
    }

    /// Its name in metrics, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Autellix => "autellix",
            Self::Client => "client",
            Self::Session => "session",
            Self::Trace => "trace",
            Self::Lineage => "lineage",
            Self::Prefix => "prefix",
            Self::Tools => "tools",
            Self::Single => "single",
        }
    }
}

/// A call that was here before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its program.
    pub program: ProgramId,
    /// Its thread.
    pub thread: ThreadId,
    /// Its client's name for it.
    pub call: CallId,
}

/// A call that another one goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// It.
    pub origin: Origin,
    /// Whether another one goes on from there already: then this one is beside it.
    pub is_fork: bool,
}

/// A call that a client sent and admission let in.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// The name used from here on.
    pub key: CallKey,
    /// The client's name for it, or one that was made; unique among the tenant's open calls.
    pub id: CallId,
    /// Its program; opened by this call where it is not open.
    pub program: ProgramKey,
    /// What programs of its kind are called.
    pub class: ClassName,
    /// Its thread.
    pub thread: ThreadId,
    /// What it depends on.
    pub parents: Parents,
    /// Which pool serves it.
    pub model: ModelName,
    /// How its program was found.
    pub source: IdentitySource,
    /// Whole prompt: exact where the caller gave token ids, else estimated from bytes.
    pub prompt_tokens: Tokens,
    /// Expected output: the client's hint, else its `max_tokens`, else the pool's mean.
    pub expected_output_tokens: Tokens,
    /// Service that its program still needs, this call's included, where somebody knows it: `gittins` goes by it then.
    pub expected_service: Option<Micros>,
}

/// How a call (or one attempt of it) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is complete.
    Completed,
    /// The client left, or asked for the cancel.
    Cancelled,
    /// It cannot be had.
    Failed,
}

/// Which calls an engine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Intake {
    /// None: it ends.
    Nothing,
    /// Those of programs that began on its revision, where no other engine of that revision takes calls: a program
    /// stays on one revision until it ends. So it drains.
    Pinned,
    /// Every call.
    #[default]
    All,
}

/// Something that happened. Times come beside the event, as `now`: µs since the process started.
#[derive(Debug, Clone)]
pub enum Event {
    /// A model is served from now on, with these settings; again with others: they change.
    PoolAdded {
        /// The model.
        model: ModelName,
        /// Its scheduler's settings.
        settings: Settings,
        /// How long its calls are held while it has no engine.
        cold_start_hold: Micros,
    },
    /// A model is served no more; its waiting calls fail.
    PoolRemoved {
        /// The model.
        model: ModelName,
    },
    /// An engine answers. Said again for a known engine: its limits or incarnation changed.
    EngineUp {
        /// Which engine.
        engine: EngineId,
        /// Which pool it serves.
        model: ModelName,
        /// What it was made from.
        revision: Revision,
        /// Sequences it runs at once.
        slots: u32,
        /// Tokens its KV pool holds.
        kv_tokens: u64,
    },
    /// An engine takes other calls than before.
    EngineIntake {
        /// Which engine.
        engine: EngineId,
        /// Which calls.
        intake: Intake,
    },
    /// An engine is gone. The rim follows with [`Event::AttemptFailed`] or [`Event::Ended`] for each call it had.
    EngineGone {
        /// Which engine.
        engine: EngineId,
    },
    /// A client opened a program by name.
    ProgramOpened {
        /// Which program.
        program: ProgramKey,
        /// Its class.
        class: ClassName,
        /// How long it stays live without a call; `None`: the default for opened programs.
        ttl: Option<Micros>,
        /// The program that waits for it, if one does: its calls use and charge that one's row.
        blocks: Option<ProgramKey>,
    },
    /// A client ends a program: open calls finish, new ones open a new generation.
    ProgramEnd {
        /// Which program.
        program: ProgramKey,
    },
    /// A client cancels a program: all its open calls, and it is ended.
    ProgramCancel {
        /// Which program.
        program: ProgramKey,
    },
    /// A call came in.
    CallArrived(NewCall),
    /// An engine reports on a call.
    Progress {
        /// Which call.
        call: CallKey,
        /// Which attempt the figures are of.
        attempt: Attempt,
        /// Waiting, running or preempted in its engine.
        state: CallState,
        /// Cumulative.
        usage: CallUsage,
    },
    /// A call ended for good. `usage` is what its last chunk said; `None` when it never said.
    Ended {
        /// Which call.
        call: CallKey,
        /// The attempt that ended.
        attempt: Attempt,
        /// How.
        outcome: Outcome,
        /// Final figures of the attempt.
        usage: Option<CallUsage>,
    },
    /// An attempt failed and the call may be tried again: it goes back to its queue with all it had.
    AttemptFailed {
        /// Which call.
        call: CallKey,
        /// Which attempt.
        attempt: Attempt,
    },
    /// An engine refused an attempt, or could not be reached: it is tried again after a pause, which
    /// [`Event::AttemptFailed`] ends.
    BackedOff {
        /// Which call.
        call: CallKey,
        /// Which attempt.
        attempt: Attempt,
    },
    /// The client left or asked for a cancel.
    CancelRequested {
        /// Which call.
        call: CallKey,
    },
    /// Time passed; asked for by [`Action::WakeAt`].
    Tick,
}

/// Something to be done by the rim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send the call to the engine. When `order` stands before that of a running call and no slot is free, the engine
    /// preempts that one: dispatch and displacement are one message.
    Dispatch {
        /// Which call.
        call: CallKey,
        /// Which try.
        attempt: Attempt,
        /// Where.
        engine: EngineId,
        /// Its place there.
        order: Order,
    },
    /// Tell the engine a call's new place.
    Reorder {
        /// Which call.
        call: CallKey,
        /// Where it is.
        engine: EngineId,
        /// Its new place.
        order: Order,
    },
    /// Take the call from the engine (it is cancelled, or it moves). The rim answers with [`Event::Ended`].
    Cancel {
        /// Which call.
        call: CallKey,
        /// Where it is.
        engine: EngineId,
    },
    /// The call ended without an engine: answer the client.
    Refuse {
        /// Which call.
        call: CallKey,
        /// Why.
        reason: Refusal,
    },
    /// The program's unreferenced pages go first.
    Release {
        /// Which program.
        program: ProgramKey,
        /// Where.
        engine: EngineId,
    },
    /// Say [`Event::Tick`] at this time, unless an earlier one is asked for.
    WakeAt(Micros),
}

/// Why a call ends without an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was cancelled while it waited.
    Cancelled,
    /// Its pool is gone.
    NoPool,
    /// No engine came within `cold_start_hold`.
    NoEngine,
    /// It can never fit an engine's KV pool.
    TooLong,
}
