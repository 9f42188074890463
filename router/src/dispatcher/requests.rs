//! What clients ask for. Owns: letting a call in or refusing it, and which call or program a cancel means.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::{Shared, WeakShared};
use hyper::Response;
use lps_api::ids::{CallId, ModelName, TenantId};
use lps_api::quantity::{Micros, Tokens};
use tokio::sync::oneshot;

use crate::admission::{BodyPermit, Full};
use crate::allowance::{Exceeded, Standing};
use crate::dispatcher::desk::{Desk, View, limits};
use crate::dispatcher::open_call::{ClientEnd, OpenCall, Place, Tries};
use crate::engine_client::Failure;
use crate::engine_client::leg::Outgoing;
use crate::identity::{Fresh, Identity, Lineage};
use crate::message::{CallKey, Event, IdentitySource, NewCall, Parents, ProgramKey};
use crate::traces::Said;

/// An answer that is not streamed, to come, for all that wait for it.
pub type SharedAnswer = Shared<oneshot::Receiver<Response<Bytes>>>;
/// As [`SharedAnswer`]; lets it go when nobody waits any more.
pub type WeakAnswer = WeakShared<oneshot::Receiver<Response<Bytes>>>;

/// A call as its client sent it, checked.
#[derive(Debug)]
pub struct Submission {
    /// Who pays.
    pub tenant: TenantId,
    /// Where it belongs.
    pub identity: Identity,
    /// Which pool serves it.
    pub model: ModelName,
    /// How long its prompt is.
    pub prompt: PromptSize,
    /// What its client says about the output: a hint, or its limit.
    pub expected_output: Option<Tokens>,
    /// What its client said of its trace.
    pub said: Option<Said>,
    /// What is posted.
    pub outgoing: Arc<Outgoing>,
    /// Its answer, where a retry of its client may wait for it too.
    pub answer: Option<WeakAnswer>,
    /// Room for its body.
    pub body: BodyPermit,
    /// Told how its tenant's limits stand, before anything of the answer comes; where it has some.
    pub standing: Arc<OnceLock<Standing>>,
}

/// How long a prompt is, as far as the router can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptSize {
    /// Exactly: the client gave token ids.
    Tokens(Tokens),
    /// Bytes of text.
    Bytes(usize),
}

/// One message to the dispatcher.
pub(super) enum Request {
    /// A call comes in.
    Submit(Box<(CallKey, Submission, ClientEnd)>),
    /// A call's client left.
    Cancel(CallKey),
    /// A client cancels a call by its name.
    CancelByName {
        /// Whose.
        tenant: TenantId,
        /// Which.
        call: CallId,
        /// Whether it was open.
        answer: oneshot::Sender<bool>,
    },
    /// Something about a program or an engine.
    Tell(Box<Event>),
    /// Someone reads.
    Read(Box<dyn FnOnce(View<'_>) + Send>),
    /// The router drains.
    Drain,
}

impl Desk {
    /// Takes one request.
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Submit(submitted) => {
                let (key, submission, client) = *submitted;
                self.submit(key, submission, client);
            }
            Request::Cancel(key) => self.cancel_asked(key),
            Request::CancelByName {
                tenant,
                call,
                answer,
            } => {
                let key = self.names.get(&(tenant, call)).copied();
                // Who asked may have left.
                let _ = answer.send(key.is_some());
                if let Some(key) = key {
                    self.cancel_asked(key);
                }
            }
            Request::Tell(event) => self.tell(*event),
            Request::Read(look) => {
                self.state.as_of(self.now());
                look(self.view());
            }
            Request::Drain => self.is_draining = true,
        }
    }

    /// A call is to end because its client wants so, or is gone.
    pub(super) fn cancel_asked(&mut self, key: CallKey) {
        if self.calls.contains_key(&key) {
            self.tell(Event::CancelRequested { call: key });
        }
    }

