//! What makes sense: each rule refuses with the field, the value and the fix, and all at once.

use lps_api::resource::Manifest;
use lps_operator::validate::{Validated, validate};
use serde_json::{Value, json};

fn resource(spec: Value) -> Manifest {
    let mut whole = json!({
        "apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": "demo"},
        "spec": {"model": {"name": "demo", "source": {"builtin": "demo"}}}
    });
    for (section, value) in spec.as_object().expect("sections") {
        whole["spec"][section] = value.clone();
    }
    serde_json::from_value(whole).expect("parses")
}

fn valid(spec: Value) -> Validated {
    validate(&resource(spec)).expect("makes sense")
}

/// (sections of the spec, the field that is named, a word of the fix).
const RULES: &[(&str, &str, &str)] = &[
    (
        r#"{"model": {"name": "a", "source": {}}}"#,
        "spec.model.source",
        "exactly one",
    ),
    (
        r#"{"model": {"name": "a", "source": {"builtin": "demo", "hostPath": {"path": "/m"}}}}"#,
        "spec.model.source",
        "2 sources",
    ),
    (
        r#"{"model": {"name": "a", "source": {"hostPath": {"path": "models/x"}}}}"#,
        "spec.model.source.hostPath.path",
        "start it with /",
    ),
    (
        r#"{"model": {"name": "a", "source": {"huggingFace": {"repo": "../etc"}}}}"#,
        "spec.model.source.huggingFace.repo",
        "write owner/name",
    ),
    (
        r#"{"model": {"name": "a", "source": {"huggingFace": {"repo": "o/m", "revision": "--to"}}}}"#,
        "spec.model.source.huggingFace.revision",
        "write main",
    ),
    (
        r#"{"model": {"name": "a b", "source": {"builtin": "demo"}}}"#,
        "spec.model.name",
        "' '",
    ),
    (
        r#"{"model": {"name": "a", "source": {"builtin": "demo"}, "maxModelLen": 1}}"#,
        "spec.model.maxModelLen",
        "1 is not between 16",
    ),
    (
        r#"{"model": {"name": "a", "source": {"builtin": "demo"}, "quantization": "int4"}}"#,
        "spec.model.quantization",
        "remove it",
    ),
    (
        r#"{"engine": {"maxNumSeqs": 0}}"#,
        "spec.engine.maxNumSeqs",
        "between 1",
    ),
    (
        r#"{"engine": {"gpus": 1}}"#,
        "spec.engine.gpus",
        "device: cuda",
    ),
    (
        r#"{"engine": {"device": "cuda", "gpus": 2}}"#,
        "spec.engine.gpus",
        "write 1",
    ),
    (
        r#"{"engine": {"startTimeout": 0}}"#,
        "spec.engine.startTimeout",
        "10m",
    ),
    (
        r#"{"engine": {"kvCache": {}}}"#,
        "spec.engine.kvCache",
        "exactly one",
    ),
    (
        r#"{"engine": {"kvCache": {"fraction": 1.0}}}"#,
        "spec.engine.kvCache.fraction",
        "below 1",
    ),
    (
        r#"{"engine": {"extraArgs": ["--step-log=x", "--port=1"]}}"#,
        "spec.engine.extraArgs[1]",
        "--port",
    ),
    (
        r#"{"engine": {"resources": {"limits": {"cpu": "two"}}}}"#,
        "spec.engine.resources.limits.cpu",
        "1500m",
    ),
    (
        r#"{"scaling": {"min": 3, "max": 1}}"#,
        "spec.scaling.min",
        "raise max",
    ),
    (
        r#"{"scaling": {"max": 0, "min": 0}}"#,
        "spec.scaling.max",
        "between 1",
    ),
    (
        r#"{"scaling": {"targetCallsPerEngine": 0}}"#,
        "spec.scaling.targetCallsPerEngine",
        "between 1",
    ),
    (
        r#"{"scheduling": {"maxQueueWait": "soon"}}"#,
        "spec.scheduling.maxQueueWait",
        "soon",
    ),
    (
        r#"{"scheduling": {"bounds": [1], "quanta": [1, 2, "none"]}}"#,
        "spec.scheduling",
        "quanta",
    ),
    (r#"{"replicas": 5000}"#, "spec.replicas", "1024"),
    (
        r#"{"rollout": {"maxSurge": 0}}"#,
        "spec.rollout.maxSurge",
        "between 1",
    ),
];

#[test]
fn each_rule_names_the_field_and_the_fix() {
    for (spec, path, word) in RULES {
        let sections = serde_json::from_str(spec).expect(spec);
        let errors = validate(&resource(sections)).expect_err(path);
        assert_eq!(errors.len(), 1, "{spec}: {errors:?}");
        assert_eq!(errors[0].path, *path, "{spec}");
        assert!(errors[0].problem.contains(word), "{}: {}", errors[0], word);
    }
}

#[test]
fn all_reasons_are_told_at_once() {
    let mut bad =
        resource(json!({"engine": {"maxNumSeqs": 0, "gpus": 1}, "scaling": {"min": 2, "max": 1}}));
    bad.metadata.name = "Not_A_Label".to_owned();
    let errors = validate(&bad).expect_err("bad");
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "metadata.name",
            "spec.engine.maxNumSeqs",
            "spec.engine.gpus",
            "spec.scaling.min"
        ]
    );
}

#[test]
fn a_revision_names_what_the_engines_are_and_nothing_else() {
    let base = valid(json!({})).revision;
    for same in [
        json!({"engine": {"device": "cpu", "startTimeout": "1m"}}),
        json!({"scaling": {"min": 2, "max": 3}, "rollout": {"maxSurge": 2}}),
        json!({"model": {"name": "demo", "source": {"builtin": "demo"}, "dtype": "auto"}}),
    ] {
        assert_eq!(valid(same.clone()).revision, base, "{same}");
    }
    let mut others = vec![base];
    for other in [
        json!({"engine": {"maxNumSeqs": 4}}),
        json!({"engine": {"extraArgs": ["--preemption=recompute"]}}),
        json!({"engine": {"device": "cuda"}}),
        json!({"model": {"name": "demo", "source": {"builtin": "sim"}}}),
        json!({"model": {"name": "demo", "source": {"builtin": "demo"}, "dtype": "float32"}}),
    ] {
        others.push(valid(other).revision);
    }
    let count = others.len();
    others.sort();
    others.dedup();
    assert_eq!(others.len(), count);
    // Known value: a release that changes it restarts every engine of every user.
    assert_eq!(base.to_string(), "23c4cc329b6538db");
}

#[test]
fn who_decides_how_many() {
    for (spec, asked, expected) in [
        (json!({"scaling": {"min": 1, "max": 3}}), Some(2), 2),
        (json!({"scaling": {"min": 1, "max": 3}}), Some(9), 3),
        (json!({"scaling": {"min": 1, "max": 3}}), None, 1),
        (json!({"scaling": {"min": 2}}), Some(0), 2),
        (json!({"scaling": {"min": 0}}), Some(0), 0),
        (
            json!({"scaling": {"mode": "Manual", "min": 1}, "replicas": 4}),
            Some(2),
            4,
        ),
        (
            json!({"scaling": {"mode": "External", "min": 2}}),
            Some(1),
            2,
        ),
        (json!({"scaling": {"min": 2}, "suspend": true}), Some(2), 0),
    ] {
        assert_eq!(
            valid(spec.clone()).scaling.decide(asked),
            expected,
            "{spec} {asked:?}"
        );
    }
}
