//! The rules for resources. Owns: each rule with its message; it collects what is wrong and goes on.

use lps_api::ids::ModelName;
use lps_api::quantity::{Micros, Tokens};
use lps_api::resource::{self, Device, LlmProgramServingSpec, Manifest};
use lps_api::scheduling::{self, Settings};
use lps_api::wellknown;

use super::{FieldError, KvCache, Scaling, Source, Template, repository};

/// Longest name of a resource: engines' names and labels are made from it.
const NAME_BYTES_MAX: usize = 40;
/// Most engines of one pool.
const ENGINES_MAX: u32 = 1024;
/// Flags of an engine that whoever starts it decides, each with the field that a user has for it.
const OWNED_FLAGS: [(&str, &str); 16] = [
    ("--model", "spec.model.source"),
    ("--model-name", "spec.model.name"),
    ("--max-model-len", "spec.model.maxModelLen"),
    ("--dtype", "spec.model.dtype"),
    ("--device", "spec.engine.device"),
    ("--threads", "spec.engine.resources.limits.cpu"),
    ("--max-num-seqs", "spec.engine.maxNumSeqs"),
    ("--max-batched-tokens", "spec.engine.maxBatchedTokens"),
    ("--kv-cache-size", "spec.engine.kvCache.size"),
    ("--kv-cache-fraction", "spec.engine.kvCache.fraction"),
    ("--host", "nothing: the address is not yours to choose"),
    ("--port", "nothing: the address is not yours to choose"),
    (
        "--admin-port",
        "nothing: the address is not yours to choose",
    ),
    (
        "--address-file",
        "nothing: the address is not yours to choose",
    ),
    (
        "--engine-id",
        "nothing: engines are named after the resource",
    ),
    (
        "--exit-with-parent",
        "nothing: engines in local mode have it",
    ),
];

#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) errors: Vec<FieldError>,
}

impl Check {
    fn fail(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.errors.push(FieldError {
            path: path.into(),
            problem: problem.into(),
        });
    }

