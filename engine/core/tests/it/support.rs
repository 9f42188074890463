//! What the tests of the core share: a model on paper, and short ways to say a call.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros, Order};
use lps_engine_core::batch::{Batch, BlockId, Outputs, Sampled, SequenceId};
use lps_engine_core::core::{Batching, Config, Core, Effect, Finish, Preemption};
use lps_engine_core::defect::Defect;
use lps_engine_core::model::{Masks, Model, StepError, Unmasked};
use lps_engine_core::request::{Request, SamplingParams, Stopping, TokenId};

/// Tokens that the paper model speaks.
pub(crate) const VOCABULARY: u64 = 13;

/// The token that ends a text, where a call wants it so.
pub(crate) const STOP: TokenId = 0;

/// A token that spoils the entries of its own position and of all that follow, as not-a-number in a weight does.
pub(crate) const SPOILT: TokenId = 999_999;

/// Such an entry.
const SPOILT_ENTRY: u64 = u64::MAX;

/// A model whose KV can be checked on paper: the entry of a position is the hash of the token there and of the entry
/// before, **read from the pages**. So a text comes out right only if every page that it went through was right.
#[derive(Debug)]
pub(crate) struct Paper {
    block_tokens: usize,
    pool: HashMap<(BlockId, usize), u64>,
    /// In so many steps more whatever is written is spoilt, as by a machine that errs for a moment.
    pub(crate) errs: u32,
    /// New tokens of each step, by sequence.
    pub(crate) log: Vec<Vec<(SequenceId, usize)>>,
}

impl Paper {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            block_tokens: config.block_tokens as usize,
            pool: HashMap::new(),
            errs: 0,
            log: Vec::new(),
        }
    }
}

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Model for Paper {
    fn step(&mut self, batch: &Batch<'_>, _masks: &mut dyn Masks) -> Result<Outputs, StepError> {
        let mut written = HashMap::new();
        let errs = self.errs > 0;
        self.errs = self.errs.saturating_sub(1);
        let mut outputs = Outputs::default();
        for sequence in &batch.sequences {
            let slot = |position: usize| {
                (
                    sequence.blocks[position / self.block_tokens],
                    position % self.block_tokens,
                )
            };
            let mut entry = match sequence.computed.checked_sub(1) {
                None => 0,
                Some(before) => *self.pool.get(&slot(before)).expect("the entry was written"),
            };
            assert!(sequence.len > 0, "a sequence without tokens");
            for (offset, &token) in sequence.new_tokens().iter().enumerate() {
                entry = match entry == SPOILT_ENTRY || token == SPOILT || errs {
                    true => SPOILT_ENTRY,
                    false => mix(entry ^ u64::from(token + 1)),
                };
                let slot = slot(sequence.computed + offset);
                self.pool.insert(slot, entry);
                assert_eq!(
                    written.insert(slot, sequence.id),
                    None,
                    "two write one slot"
                );
            }
            let complete = sequence.computed + sequence.len == sequence.tokens.len();
            if let Some(sample) = &sequence.sample {
                assert!(complete, "a draw before the last token");
                let position = (sequence.tokens.len() - sequence.prompt_len) as u64;
                let key = mix(entry ^ mix(sample.params.seed ^ (u64::from(sample.choice) << 32)));
                let drawn =
                    |attempt: u64| (mix(key ^ position ^ (attempt << 40)) % VOCABULARY) as u32;
                let token = (0..)
                    .map(drawn)
                    .find(|token| !sample.forbidden.contains(token));
                let sampled = match entry {
                    SPOILT_ENTRY => Err(Defect::NotANumber),
                    _ => Ok(Sampled {
                        token: token.expect("endless"),
                        logprobs: None,
                    }),
                };
                outputs.sampled.push((sequence.id, sampled));
            }
        }
        let log = batch
            .sequences
            .iter()
            .map(|sequence| (sequence.id, sequence.len));
        self.log.push(log.collect());
        Ok(outputs)
    }
}

/// What came out of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ended {
    pub(crate) texts: BTreeMap<u32, Vec<TokenId>>,
    pub(crate) finishes: BTreeMap<u32, Finish>,
    pub(crate) usage: CallUsage,
    /// Why the last of them ended.
    pub(crate) finish: Option<Finish>,
}

/// A core, its model, and what came out so far.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) core: Core,
    pub(crate) model: Paper,
    pub(crate) now: Micros,
    pub(crate) open: BTreeMap<CallId, Ended>,
    pub(crate) ended: BTreeMap<CallId, Ended>,
    /// Names of the calls in the last step, with their choices and new tokens.
    pub(crate) last: Vec<(String, u32, usize)>,
}

