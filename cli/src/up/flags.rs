//! From an engine's specification to the flags of `lps-engine`. Pure.

use std::ffi::OsString;
use std::path::Path;

use lps_operator::flags as operator;
use lps_operator::plan::EngineSpec;
use lps_operator::validate::{Source, Template};

/// What the machine gives each engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Threads that one engine computes with.
    pub(super) threads: u32,
}

impl Share {
    /// The cores of the machine, divided among the engines that compute on them.
    pub(super) fn of(cores: u32, engines: u32) -> Self {
        Self {
            threads: (cores / engines.max(1)).max(1),
        }
    }

    fn threads(self, template: &Template) -> u32 {
        let limit = template
            .cpu_limit_millis
            .map(|millis| millis.div_ceil(1000));
        limit
            .map_or(self.threads, |limit| limit.min(self.threads))
            .max(1)
    }
}

/// The flags with which an engine is started. It takes a free port and writes its addresses to `address_file`.
pub(super) fn flags(spec: &EngineSpec, share: Share, address_file: &Path) -> Vec<OsString> {
    let template = &spec.template;
    let mut flags: Vec<OsString> = Vec::new();
    let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        flags.push(name.into());
        flags.push(value.as_ref().to_owned());
    };
    flag("--model", &model(&template.source));
    flag("--engine-id", &spec.id.as_str());
    flag("--host", &"127.0.0.1");
    flag("--port", &"0");
    flag("--admin-port", &"0");
    flag("--address-file", &address_file);
    flag("--threads", &share.threads(template).to_string());
    flags.push("--exit-with-parent".into());
    flags.extend(operator::flags(template).into_iter().map(OsString::from));
    flags
}

fn model(source: &Source) -> String {
    match source {
        Source::Builtin(builtin) => operator::builtin(*builtin).to_owned(),
        Source::HostPath(path) => path.clone(),
        Source::HuggingFace(_) | Source::Pvc(_) | Source::Image(_) => {
            unreachable!("a manifest with a source of a cluster is refused before anything starts")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::manifest;

    fn of(spec: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: llmprogram.dev/v1alpha1\nkind: LLMProgramServing\nmetadata: {{name: a}}\nspec: {spec}\n"
        );
        let pools = manifest::parse(Path::new("f"), &text).expect("makes sense");
        let actions = lps_operator::plan::plan(&pools[0], 1, &[], lps_api::quantity::Micros::ZERO);
        let [lps_operator::plan::Action::Create(spec)] = &actions[..] else {
            panic!("{actions:?}")
        };
        let flags = flags(spec, Share::of(8, 3), Path::new("/s/a"));
        flags
            .into_iter()
            .map(|flag| flag.into_string().expect("text"))
            .collect()
    }

    #[test]
    fn a_manifest_becomes_flags() {
        let flags = of("{model: {name: m, source: {builtin: demo}}}").join(" ");
        assert_eq!(
            flags,
            "--model builtin:demo --engine-id a-0 --host 127.0.0.1 --port 0 --admin-port 0 --address-file /s/a \
             --threads 2 --exit-with-parent --model-name m --device cpu"
        );
        let flags = of(
            "{model: {name: m, source: {hostPath: {path: /m}}, dtype: float32, maxModelLen: 512}, \
              engine: {maxNumSeqs: 4, maxBatchedTokens: 64, kvCache: {size: 1Mi}, extraArgs: [--step-log=x], \
                       resources: {limits: {cpu: 500m}}}}",
        )
        .join(" ");
        for part in [
            "--model /m ",
            "--threads 1 ",
            "--dtype float32 ",
            "--max-model-len 512 ",
            "--max-num-seqs 4 ",
            "--max-batched-tokens 64 ",
            "--kv-cache-size 1048576 ",
            " --exit-with-parent ",
            " --step-log=x",
        ] {
            assert!(flags.contains(part), "{part}: {flags}");
        }
    }

    #[test]
    fn cores_are_divided() {
        for (cores, engines, threads) in [(8, 2, 4), (2, 2, 1), (2, 5, 1), (4, 0, 4), (8, 3, 2)] {
            assert_eq!(Share::of(cores, engines).threads, threads);
        }
    }
}
