//! A checkpoint that cannot be served is refused in one line that names the file and the field.

use std::fs;
use std::path::Path;

use lps_engine::model::Dtype;
use lps_engine::model::directory::Source;

use crate::engine::{Case, load};

fn refusal(folder: &Path) -> String {
    let error =
        load(&Source::Directory(folder.to_path_buf()), Dtype::Float32).expect_err("it is broken");
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

/// (what stands in `config.json`, what stands there instead, what is said about it).
const BROKEN: [(&str, &str, &str); 11] = [
    (
        "\"qwen3\"",
        "\"gpt2\"",
        "field `model_type` is \"gpt2\"; supported are llama and qwen3",
    ),
    (
        "\"hidden_size\": 80",
        "\"hidden_size\": 81",
        "has shape [1537, 80]; config.json asks for [1537, 81]",
    ),
    (
        "\"hidden_size\": 80",
        "\"hidden_size\": \"x\"",
        "field `hidden_size` is a positive integer",
    ),
    (
        "\"num_hidden_layers\": 3",
        "\"num_hidden_layers\": 4",
        "field `model.layers.3",
    ),
    (
        "\"num_key_value_heads\": 3",
        "\"num_key_value_heads\": 2",
        "does not divide num_attention_heads",
    ),
    (
        "\"head_dim\": 20",
        "\"head_dim\": 21",
        "field `head_dim` is 21; it must be even",
    ),
    (
        "\"silu\"",
        "\"gelu\"",
        "field `hidden_act` is \"gelu\"; supported is silu",
    ),
    (
        "\"default\"",
        "\"yarn\"",
        "field `rope_parameters.rope_type` is \"yarn\"; supported are",
    ),
    (
        "\"full_attention\"",
        "\"sliding_attention\"",
        "field `layer_types` has \"sliding_attention\"",
    ),
    (
        "\"hidden_act\"",
        "\"quantization_config\": {}, \"hidden_act\"",
        "field `quantization_config` is given",
    ),
    (
        "\"dtype\": \"float32\"",
        "\"dtype\": \"int8\"",
        "field `dtype` is \"int8\"; supported are",
    ),
];

#[test]
fn a_field_without_use_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path();
    Case::all()["qwen3"].make(out);
    let config = fs::read_to_string(out.join("config.json")).expect("it was made");
    for (from, to, expected) in BROKEN {
        let broken = config.replacen(from, to, 1);
        assert_ne!(broken, config, "{from} is there");
        fs::write(out.join("config.json"), broken).expect("it is ours");
        let refused = refusal(out);
        assert!(
            refused.contains("config.json") || refused.contains(".safetensors"),
            "{refused}"
        );
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_file_that_is_cut_short_or_gone_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path();
    Case::all()["qwen3"].make(out);
    let name = "model-00002-of-00002.safetensors";
    let whole = fs::read(out.join(name)).expect("it was made");
    for len in [0, 5, 100, whole.len() - 5] {
        fs::write(out.join(name), &whole[..len]).expect("it is ours");
        let refused = refusal(out);
        assert!(
            refused.contains(name) && refused.contains("no whole safetensors file"),
            "{refused}"
        );
    }
    fs::remove_file(out.join(name)).expect("it is ours");
    let refused = refusal(out);
    assert!(
        refused.contains(name) && refused.contains("cannot be read"),
        "{refused}"
    );

    let index = r#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    fs::write(out.join("model.safetensors.index.json"), index).expect("it is ours");
    let refused = refusal(out);
    assert!(
        refused.contains("field `weight_map` names something that is no file"),
        "{refused}"
    );
}
