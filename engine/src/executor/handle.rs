//! What others hold of the engine's thread. Owns: the channels' other ends; a call that is let go is cancelled.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallCommand, EngineEvent, Hello, Load};
use lps_engine_core::core::Refusal;
use lps_engine_core::embedding;
use lps_engine_core::model::Matcher;
use lps_engine_core::request::Request;
use tokio::sync::{mpsc, oneshot, watch};

use crate::executor::message::{CallEvent, Command};

/// Lines that an event stream may lag behind. A stream that lags further is closed, and its reader starts anew with the
/// present figures: they are cumulative, so it misses nothing.
const EVENTS_MAX: usize = 1024;

/// The engine's thread takes nothing: it has ended, or more commands wait than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine does not answer")]
pub struct Gone;

/// Why a call is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The core refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The queue of calls for vectors refuses it.
    #[error(transparent)]
    RefusedTexts(#[from] embedding::Refusal),
    /// There is nobody to take it.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A handle on the engine's thread; clones talk to the same.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: SyncSender<Command>,
    hello: Arc<Hello>,
    load: watch::Receiver<Load>,
}

impl Handle {
    pub(super) fn new(
        commands: SyncSender<Command>,
        hello: Hello,
        load: watch::Receiver<Load>,
    ) -> Self {
        Self {
            commands,
            hello: Arc::new(hello),
            load,
        }
    }

    /// Who the engine is and what it can hold.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What it holds now; changes after each step.
    pub fn load(&self) -> watch::Receiver<Load> {
        self.load.clone()
    }

    /// Hands in a call; its events come through the result. `matchers` are those of its choices, if it has a grammar.
    ///
    /// # Errors
    /// When the core refuses it or the thread is gone.
    pub async fn submit(
        &self,
        request: Request,
        matchers: Vec<Box<dyn Matcher>>,
    ) -> Result<OpenCall, SubmitError> {
        assert!(
            matchers.is_empty() || matchers.len() == request.choices as usize,
            "{} matchers for {} choices",
            matchers.len(),
            request.choices
        );
        let call = request.call.clone();
        // Bounded by the call's own `max_tokens`: a reader that stalls holds up to one call's tokens, and the step
        // thread never waits for it.
        let (sender, events) = mpsc::unbounded_channel();
        let (answer, answered) = oneshot::channel();
        self.send(Command::Add {
            request: Box::new(request),
            matchers,
            events: sender,
            answer,
        })?;
        answered.await.map_err(|_| Gone)??;
        Ok(OpenCall {
            call,
            handle: self.clone(),
            events,
            ended: false,
        })
    }

    /// Hands in a call for vectors.
    ///
    /// # Errors
    /// When the queue refuses it or the thread is gone.
    pub async fn embed(&self, request: embedding::Request) -> Result<OpenEmbedding, SubmitError> {
        let call = request.call.clone();
        let (end, ended) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        self.send(Command::Embed {
            request: Box::new(request),
            end,
            answer,
        })?;
        answered.await.map_err(|_| Gone)??;
        Ok(OpenEmbedding {
            call,
            handle: self.clone(),
            ended: Some(ended),
        })
    }

    /// Applies the router's commands before the next step; for each, whether the call was there.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn command(&self, commands: Vec<CallCommand>) -> Result<Vec<bool>, Gone> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Calls(commands, answer))?;
        answered.await.map_err(|_| Gone)
    }

    /// The program's unreferenced pages are the first to be evicted.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn release(&self, program: ProgramId) -> Result<(), Gone> {
        self.send(Command::Release(program))
    }

    /// A new event stream: the figures of all open calls first, then what changes.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn subscribe(&self) -> Result<mpsc::Receiver<EngineEvent>, Gone> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        self.send(Command::Subscribe(sender))?;
        Ok(receiver)
    }

    /// Tells the load report how long prompts are in bytes and tokens.
    pub fn tokenised(&self, bytes: usize, tokens: usize) {
        // A figure that is lost under overload is not missed.
        let _ = self.send(Command::Tokenised(bytes as u64, tokens as u64));
    }

    /// No call will be added: those that wait for a batch to fill are cancelled. Resolves when no call is open.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn drain(&self) -> Result<(), Gone> {
        let (idle, is_idle) = oneshot::channel();
        self.send(Command::Drain(idle))?;
        is_idle.await.map_err(|_| Gone)
    }

    fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => Gone,
            })
    }
}

/// A call in the engine. Letting it go cancels it.
#[derive(Debug)]
pub struct OpenCall {
    call: CallId,
    handle: Handle,
    events: mpsc::UnboundedReceiver<CallEvent>,
    ended: bool,
}

impl OpenCall {
    /// Its name.
    pub fn id(&self) -> &CallId {
        &self.call
    }

    /// Whether its end was seen: nothing follows.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What happens next; `None` when the engine died.
    pub async fn next(&mut self) -> Option<CallEvent> {
        let event = self.events.recv().await;
        self.ended |= matches!(event, None | Some(CallEvent::Ended { .. }));
        event
    }

    /// What has happened already, without waiting.
    pub fn try_next(&mut self) -> Option<CallEvent> {
        let event = self.events.try_recv().ok();
        self.ended |= matches!(event, Some(CallEvent::Ended { .. }));
        event
    }

    /// Cancels it; its end comes as an event.
    pub fn cancel(&self) {
        // Where the command is lost, the drop of this repeats it.
        let _ = self.handle.send(Command::Cancel(self.call.clone()));
    }

    /// A stop string ended a choice: no more tokens for it. Its end comes as an event.
    pub fn stop_choice(&self, choice: u32) {
        // Where the command is lost the choice runs to its limit, and its text is ignored.
        let _ = self
            .handle
            .send(Command::StopChoice(self.call.clone(), choice));
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.ended {
            // Where the command is lost the loop finds the receiver gone at the call's next token.
            let _ = self.handle.send(Command::Cancel(self.call.clone()));
        }
    }
}

/// A call for vectors in the engine. Letting it go cancels what of it has not begun.
#[derive(Debug)]
pub struct OpenEmbedding {
    call: CallId,
    handle: Handle,
    /// `None` once its end was seen.
    ended: Option<oneshot::Receiver<embedding::Ended>>,
}

impl OpenEmbedding {
    /// Its end.
    ///
    /// # Errors
    /// When the thread is gone.
    pub async fn end(mut self) -> Result<embedding::Ended, Gone> {
        let Some(ended) = &mut self.ended else {
            return Err(Gone);
        };
        let end = ended.await.map_err(|_| Gone);
        self.ended = None;
        end
    }
}

impl Drop for OpenEmbedding {
    fn drop(&mut self) {
        if self.ended.is_some() {
            // Where the command is lost the loop finds the receiver gone before its next step.
            let _ = self.handle.send(Command::Cancel(self.call.clone()));
        }
    }
}