    fn submit(&mut self, key: CallKey, mut submission: Submission, mut client: ClientEnd) {
        let now = self.now();
        let name = (submission.tenant.clone(), submission.identity.call.clone());
        let mut program = ProgramKey {
            tenant: submission.tenant.clone(),
            program: submission.identity.program.clone(),
        };
        if self.is_draining && !self.state.is_live(&program) {
            self.metrics.refused("draining");
            return client.fail(Failure::Draining);
        }
        if self.names.contains_key(&name) {
            self.metrics.refused("duplicate_call");
            return client.fail(Failure::DuplicateCall);
        }
        let may_begin = self.may_begin(key, &mut submission.identity, &mut program);
        let ready = may_begin.and_then(|()| self.admission.admit(&submission.tenant));
        let ready = match ready {
            Ok(permit) => permit,
            Err(full) => {
                let retry_after = self.retry_after(&submission.model, now);
                self.metrics.refused("full");
                return client.fail(Failure::Full {
                    message: full.to_string(),
                    retry_after,
                });
            }
        };
        let call = self.new_call(key, &submission, &program);
        let charged = match self.charge(&submission, &call, now) {
            Ok(charged) => charged,
            Err(exceeded) => {
                let pace = self.retry_after(&call.model, now);
                self.metrics.refused("limit");
                return client.fail(Failure::Limited {
                    message: exceeded.to_string(),
                    retry_after: exceeded.wait().unwrap_or(pace),
                });
            }
        };
        self.retries.earn();
        let row = self.state.resolve(&program).clone();
        self.traces.begin(&row, submission.said.as_ref());
        self.metrics.identified(submission.identity.source);
        self.names.insert(name, key);
        let open = OpenCall {
            id: submission.identity.call,
            program,
            row: row.clone(),
            model: submission.model,
            arrived: now,
            place: Place::Waiting,
            outgoing: submission.outgoing,
            answer: submission.answer,
            client,
            said: submission.said,
            ready: Some(ready),
            failed: Tries::default(),
            resume: None,
            revision: None,
            charged,
            _body: submission.body,
        };
        self.calls.insert(key, open);
        let model = call.model.clone();
        self.tell(Event::CallArrived(call));
        if self.state.is_stranded(&model) {
            self.stranded.notify_one();
        }
    }

    /// Whether a call's program may begin. Where it may not and nobody said that it is one, the call is a program of its own,
    /// which ends with it: not somebody else's, who could cancel it.
    fn may_begin(
        &self,
        key: CallKey,
        identity: &mut Identity,
        program: &mut ProgramKey,
    ) -> Result<(), Full> {
        let may_begin = self.view().may_begin(program);
        if may_begin.is_ok() || !identity.source.is_guessed() {
            return may_begin;
        }
        if identity.source == IdentitySource::Prefix {
            program.program = Fresh::named(&key.0.to_string()).program;
        }
        identity.source = IdentitySource::Single;
        Ok(())
    }

    /// Charges a call's tenant for it, where the tenant has limits: gives back how much.
    fn charge(
        &mut self,
        submission: &Submission,
        call: &NewCall,
        now: Micros,
    ) -> Result<Option<Tokens>, Exceeded> {
        let tenant = &submission.tenant;
        let Some(limits) = limits(&self.keys, tenant) else {
            return Ok(None);
        };
        let expected = call.expected_output_tokens.0;
        let tokens = Tokens(call.prompt_tokens.0.saturating_add(expected));
        let (taken, standing) = self.allowances.take((tenant, limits), tokens, now);
        // A submission comes once.
        let _ = submission.standing.set(standing);
        taken.map(|()| Some(tokens))
    }

    fn new_call(&mut self, key: CallKey, from: &Submission, program: &ProgramKey) -> NewCall {
        let parents = match &from.identity.lineage {
            Lineage::Calls(parents) => parents.clone(),
            Lineage::Threads(threads) => {
                let last = threads
                    .iter()
                    .filter_map(|thread| self.state.last_call(program, thread));
                Parents::Named(last.collect())
            }
        };
        let expected = from.expected_output;
        let expected_output_tokens =
            expected.unwrap_or_else(|| self.pace(&from.model).output_tokens());
        NewCall {
            key,
            id: from.identity.call.clone(),
            program: program.clone(),
            class: from.identity.class.clone(),
            thread: from.identity.thread.clone(),
            parents,
            model: from.model.clone(),
            source: from.identity.source,
            prompt_tokens: self.prompt_tokens(from.prompt, &from.model),
            expected_output_tokens,
            expected_service: None,
        }
    }

    fn prompt_tokens(&self, size: PromptSize, model: &ModelName) -> Tokens {
        match size {
            PromptSize::Tokens(tokens) => tokens,
            PromptSize::Bytes(bytes) => {
                let ratio = u64::from(self.fleet.bytes_per_kilotoken(model));
                let tokens = (bytes as u64).saturating_mul(1_000).div_ceil(ratio);
                Tokens(u32::try_from(tokens).unwrap_or(u32::MAX))
            }
        }
    }

    /// When a client should come back whose model's queue is as it is now.
    pub(super) fn retry_after(&mut self, model: &ModelName, now: Micros) -> std::time::Duration {
        let waiting = self.state.queue_len(model);
        self.pace(model).retry_after(waiting, now)
    }
}
