//! From a resource to what it means. Owns: which resources make sense. A [`Validated`] one needs no further check;
//! all reasons against a resource are told at once, each with the field, the value and the fix.

mod check;
/// Names of the Hugging Face hub.
pub mod repository;

use std::sync::Arc;

use lps_api::ids::{EngineId, ModelName};
use lps_api::quantity::{Micros, Tokens};
use lps_api::resource::{
    Builtin, Bytes, Device, Dtype, HuggingFace, Manifest, Pvc, Rollout, ScalingMode, ScalingRule,
};
use lps_api::scheduling::Settings;

use crate::revision::{Revision, revision};
use check::Check;

/// One reason against a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    /// The field, such as `spec.scaling.max`.
    pub path: String,
    /// What is wrong with its value, and what would be right.
    pub problem: String,
}

/// A resource that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// The resource's name; its engines are `NAME-0`, `NAME-1`, ….
    pub name: String,
    /// What each engine is.
    pub template: Arc<Template>,
    /// Names the template: engines of another revision are replaced.
    pub revision: Revision,
    /// How calls are scheduled.
    pub settings: Settings,
    /// How many engines there are.
    pub scaling: Scaling,
    /// How engines are replaced.
    pub rollout: Rollout,
}

/// What each engine of a pool is.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The name by which clients ask for the model.
    pub model: ModelName,
    /// Where the checkpoint comes from.
    pub source: Source,
    /// Longest prompt plus output.
    pub max_model_len: Option<Tokens>,
    /// Number format of the weights.
    pub dtype: Dtype,
    /// Where it is computed.
    pub device: Device,
    /// Most sequences in one batch.
    pub max_num_seqs: Option<u32>,
    /// Most tokens of one step.
    pub max_batched_tokens: Option<Tokens>,
    /// Size of the KV pool.
    pub kv_cache: Option<KvCache>,
    /// CPU that it may use, in thousandths of a core.
    pub cpu_limit_millis: Option<u32>,
    /// How long it may take until it is ready.
    pub start_timeout: Micros,
    /// Further flags.
    pub extra_args: Vec<String>,
}

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Part of the engine.
    Builtin(Builtin),
    /// The Hugging Face hub.
    HuggingFace(HuggingFace),
    /// A persistent volume.
    Pvc(Pvc),
    /// An absolute path on the engine's machine.
    HostPath(String),
    /// A container image.
    Image(String),
}

/// Size of a KV pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KvCache {
    /// So many bytes.
    Size(Bytes),
    /// This share of the free memory.
    Fraction(f64),
}

/// How many engines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    /// Who decides.
    pub mode: ScalingMode,
    /// By what the router decides.
    pub rule: ScalingRule,
    /// Whether the router only tells what it would decide.
    pub dry_run: bool,
    /// Fewest engines.
    pub min: u32,
    /// Most engines.
    pub max: u32,
    /// What the resource itself says: `replicas`, else `min`; 0 while it is suspended.
    pub written: u32,
    /// Whether there are to be no engines for now.
    pub suspended: bool,
    /// Calls for which one engine is wanted.
    pub target_calls_per_engine: u32,
    /// How long no program was live before the last engine goes.
    pub idle_after: Micros,
    /// How long fewer engines were enough before one goes.
    pub scale_down_delay: Micros,
    /// How long calls are held without an engine.
    pub cold_start_hold: Micros,
}

impl Scaling {
    /// The engines to have, where `asked` is what the router would like.
    pub fn decide(&self, asked: Option<u32>) -> u32 {
        match (self.suspended, self.mode) {
            (true, _) => 0,
            (false, ScalingMode::Router) => asked.unwrap_or(self.min).clamp(self.min, self.max),
            (false, ScalingMode::External | ScalingMode::Manual) => self.written,
        }
    }
}

/// Reads what a resource means.
///
/// # Errors
/// Every reason why it means nothing.
pub fn validate(resource: &Manifest) -> Result<Validated, Vec<FieldError>> {
    let mut check = Check::default();
    check.envelope(resource);
    let spec = &resource.spec;
    let template = check.template(spec);
    let settings = check.settings(spec);
    let scaling = check.scaling(spec);
    check.range("spec.rollout.maxSurge", Some(spec.rollout.max_surge), 1, 64);
    match (template, settings) {
        (Some(template), Some(settings)) if check.errors.is_empty() => Ok(Validated {
            name: resource.metadata.name.clone(),
            template: Arc::new(template),
            revision: revision(spec),
            settings,
            scaling,
            rollout: spec.rollout.clone(),
        }),
        _ => Err(check.errors),
    }
}

/// The name of the pool's engine with this index.
pub(crate) fn engine_name(pool: &Validated, index: u32) -> EngineId {
    EngineId::parse(&format!("{}-{index}", pool.name))
        .expect("a resource's name is made of letters, digits and dashes, and is short")
}
