//! From a template to the flags of `lps-engine`. Owns: the flags that mean the same wherever an engine runs; where it
//! listens, how many threads it takes and where its model lies is its home's to say. Pure.

use lps_api::resource::{Builtin, Device, Dtype};

use crate::validate::{KvCache, Template};

/// Flags of every engine of this template, the user's own last.
pub fn flags(template: &Template) -> Vec<String> {
    let mut flags = Vec::new();
    let mut flag = |name: &str, value: &str| flags.extend([name.to_owned(), value.to_owned()]);
    flag("--model-name", template.model.as_str());
    flag("--device", device(template.device));
    match template.dtype {
        Dtype::Auto => {}
        Dtype::Bfloat16 => flag("--dtype", "bfloat16"),
        Dtype::Float32 => flag("--dtype", "float32"),
    }
    if let Some(tokens) = template.max_model_len {
        flag("--max-model-len", &tokens.0.to_string());
    }
    if let Some(sequences) = template.max_num_seqs {
        flag("--max-num-seqs", &sequences.to_string());
    }
    if let Some(tokens) = template.max_batched_tokens {
        flag("--max-batched-tokens", &tokens.0.to_string());
    }
    match template.kv_cache {
        None => {}
        Some(KvCache::Size(size)) => flag("--kv-cache-size", &size.get().to_string()),
        Some(KvCache::Fraction(share)) => flag("--kv-cache-fraction", &share.to_string()),
    }
    flags.extend(template.extra_args.iter().cloned());
    flags
}

/// The name by which an engine knows a model that is part of it.
pub fn builtin(builtin: Builtin) -> &'static str {
    match builtin {
        Builtin::Demo => "builtin:demo",
        Builtin::Sim => "builtin:sim",
    }
}

/// The device's name.
pub fn device(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
    }
}
