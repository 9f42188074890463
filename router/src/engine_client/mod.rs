//! The router's side of what router and engine say to each other. Owns: connections, the event streams and their
//! reconnects, posting a call and reading its answer, batches of commands. It must not know scheduling: it reports
//! what happened and does what it is told.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// One attempt of one call at one engine.
pub mod leg;
/// What of an answer its client has.
pub mod given;
/// A streamed answer, event by event.
pub mod sse;
/// An engine's event stream, kept open.
pub mod events;
/// Batches of commands to one engine.
pub mod commands;
/// Connections and plain requests.
pub mod connection;
/// Who engines are, and what they are shown.
pub mod secure;
/// What a call is called between router and engine.
pub mod wire;

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use lps_api::ids::EngineId;
use lps_api::protocol::{CallProgress, CallUsage, Hello, Load, Resume};
use lps_api::quantity::{Attempt, Micros, Tokens};
use tokio::sync::oneshot;

use crate::message::{CallKey, Refusal};

pub use connection::Connections;

/// What engines and attempts tell the dispatcher.
#[derive(Debug)]
pub enum Report {
    /// An engine answers; also after a new start of it.
    Up {
        /// Which engine.
        engine: EngineId,
        /// What it says of itself.
        hello: Hello,
    },
    /// An engine's heartbeat.
    Load {
        /// Which engine.
        engine: EngineId,
        /// What it holds.
        load: Load,
    },
    /// Figures of calls.
    Progress {
        /// Which engine.
        engine: EngineId,
        /// Cumulative, by wire name.
        calls: Vec<CallProgress>,
    },
    /// An engine takes nothing new.
    Draining {
        /// Which engine.
        engine: EngineId,
    },
    /// An engine does not answer, or was started anew: what it had is lost.
    Gone {
        /// Which engine.
        engine: EngineId,
    },
    /// The last batch of commands was delivered, or could not be.
    CommandsSent {
        /// Which engine.
        engine: EngineId,
    },
    /// An attempt is over.
    Leg {
        /// Of which call.
        call: CallKey,
        /// Which attempt.
        attempt: Attempt,
        /// How.
        end: LegEnd,
    },
}

/// How an attempt ended.
#[derive(Debug)]
pub enum LegEnd {
    /// The answer is complete (or is the engine's refusal), and its end is held back until `folded` is answered: so
    /// that no call that this answer leads to can come before its figures are known.
    Answered {
        /// Whether the answer is a success.
        success: bool,
        /// Final figures, where the engine gave them.
        usage: Option<CallUsage>,
        /// Lets the end go to the client.
        folded: oneshot::Sender<()>,
    },
    /// The engine has no room: it answered 429 or 503.
    Busy {
        /// What it asks for.
        retry_after: Option<Duration>,
    },
    /// The connection failed, or the attempt was cut.
    Broken {
        /// Whether the client has part of the answer.
        started: bool,
        /// Then: what another engine needs to go on with it, if that can be done.
        resume: Option<Box<Resume>>,
        /// What failed, for the log.
        cause: String,
    },
    /// The client did not read for too long.
    Stalled,
}

/// A part of a call's answer, on its way to the client.
#[derive(Debug)]
pub enum Piece {
    /// First of all.
    Head(Head),
    /// Bytes of the body, as the engine sent them.
    Data(Bytes),
    /// The answer is complete.
    End,
    /// There is no more, and why. Before the head it is the whole answer.
    Failed(Failure),
}

/// What is known when an answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The engine's status.
    pub status: StatusCode,
    /// The engine's `content-type`.
    pub content_type: Option<HeaderValue>,
    /// Who answers.
    pub engine: EngineId,
    /// Time in the queue before the attempt that answers.
    pub queued: Micros,
    /// Time from posting to the engine until the answer could begin.
    pub in_engine: Micros,
    /// Prompt tokens from the prefix cache; known at the head of an answer that is not streamed.
    pub cached_tokens: Option<Tokens>,
}

/// Why a call has no (complete) answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Its engine died, and it cannot be tried again.
    EngineLost,
    /// Engines kept refusing it.
    EnginesBusy {
        /// When to come back.
        retry_after: Duration,
    },
    /// It was cancelled.
    Cancelled,
    /// The state refused it.
    Refused(Refusal),
    /// Too many calls wait.
    Full {
        /// Which bound, in words.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Its tenant has used what it may.
    Limited {
        /// Which limit, in words.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Another open call of the tenant has its name.
    DuplicateCall,
    /// The router drains, and the call's program is not live.
    Draining,
}
