//! What router and engine say to each other. Owns: the messages and their version. A reader ignores fields it does
//! not know, so versions N and N−1 work together; a change that an old reader would misread raises [`VERSION`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{CallId, EngineId, ModelName, ProgramId};
use crate::quantity::{Attempt, Micros, Order, Tokens};

/// Version of this protocol, sent in [`EngineEvent::Hello`] and in every request's header.
pub const VERSION: u32 = 1;

/// Heartbeat period of the event stream. Four missed ones mean that the engine is gone.
pub const HEARTBEAT: Micros = Micros::from_millis(500);

/// One line of an engine's event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EngineEvent {
    /// First line: who speaks and what it can hold.
    Hello(Hello),
    /// Every [`HEARTBEAT`], and the present load with it.
    Heartbeat(Load),
    /// Calls whose figures changed since the last such line, and all open ones on a new stream.
    Progress {
        /// One entry a call, cumulative.
        calls: Vec<CallProgress>,
    },
    /// Pages of the prefix cache that came or went, by chained hash (hexadecimal, 16 digits).
    Kv {
        /// Hashes now held.
        stored: Vec<String>,
        /// Hashes no longer held.
        evicted: Vec<String>,
    },
    /// The engine accepts nothing new and ends when it is idle.
    Draining,
}

/// Who an engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the speaker.
    pub protocol: u32,
    /// The engine's name, unique among live engines.
    pub engine: EngineId,
    /// What it serves.
    pub model: ModelName,
    /// Differs after each start of the process: a new value means that every call it had is gone.
    pub incarnation: u64,
    /// Most sequences in one batch.
    pub max_num_seqs: u32,
    /// Longest prompt plus output of one call.
    pub max_model_len: Tokens,
    /// Tokens of one step.
    pub max_batched_tokens: Tokens,
    /// Tokens of one KV page.
    pub block_tokens: Tokens,
    /// Pages of the KV pool.
    pub kv_blocks_total: u32,
}

/// What an engine holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Sequences in the running batch.
    pub running: u32,
    /// Calls that wait for a slot, preempted ones included.
    pub waiting: u32,
    /// Pages that no one references and that hold nothing.
    pub kv_blocks_free: u32,
    /// Pages that no one references but that the prefix cache can still serve.
    pub kv_blocks_cached: u32,
    /// Bytes of prompt text per thousand tokens, as seen by this engine's tokenizer; 0 until something was seen.
    pub bytes_per_kilotoken: u32,
}

/// Where a call stands in its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Not yet in a batch.
    Waiting,
    /// In the running batch.
    Running,
    /// Was in the batch and had to leave it; keeps what it produced.
    Preempted,
    /// Ended by itself: stop token, stop string, or length.
    Finished,
    /// Ended by a cancel.
    Cancelled,
    /// Ended by an error of the engine.
    Failed,
}

impl CallState {
    /// Whether nothing more will come of the call.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Failed)
    }
}

/// Cumulative figures of one call. Only increases count, so duplicates and late ones change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallProgress {
    /// The call.
    pub call: CallId,
    /// The attempt that these figures belong to.
    #[serde(default)]
    pub attempt: Attempt,
    /// Where it stands.
    pub state: CallState,
    /// Figures so far.
    #[serde(flatten)]
    pub usage: CallUsage,
}

/// What a call has used. The same object closes a call's answer as its `lps` field: in the last chunk of a stream,
/// and in the body of a unary answer, errors of a started call included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: Tokens,
    /// Of those, tokens whose KV came from the prefix cache at the first admission.
    pub cached_tokens: Tokens,
    /// Tokens produced, over all choices.
    pub output_tokens: Tokens,
    /// Sum of the durations of the engine steps that the call took part in.
    pub executor_us: Micros,
}

/// Begins the comment of a streamed answer that holds a [`Checkpoint`]; it stands before the event that it is about. Only
/// routers get such comments, and only of answers with one choice.
pub const CHECKPOINT: &str = ": lps ";

/// What a router adds to a request's body when another engine is to go on with its answer: a [`Resume`].
pub const RESUME_FIELD: &str = "lps_resume";

/// `code` of the error by which an engine ends a stream when it failed and ends: for routers as if its connection broke.
pub const ENGINE_FAILED: &str = "engine_failed";

/// What the event after it brings, in tokens: with those of all events before, it is what another engine needs to go on
/// exactly here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// With the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beginning: Option<Beginning>,
    /// Output tokens whose text ends with this event.
    pub tokens: Vec<u32>,
    /// Whether the answer ends with this event and those after it. Half of an end cannot be gone on with: it goes to the
    /// client whole, or not at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closes: bool,
}

/// What an answer had from its beginning on and keeps wherever it is continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Seconds since 1970.
    pub created: u64,
    /// Seed of its random numbers.
    pub seed: u64,
}

/// What a client has of an answer whose engine is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// As the first engine told.
    pub beginning: Beginning,
    /// Output so far.
    pub tokens: Vec<u32>,
}

/// Body of `POST /internal/v1/calls`: applied in order, within one step of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCommands {
    /// What to do.
    pub commands: Vec<CallCommand>,
}

/// One command about one call. A command for a call that is not (or no longer) there is not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CallCommand {
    /// Gives the call a new place among the engine's calls. What runs is the first of that order that fits, so this
    /// is also how one call displaces another.
    Order {
        /// Which call.
        call: CallId,
        /// Its new place.
        order: Order,
    },
    /// Ends the call; its pages are back within two steps. Twice is harmless.
    Cancel {
        /// Which call.
        call: CallId,
    },
}

/// Answer to [`CallCommands`]: for each command, whether the call was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCommandResults {
    /// In the order of the commands.
    pub found: Vec<bool>,
}

/// Body of `POST /internal/v1/release`: the program's unreferenced pages are the first to be evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which program.
    pub program: ProgramId,
}