    pub(super) fn range(&mut self, path: &str, value: Option<u32>, least: u32, most: u32) {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            self.fail(path, format!("{value} is not between {least} and {most}"));
        }
    }

    pub(super) fn envelope(&mut self, resource: &Manifest) {
        if resource.api_version != wellknown::resource::API_VERSION {
            let wanted = wellknown::resource::API_VERSION;
            self.fail(
                "apiVersion",
                format!("{:?} is not known; write {wanted}", resource.api_version),
            );
        }
        if resource.kind != wellknown::resource::KIND {
            let wanted = wellknown::resource::KIND;
            self.fail(
                "kind",
                format!("{:?} is not served here; write {wanted}", resource.kind),
            );
        }
        let name = &resource.metadata.name;
        let is_label = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-');
        if !is_label || name.len() > NAME_BYTES_MAX {
            self.fail(
                "metadata.name",
                format!(
                    "{name:?} is not a name: at most {NAME_BYTES_MAX} of a-z, 0-9 and -, a letter first, no - last"
                ),
            );
        }
    }

    pub(super) fn template(&mut self, spec: &LlmProgramServingSpec) -> Option<Template> {
        let model = ModelName::parse(&spec.model.name)
            .map_err(|error| self.fail("spec.model.name", error.to_string()))
            .ok();
        let source = self.source(&spec.model.source);
        self.range(
            "spec.model.maxModelLen",
            spec.model.max_model_len,
            16,
            10_000_000,
        );
        if let Some(quantization) = &spec.model.quantization {
            self.fail(
                "spec.model.quantization",
                format!("{quantization:?} is not supported by the engine; remove it"),
            );
        }
        let engine = &spec.engine;
        self.range("spec.engine.maxNumSeqs", engine.max_num_seqs, 1, 4096);
        self.range(
            "spec.engine.maxBatchedTokens",
            engine.max_batched_tokens,
            16,
            1 << 20,
        );
        if let (Some(sequences), Some(tokens)) = (engine.max_num_seqs, engine.max_batched_tokens)
            && tokens < sequences
        {
            let problem = format!(
                "{tokens} is below maxNumSeqs {sequences}; every sequence takes a token a step"
            );
            self.fail("spec.engine.maxBatchedTokens", problem);
        }
        self.gpus(engine);
        self.extra_args(&engine.extra_args);
        if engine.start_timeout.micros() == Micros::ZERO {
            self.fail(
                "spec.engine.startTimeout",
                "0 leaves no time to start; write 10m, or remove it",
            );
        }
        let kv_cache = self.kv_cache(engine.kv_cache);
        Some(Template {
            model: model?,
            source: source?,
            max_model_len: spec.model.max_model_len.map(Tokens),
            dtype: spec.model.dtype,
            device: engine.device,
            max_num_seqs: engine.max_num_seqs,
            max_batched_tokens: engine.max_batched_tokens.map(Tokens),
            kv_cache,
            cpu_limit_millis: self.cpu_limit(engine),
            start_timeout: engine.start_timeout.micros(),
            extra_args: engine.extra_args.clone(),
        })
    }

    fn source(&mut self, source: &resource::Source) -> Option<Source> {
        let given = [
            source.builtin.map(Source::Builtin),
            source.hugging_face.clone().map(Source::HuggingFace),
            source.pvc.clone().map(Source::Pvc),
            source
                .host_path
                .clone()
                .map(|host| Source::HostPath(host.path)),
            source
                .image
                .clone()
                .map(|image| Source::Image(image.reference)),
        ];
        let mut given: Vec<Source> = given.into_iter().flatten().collect();
        if given.len() != 1 {
            let problem = format!(
                "{} sources are given; write exactly one of builtin, huggingFace, pvc, hostPath, image",
                given.len()
            );
            self.fail("spec.model.source", problem);
            return None;
        }
        let source = given.pop()?;
        if let Source::HostPath(path) = &source
            && !path.starts_with('/')
        {
            self.fail(
                "spec.model.source.hostPath.path",
                format!("{path:?} is not absolute; start it with /"),
            );
        }
        if let Source::HuggingFace(repository) = &source {
            self.hugging_face(repository);
        }
        Some(source)
    }

    fn hugging_face(&mut self, from: &resource::HuggingFace) {
        let path = |field: &str| format!("spec.model.source.huggingFace.{field}");
        if !repository::is_repository(&from.repo) {
            let problem = format!("{:?} is no repository; write owner/name", from.repo);
            self.fail(path("repo"), problem);
        }
        let revision = from.revision.as_deref();
        if let Some(revision) = revision.filter(|name| !repository::is_revision(name)) {
            let problem = format!("{revision:?} is no branch, tag or commit; write main");
            self.fail(path("revision"), problem);
        }
    }

    fn gpus(&mut self, engine: &resource::EngineSettings) {
        match (engine.device, engine.gpus) {
            (Device::Cpu, Some(gpus)) => self.fail(
                "spec.engine.gpus",
                format!(
                    "{gpus} GPUs mean nothing with device cpu; remove it, or write device: cuda"
                ),
            ),
            (Device::Cuda, Some(gpus)) if gpus != 1 => self.fail(
                "spec.engine.gpus",
                format!("{gpus} is not supported: an engine uses one GPU; write 1, or remove it"),
            ),
            _ => {}
        }
    }

    fn extra_args(&mut self, args: &[String]) {
        for (index, arg) in args.iter().enumerate() {
            let flag = arg.split('=').next().unwrap_or_default();
            if let Some((_, instead)) = OWNED_FLAGS.iter().find(|(owned, _)| *owned == flag) {
                self.fail(
                    format!("spec.engine.extraArgs[{index}]"),
                    format!("{flag} is set from the resource; remove it and use {instead}"),
                );
            }
        }
    }

    fn kv_cache(&mut self, kv_cache: Option<resource::KvCache>) -> Option<KvCache> {
        let kv_cache = kv_cache?;
        match (kv_cache.size, kv_cache.fraction) {
            (Some(size), None) => Some(KvCache::Size(size)),
            (None, Some(fraction)) if fraction > 0.0 && fraction < 1.0 => {
                Some(KvCache::Fraction(fraction))
            }
            (None, Some(fraction)) => {
                let problem = format!("{fraction} is not above 0 and below 1");
                self.fail("spec.engine.kvCache.fraction", problem);
                None
            }
            _ => {
                self.fail(
                    "spec.engine.kvCache",
                    "write exactly one of size and fraction",
                );
                None
            }
        }
    }

    fn cpu_limit(&mut self, engine: &resource::EngineSettings) -> Option<u32> {
        let text = engine.resources.limits.get("cpu")?;
        let millis = match text.strip_suffix('m') {
            Some(millis) => millis.parse::<u32>().ok(),
            None => text
                .parse::<u32>()
                .ok()
                .and_then(|cores| cores.checked_mul(1000)),
        };
        if millis.is_none_or(|millis| millis == 0) {
            let problem = format!("{text:?} is not a number of cores such as 2 or 1500m");
            self.fail("spec.engine.resources.limits.cpu", problem);
        }
        millis
    }

    pub(super) fn settings(&mut self, spec: &LlmProgramServingSpec) -> Option<Settings> {
        Settings::from_spec(&spec.scheduling)
            .map_err(|error| {
                let (key, problem) = match &error {
                    scheduling::Error::Range { key, value, range } => {
                        (*key, format!("{value:?} is not {range}"))
                    }
                    other => ("", other.to_string()),
                };
                let dot = if key.is_empty() { "" } else { "." };
                self.fail(format!("spec.scheduling{dot}{}", camel_case(key)), problem);
            })
            .ok()
    }

    pub(super) fn scaling(&mut self, spec: &LlmProgramServingSpec) -> Scaling {
        let scaling = &spec.scaling;
        let max = scaling.max.unwrap_or(scaling.min.max(1));
        self.range("spec.scaling.min", Some(scaling.min), 0, ENGINES_MAX);
        self.range("spec.scaling.max", scaling.max, 1, ENGINES_MAX);
        self.range("spec.replicas", spec.replicas, 0, ENGINES_MAX);
        self.range(
            "spec.scaling.targetCallsPerEngine",
            Some(scaling.target_calls_per_engine),
            1,
            4096,
        );
        if scaling.min > max {
            self.fail(
                "spec.scaling.min",
                format!(
                    "min {} is above max {max}; raise max or lower min",
                    scaling.min
                ),
            );
        }
        let written = match spec.replicas {
            _ if spec.suspend => 0,
            Some(replicas) => replicas,
            None => scaling.min,
        };
        Scaling {
            mode: scaling.mode,
            rule: scaling.rule,
            dry_run: scaling.dry_run,
            min: scaling.min,
            max: max.max(scaling.min),
            written,
            suspended: spec.suspend,
            target_calls_per_engine: scaling.target_calls_per_engine,
            idle_after: scaling.idle_after.micros(),
            scale_down_delay: scaling.scale_down_delay.micros(),
            cold_start_hold: scaling.cold_start_hold.micros(),
        }
    }
}

fn camel_case(key: &str) -> String {
    let mut parts = key.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + &part[..1].to_uppercase() + &part[1..]
    })
}
