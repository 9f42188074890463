//! The words between handle and loop.

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallCommand, CallUsage, EngineEvent};
use lps_engine_core::batch::Sampled;
use lps_engine_core::core::{Finish, Refusal};
use lps_engine_core::embedding;
use lps_engine_core::model::Matcher;
use lps_engine_core::request::Request;
use tokio::sync::{mpsc, oneshot};

/// What the loop is told.
#[derive(Debug)]
pub(super) enum Command {
    /// A call comes in.
    Add {
        request: Box<Request>,
        /// One for each choice, or none at all.
        matchers: Vec<Box<dyn Matcher>>,
        events: mpsc::UnboundedSender<CallEvent>,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A call for vectors comes in.
    Embed {
        request: Box<embedding::Request>,
        end: oneshot::Sender<embedding::Ended>,
        answer: oneshot::Sender<Result<(), embedding::Refusal>>,
    },
    /// Its client left.
    Cancel(CallId),
    /// A stop string was found in the text of a choice.
    StopChoice(CallId, u32),
    /// The router's commands, applied before the next step.
    Calls(Vec<CallCommand>, oneshot::Sender<Vec<bool>>),
    /// The program's pages go first.
    Release(ProgramId),
    /// A new event stream.
    Subscribe(mpsc::Sender<EngineEvent>),
    /// Prompt text was tokenised: bytes and tokens.
    Tokenised(u64, u64),
    /// Calls that no batch will ever take (a static batch that does not fill) are cancelled; the answer comes when no
    /// call is open.
    Drain(oneshot::Sender<()>),
}

/// What a call's task is told, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum CallEvent {
    /// A choice got a token.
    Token {
        /// Which choice.
        choice: u32,
        /// The token.
        sampled: Sampled,
    },
    /// A choice ended.
    ChoiceEnded {
        /// Which choice.
        choice: u32,
        /// Why.
        finish: Finish,
    },
    /// The call ended; nothing follows.
    Ended {
        /// Final figures.
        usage: CallUsage,
        /// Why its last choice ended.
        finish: Finish,
    },
}
