//! The real engine's core in virtual time. Owns: the loop around it, with a cost model in place of the tensors: who
//! runs, pages, prefix cache and preemption are the production code's.

use std::collections::BTreeMap;

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Order};
use lps_engine_core::batch::{Batch, Outputs, Sampled, SequenceId};
use lps_engine_core::core::{Batching, Config, Core, Effect, Preemption};
use lps_engine_core::report::Reported;
use lps_engine_core::request::{Request, SamplingParams, Stopping};
use lps_router::message::{CallKey, ProgramKey};

use super::cost::Load;
use super::profile::Profile;
use super::{Engine, Job, Told};
use crate::sim::record::{key, name};
use crate::workload::content;

/// Tokens of a page.
const BLOCK_TOKENS: u32 = 16;
/// A step that is out.
#[derive(Debug)]
struct Out {
    end: Micros,
    duration: Micros,
    outputs: Outputs,
}

/// The engine.
#[derive(Debug)]
pub(super) struct CoreEngine {
    core: Core,
    profile: Profile,
    factor: f64,
    out: Option<Out>,
    /// Who takes part in the step that is out, or took part in the last one.
    members: Vec<CallKey>,
    reported: BTreeMap<CallKey, Option<Reported>>,
    computed_tokens: u64,
}

impl CoreEngine {
    pub(super) fn new(profile: Profile) -> Self {
        let blocks = profile.kv_tokens / u64::from(BLOCK_TOKENS);
        let core = Core::new(Config {
            max_num_seqs: profile.max_num_seqs,
            max_batched_tokens: profile.max_batched_tokens,
            max_model_len: u32::MAX,
            block_tokens: BLOCK_TOKENS,
            kv_blocks: u32::try_from(blocks).unwrap_or(u32::MAX).max(1),
            max_calls: u32::MAX,
            batching: Batching::Continuous,
            prefix_cache: true,
            preemption: Preemption::Keep,
        });
        Self {
            core,
            profile,
            factor: 1.0,
            out: None,
            members: Vec::new(),
            reported: BTreeMap::new(),
            computed_tokens: 0,
        }
    }

    /// Tells of those calls where there is news.
    fn report(&mut self, calls: &[CallKey], now: Micros, told: &mut Vec<Told>) {
        for call in calls {
            let id = name(*call).expect("letters and digits");
            let progress = self.core.progress_of(&id);
            let Some((progress, last)) = progress.zip(self.reported.get_mut(call)) else {
                continue;
            };
            let (call, state, usage) = (*call, progress.state, progress.usage);
            let next = Reported::new(state, &usage, now);
            if last.is_none_or(|last| last.is_old_beside(&next)) {
                *last = Some(next);
                told.push(Told { call, state, usage });
            }
        }
    }
}

fn load(batch: &Batch<'_>) -> Load {
    let mut load = Load::default();
    for sequence in &batch.sequences {
        load.add(sequence.len as u32, sequence.computed as u32);
    }
    load
}

/// The tokens that the workload says.
fn draw(batch: &Batch<'_>) -> Outputs {
    let drawn = batch.sequences.iter().filter_map(|sequence| {
        let sample = sequence.sample.as_ref()?;
        let place = sequence.tokens.len() - sequence.prompt_len;
        let token = content::answer(sample.params.seed, place as u32);
        let logprobs = None;
        Some((sequence.id, Ok(Sampled { token, logprobs })))
    });
    Outputs {
        sampled: drawn.collect(),
    }
}

fn program(key: &ProgramKey) -> ProgramId {
    // Tenants' programs are apart; here their names are as well.
    let name = format!("{}.{}", key.tenant, key.program);
    ProgramId::parse(&name).unwrap_or_else(|_| key.program.clone())
}

impl Engine for CoreEngine {
    fn take(&mut self, job: Job, now: Micros) {
        let last = job.content.last();
        let resumed = (0..job.resumed).map(|place| content::answer(last.id, place));
        let request = Request {
            call: name(job.call).expect("letters and digits"),
            attempt: Attempt(0),
            program: program(&job.program),
            order: job.order,
            prompt: job.content.ids().into(),
            resumed: resumed.collect(),
            cache_salt: 0,
            choices: 1,
            sampling: SamplingParams {
                seed: last.id,
                ..SamplingParams::default()
            },
            stopping: Stopping {
                max_tokens: job.output,
                min_tokens: 0,
                stop_tokens: Vec::new(),
            },
        };
        let taken = self.core.add(request, now);
        taken.expect("the router refuses what is too long");
        self.reported.insert(job.call, None);
    }

    fn reorder(&mut self, call: CallKey, order: Order, _now: Micros) {
        if let Ok(id) = name(call) {
            self.core.reorder(&id, order);
        }
    }

    fn cancel(&mut self, call: CallKey, _now: Micros) -> CallUsage {
        let id = name(call).expect("letters and digits");
        let effects = self.core.cancel(&id);
        self.reported.remove(&call);
        let usage = effects.into_iter().find_map(|effect| match effect {
            Effect::CallEnded { usage, .. } => Some(usage),
            _ => None,
        });
        usage.unwrap_or_default()
    }

    fn release(&mut self, key: &ProgramKey) {
        self.core.release(&program(key));
    }

    fn next(&self, _quantum_left: &dyn Fn(CallKey) -> Option<Micros>) -> Option<Micros> {
        self.out.as_ref().map(|out| out.end)
    }

    fn pass(&mut self, now: Micros, told: &mut Vec<Told>) {
        let Some(out) = self.out.take_if(|out| out.end <= now) else {
            return;
        };
        let effects = self.core.complete(out.outputs, out.duration);
        self.core.take_kv_events();
        let members = std::mem::take(&mut self.members);
        self.report(&members, now, told);
        self.members = members;
        for effect in effects {
            if let Effect::CallEnded { call, usage, .. } = effect
                && let Some(call) = key(&call)
            {
                self.reported.remove(&call);
                let state = CallState::Finished;
                told.push(Told { call, state, usage });
            }
        }
    }

    fn settle(&mut self, now: Micros, told: &mut Vec<Told>) {
        if self.out.is_some() {
            return;
        }
        let Some(batch) = self.core.schedule(now) else {
            self.members.clear();
            return;
        };
        let (load, outputs) = (load(&batch), draw(&batch));
        let ids: Vec<SequenceId> = batch.sequences.iter().map(|s| s.id).collect();
        let prompts = batch.sequences.iter().filter(|s| s.len > 1);
        self.computed_tokens += prompts.map(|s| s.len as u64).sum::<u64>();
        drop(batch);
        let factor = self.factor;
        let micros = |us: f64| Micros((us * factor).round() as u64);
        let duration = micros(self.profile.costs.step_us(load)).max(Micros(1));
        let between = micros(self.profile.between_us);
        let of = |id: &SequenceId| -> Option<CallKey> {
            let (call, _): (&CallId, u32) = self.core.call_of(*id)?;
            key(call)
        };
        let members = ids.iter().filter_map(of).collect();
        let mut fell = std::mem::replace(&mut self.members, members);
        fell.retain(|call| !self.members.contains(call));
        self.report(&fell, now, told);
        self.out = Some(Out {
            end: now + between + duration,
            duration,
            outputs,
        });
    }

    fn slow_down(&mut self, factor: f64) {
        self.factor = factor;
    }

    fn computed_tokens(&self) -> u64 {
        self.computed_tokens
    }
}
