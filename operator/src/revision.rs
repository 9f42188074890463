//! The name of what engines are made from. Owns: which fields of a resource make an engine another one.

use lps_api::resource::{Dtype, EngineSettings, LlmProgramServingSpec};
use serde_json::{Value, json};

pub use lps_api::ids::Revision;

/// FNV-1a, because the hash must be the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Names the engines that the spec asks for; a field left at its default counts as not written.
pub fn revision(spec: &LlmProgramServingSpec) -> Revision {
    let mut engine = spec.engine.clone();
    // How long a start may take does not change what is started.
    engine.start_timeout = EngineSettings::default().start_timeout;
    let defaults = json!({"dtype": Dtype::default(), "engine": EngineSettings::default()});
    let mut inputs = json!({"model": spec.model, "engine": engine});
    if inputs["model"]["dtype"] == defaults["dtype"] {
        inputs["model"]["dtype"].take();
    }
    for (key, value) in defaults["engine"].as_object().into_iter().flatten() {
        if inputs["engine"][key] == *value {
            inputs["engine"][key].take();
        }
    }
    Revision(fnv1a(canonical(&inputs).as_bytes()))
}

/// JSON with sorted keys and without what is null or empty.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map
                .iter()
                .map(|(key, value)| (key, canonical(value)))
                .filter(|(_, text)| !matches!(text.as_str(), "null" | "{}" | "[]"))
                .map(|(key, text)| format!("{key:?}:{text}"))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