impl Engine {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            core: Core::new(config.clone()),
            model: Paper::new(&config),
            config,
            now: Micros::ZERO,
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            last: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, request: Request) {
        let id = request.call.clone();
        self.core
            .add(request, self.now)
            .expect("the call is accepted");
        self.open.insert(id, Ended::default());
        self.core.check_integrity();
    }

    /// One step of a second; false when there was nothing to do.
    pub(crate) fn step(&mut self) -> bool {
        self.step_of(Micros::from_secs(1))
    }

    pub(crate) fn step_of(&mut self, duration: Micros) -> bool {
        self.last.clear();
        let Some(batch) = self.core.schedule(self.now) else {
            self.core.check_integrity();
            return false;
        };
        let outputs = self
            .model
            .step(&batch, &mut Unmasked)
            .expect("paper does not fail");
        let shape: Vec<_> = batch.sequences.iter().map(|s| (s.id, s.len)).collect();
        for (id, len) in shape {
            let (call, choice) = self.core.call_of(id).expect("a member is open");
            self.last.push((call.to_string(), choice, len));
        }
        self.core.check_integrity();
        let effects = self.core.complete(outputs, duration);
        self.now += duration;
        self.take(effects);
        true
    }

    /// Books effects, and that each call ends once and gets nothing afterwards.
    pub(crate) fn take(&mut self, effects: Vec<Effect>) {
        self.core.check_integrity();
        for effect in effects {
            match effect {
                Effect::Token {
                    call,
                    choice,
                    sampled,
                } => {
                    let call = self
                        .open
                        .get_mut(&call)
                        .expect("tokens for open calls only");
                    assert!(
                        !call.finishes.contains_key(&choice),
                        "a token after the end"
                    );
                    call.texts.entry(choice).or_default().push(sampled.token);
                }
                Effect::ChoiceEnded {
                    call,
                    choice,
                    finish,
                } => {
                    let call = self.open.get_mut(&call).expect("ends for open calls only");
                    assert_eq!(
                        call.finishes.insert(choice, finish),
                        None,
                        "a choice ends once"
                    );
                    call.texts.entry(choice).or_default();
                }
                Effect::CallEnded {
                    call,
                    usage,
                    finish,
                } => {
                    let mut end = self.open.remove(&call).expect("a call ends once");
                    assert!(
                        self.core.progress_of(&call).is_none(),
                        "an ended call is forgotten"
                    );
                    end.usage = usage;
                    end.finish = Some(finish);
                    self.ended.insert(call, end);
                }
            }
        }
    }

    pub(crate) fn cancel(&mut self, name: &str) {
        let effects = self.core.cancel(&call_id(name));
        self.take(effects);
    }

    /// To the end of everything that is open.
    pub(crate) fn finish(&mut self) {
        while self.step() {}
        assert!(
            self.open.is_empty(),
            "idle with open calls: {:?}",
            self.open
        );
        self.assert_idle();
    }

    pub(crate) fn assert_idle(&self) {
        let load = self.core.load();
        assert_eq!((load.running, load.waiting), (0, 0));
        assert_eq!(
            load.kv_blocks_free + load.kv_blocks_cached,
            self.config.kv_blocks
        );
    }

    /// `name/choice:tokens` of the last step.
    pub(crate) fn step_line(&mut self) -> String {
        self.step();
        let parts = self.last.iter().map(|(name, choice, len)| match choice {
            0 => format!("{name}:{len}"),
            _ => format!("{name}/{choice}:{len}"),
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn end(&self, name: &str) -> &Ended {
        &self.ended[&call_id(name)]
    }

    pub(crate) fn text(&self, name: &str) -> &[TokenId] {
        &self.end(name).texts[&0]
    }
}

pub(crate) fn config() -> Config {
    Config {
        max_num_seqs: 4,
        max_batched_tokens: 64,
        max_model_len: 256,
        block_tokens: 4,
        kv_blocks: 64,
        max_calls: 64,
        batching: Batching::Continuous,
        prefix_cache: true,
        preemption: Preemption::Keep,
    }
}

pub(crate) fn call_id(name: &str) -> CallId {
    CallId::parse(name).expect("a valid name")
}

/// A call of one choice that runs to its length.
pub(crate) fn request(name: &str, queue: u8, prompt: &[TokenId], max_tokens: u32) -> Request {
    Request {
        call: call_id(name),
        attempt: Attempt(0),
        program: ProgramId::parse(name).expect("a valid name"),
        order: Order { queue, rank: 0 },
        prompt: Arc::from(prompt),
        resumed: Vec::new(),
        cache_salt: 0,
        choices: 1,
        sampling: SamplingParams::default(),
        stopping: Stopping {
            max_tokens,
            min_tokens: 0,
            stop_tokens: Vec::new(),
        },
    }
}

/// `len` tokens that differ by `kind`.
pub(crate) fn prompt(kind: u32, len: usize) -> Vec<TokenId> {
    (0..len as u32).map(|index| kind * 1000 + index).collect()
}

/// The call served by an engine that has nothing else to do, in one chunk, without a cache.
pub(crate) fn alone(request: &Request) -> Ended {
    let config = Config {
        max_num_seqs: request.choices,
        max_batched_tokens: 4096,
        kv_blocks: 96,
        prefix_cache: false,
        ..config()
    };
    let mut engine = Engine::new(config);
    engine.add(Request {
        order: Order::default(),
        ..request.clone()
    });
    engine.finish();
    engine.ended.pop_first().expect("it ended").1
}
