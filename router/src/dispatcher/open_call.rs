//! What the rim keeps of an open call. Owns: where its attempt stands, its way to the client, and its permits. Whether
//! the call waits or runs is the process table's to say; this says only what must be undone when it ends.

use std::sync::Arc;

use futures::future::AbortHandle;
use lps_api::ids::{CallId, EngineId, ModelName, Revision};
use lps_api::protocol::Resume;
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use tokio::sync::mpsc;

use crate::admission::{BodyPermit, Permit};
use crate::dispatcher::requests::WeakAnswer;
use crate::engine_client::leg::Outgoing;
use crate::engine_client::{Failure, Piece};
use crate::message::ProgramKey;
use crate::traces::Said;

/// An open call.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) id: CallId,
    pub(super) program: ProgramKey,
    /// The program whose row it is in, as of its arrival: its program's parent, where that waits for it.
    pub(super) row: ProgramKey,
    pub(super) model: ModelName,
    pub(super) arrived: Micros,
    pub(super) place: Place,
    pub(super) outgoing: Arc<Outgoing>,
    /// Its answer, where a retry of its client may wait for it too.
    pub(super) answer: Option<WeakAnswer>,
    pub(super) client: ClientEnd,
    /// What its client said of its trace.
    pub(super) said: Option<Said>,
    /// Held while the call is ready for the first time.
    pub(super) ready: Option<Permit>,
    /// Attempts that failed because of the connection, and because the engine was busy.
    pub(super) failed: Tries,
    /// What the client has of the answer, once an engine was lost that had begun it.
    pub(super) resume: Option<Arc<Resume>>,
    /// What the engine of its last attempt was made from.
    pub(super) revision: Option<Revision>,
    /// What its tenant was charged for it, where it has limits.
    pub(super) charged: Option<Tokens>,
    /// Held until the call ends.
    pub(super) _body: BodyPermit,
}

/// Failed attempts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries {
    pub(super) connection: u32,
    /// Of those, the ones after which another engine goes on with the answer.
    pub(super) resumed: u32,
    pub(super) busy: u32,
}

/// Where a call's attempt stands.
#[derive(Debug)]
pub(super) enum Place {
    /// At no engine.
    Waiting,
    /// An attempt is under way.
    Posted(Posted),
    /// The engine was busy; the state still counts the call there, until the pause is over.
    BackingOff {
        /// Which engine.
        engine: EngineId,
        /// The attempt that it refused.
        attempt: Attempt,
    },
    /// The attempt was cut, and the engine is to confirm the end with its last figures.
    Leaving {
        /// Which engine.
        engine: EngineId,
        /// The attempt.
        attempt: Attempt,
    },
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) engine: EngineId,
    pub(super) attempt: Attempt,
    pub(super) cut: AbortHandle,
    /// The place that the engine knows of.
    pub(super) told: Order,
    /// The place that it should have.
    pub(super) wanted: Order,
    /// Whether the engine has shown that it has the call; before, commands would miss it.
    pub(super) is_known: bool,
}

impl Place {
    /// The engine that the state counts the call at.
    pub(super) fn engine(&self) -> Option<&EngineId> {
        match self {
            Self::Waiting => None,
            Self::Posted(Posted { engine, .. })
            | Self::BackingOff { engine, .. }
            | Self::Leaving { engine, .. } => Some(engine),
        }
    }

    /// The attempt under way or being undone.
    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self {
            Self::Waiting => None,
            Self::Posted(Posted { attempt, .. })
            | Self::BackingOff { attempt, .. }
            | Self::Leaving { attempt, .. } => Some(*attempt),
        }
    }
}

/// The way to a call's client. Room for a last word is kept from the start, so that one can always be said.
#[derive(Debug)]
pub(super) struct ClientEnd {
    pub(super) pieces: mpsc::Sender<Piece>,
    /// Taken when it was said.
    pub(super) last_word: Option<mpsc::OwnedPermit<Piece>>,
}

impl ClientEnd {
    /// Tells the client that there is no (more) answer; only the first reason counts.
    pub(super) fn fail(&mut self, failure: Failure) {
        if let Some(place) = self.last_word.take() {
            place.send(Piece::Failed(failure));
        }
    }
}
