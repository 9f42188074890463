//! A request's calls while they run. Owns: handing them to the core, and turning what happens to their tokens into what
//! happens to the answer's choices. Letting it go cancels what is still open.

use std::future::{Future, poll_fn};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use lps_api::ids::CallId;
use lps_api::openai::FinishReason;
use lps_api::protocol::{CallUsage, RESUME_FIELD};
use lps_api::quantity::Order;
use lps_engine_core::batch::Sampled;
use lps_engine_core::core::Finish;
use lps_engine_core::defect::Failure;
use lps_engine_core::request::{Request, Stopping, TokenId};

use super::Shared;
use super::error::Error;
use super::form::Matchers;
use super::identity::Identity;
use super::parse::Rules;
use super::prompt::Prompts;
use crate::executor::{CallEvent, OpenCall};
use crate::text::choice::{ChoiceText, Piece};

/// What happened to the answer.
#[derive(Debug)]
pub(super) enum Event {
    /// A choice has something new.
    Piece {
        /// Which choice of the answer.
        index: u32,
        piece: Piece,
        /// Given with the choice's last piece.
        end: Option<End>,
    },
    /// All choices ended. Nothing follows.
    Ended {
        usage: CallUsage,
        /// Of the output tokens those before answers; `None` where reasoning is not looked for.
        reasoning_tokens: Option<u32>,
    },
    /// It has no end: cancelled from outside, or the model or the engine failed. Nothing follows.
    Failed(Error),
}

/// How a choice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) reason: FinishReason,
    /// The stop text that came.
    pub(super) stop: Option<String>,
}

/// A request, read and checked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) prompts: Prompts,
    pub(super) identity: Identity,
    pub(super) rules: Rules,
}

/// The calls of one request: one for each prompt.
#[derive(Debug)]
pub(super) struct Running {
    calls: Vec<OpenCall>,
    open: usize,
    choices: Vec<ChoiceText>,
    choices_per_call: u32,
    usage: CallUsage,
    /// Why there will be no answer: the first end of a call that is none.
    broken: Option<Broken>,
    /// Of the first call's random numbers.
    seed: u64,
    /// For messages.
    model: String,
}

/// How a call ends without its answer.
#[derive(Debug, Clone, Copy)]
enum Broken {
    Cancelled,
    Failed(Failure),
}

impl Running {
    /// Hands the calls in. When one is refused, all are taken back.
    pub(super) async fn start(
        asked: &Asked,
        mut matchers: Matchers,
        shared: &Shared,
    ) -> Result<Self, Error> {
        let Asked {
            prompts,
            identity,
            rules,
        } = asked;
        if rules.resume.is_some() && prompts.len() != 1 {
            let message = format!("{RESUME_FIELD} is for one prompt");
            return Err(Error::invalid(RESUME_FIELD, message));
        }
        let seed = seed((identity, rules), shared);
        let mut calls = Vec::with_capacity(prompts.len());
        for (index, prompt) in prompts.iter().enumerate() {
            let request = request((prompt, index, seed), (identity, rules), shared)?;
            let own = matchers.len().min(rules.choices as usize);
            let own = matchers.drain(..own).collect();
            calls.push(shared.engine.submit(request, own).await?);
        }
        let choices = prompts.len() as u32 * rules.choices;
        let tokenizer = &shared.text.tokenizer;
        let mut running = Self {
            open: calls.len(),
            calls,
            choices: (0..choices)
                .map(|index| ChoiceText::new(Arc::clone(tokenizer), &rules.text, index))
                .collect(),
            choices_per_call: rules.choices,
            usage: CallUsage::default(),
            broken: None,
            seed,
            model: shared.facts.name.clone(),
        };
        if let Some(resume) = &rules.resume {
            running.catch_up(&resume.tokens);
        }
        Ok(running)
    }

    /// Brings the text to where the client is: what comes of it was given out before.
    fn catch_up(&mut self, given: &[TokenId]) {
        let text = &mut self.choices[0];
        for &token in given {
            text.push(Sampled {
                token,
                logprobs: None,
            });
        }
        if text.is_stopped() {
            self.calls[0].stop_choice(0);
        }
    }

    /// The seed of the first call's random numbers.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let Some((call, event)) = next_of(&mut self.calls).await else {
                return Event::Failed(Error::engine_failed());
            };
            if let Some(event) = self.take(call, event) {
                return event;
            }
        }
    }

    fn take(&mut self, call: usize, event: CallEvent) -> Option<Event> {
        let first = call as u32 * self.choices_per_call;
        match event {
            CallEvent::Token { choice, sampled } => {
                let index = first + choice;
                let text = &mut self.choices[index as usize];
                let piece = text.push(sampled)?;
                if text.is_stopped() {
                    self.calls[call].stop_choice(choice);
                }
                Some(Event::Piece {
                    index,
                    piece,
                    end: None,
                })
            }
            CallEvent::ChoiceEnded { choice, finish } => {
                let index = first + choice;
                let text = &mut self.choices[index as usize];
                let piece = text.finish();
                let reason = match finish {
                    Finish::Cancelled | Finish::Failed(_) => return None,
                    Finish::Length if !text.is_stopped() => FinishReason::Length,
                    _ if text.has_whole_tool_calls() => FinishReason::ToolCalls,
                    _ => FinishReason::Stop,
                };
                let stop = text.stopped_by().map(str::to_owned);
                Some(Event::Piece {
                    index,
                    piece,
                    end: Some(End { reason, stop }),
                })
            }
            CallEvent::Ended { usage, finish } => {
                self.open -= 1;
                add(&mut self.usage, usage);
                let broken = match finish {
                    Finish::Stop | Finish::Length => None,
                    Finish::Cancelled => Some(Broken::Cancelled),
                    Finish::Failed(failure) => Some(Broken::Failed(failure)),
                };
                if self.broken.is_none() && broken.is_some() {
                    self.broken = broken;
                    self.calls.iter().for_each(OpenCall::cancel);
                }
                (self.open == 0).then(|| self.end())
            }
        }
    }

    fn end(&self) -> Event {
        match self.broken {
            None => Event::Ended {
                usage: self.usage,
                reasoning_tokens: self.choices.iter().map(ChoiceText::reasoning_tokens).sum(),
            },
            Some(Broken::Cancelled) => Event::Failed(Error::cancelled(self.usage)),
            Some(Broken::Failed(failure)) if failure.is_by_grammar() => {
                Event::Failed(Error::grammar(failure, self.usage))
            }
            Some(Broken::Failed(failure)) => {
                Event::Failed(Error::numeric(&self.model, failure, self.usage))
            }
        }
    }
}

/// The first of the calls to which something happened; `None` when the engine is gone.
async fn next_of(calls: &mut [OpenCall]) -> Option<(usize, CallEvent)> {
    poll_fn(|context| {
        for (index, call) in calls.iter_mut().enumerate() {
            if call.has_ended() {
                continue;
            }
            if let Poll::Ready(event) = pin!(call.next()).poll(context) {
                return Poll::Ready(event.map(|event| (index, event)));
            }
        }
        Poll::Pending
    })
    .await
}

fn add(sum: &mut CallUsage, usage: CallUsage) {
    sum.prompt_tokens.0 += usage.prompt_tokens.0;
    sum.cached_tokens.0 += usage.cached_tokens.0;
    sum.output_tokens.0 += usage.output_tokens.0;
    sum.executor_us += usage.executor_us;
}

/// The client's seed; else the one that the answer began with; else one of the call's own.
fn seed((identity, rules): (&Identity, &Rules), shared: &Shared) -> u64 {
    if rules.has_seed {
        return rules.sampling.seed;
    }
    rules.resume.as_ref().map_or_else(
        || {
            let mut hasher = DefaultHasher::new();
            (shared.seed, identity.call.as_str()).hash(&mut hasher);
            hasher.finish()
        },
        |resume| resume.beginning.seed,
    )
}

fn request(
    (prompt, index, seed): (&Arc<[TokenId]>, usize, u64),
    (identity, rules): (&Identity, &Rules),
    shared: &Shared,
) -> Result<Request, Error> {
    let room = shared.facts.max_model_len - prompt.len() as u32;
    let max_tokens = rules.max_tokens.map_or(room, |limit| limit.min(room));
    if rules.min_tokens > max_tokens {
        let message = format!(
            "min_tokens is {}, but there is room for {max_tokens}",
            rules.min_tokens
        );
        return Err(Error::invalid("min_tokens", message));
    }
    let mut sampling = rules.sampling.clone();
    // Several prompts would otherwise draw the same random numbers.
    sampling.seed = seed.wrapping_add(index as u64);
    Ok(Request {
        call: name(&identity.call, index)?,
        attempt: identity.attempt,
        program: identity.program.clone(),
        order: identity.order.unwrap_or_else(|| Order {
            queue: rules.priority,
            rank: shared.arrival(),
        }),
        prompt: Arc::clone(prompt),
        resumed: rules
            .resume
            .as_ref()
            .map_or_else(Vec::new, |resume| resume.tokens.clone()),
        cache_salt: shared
            .salts
            .of(identity.tenant.as_ref(), rules.cache_salt.as_deref()),
        choices: rules.choices,
        sampling,
        stopping: Stopping {
            max_tokens,
            min_tokens: rules.min_tokens,
            stop_tokens: rules.stop_tokens.clone(),
        },
    })
}

/// Every prompt after the first is a call with a name of its own.
fn name(call: &CallId, index: usize) -> Result<CallId, Error> {
    if index == 0 {
        return Ok(call.clone());
    }
    CallId::parse(&format!("{call}/{index}"))
        .map_err(|error| Error::invalid(lps_api::wellknown::header::CALL_ID, error.to_string()))
}
