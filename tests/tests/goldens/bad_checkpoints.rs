//! A checkpoint that cannot be served is refused in one line that names the file and the field.

use std::fs;
use std::path::Path;

use lps_engine::model::directory::Source;
use lps_engine::model::{Dtype, KernelsAsked};

use crate::engine::{Case, load};

fn refusal(folder: &Path) -> String {
    let error = load(
        &Source::Directory(folder.to_path_buf()),
        Dtype::Float32,
        KernelsAsked::Auto,
    )
    .expect_err("it is broken");
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

/// What stands in `config.json`, what stands there instead, what is said about it.
type Broken = (&'static str, &'static str, &'static str);

const BROKEN: [Broken; 15] = [
    (
        "\"qwen3\"",
        "\"bloom\"",
        "field `model_type` is \"bloom\"; supported are llama, mistral, qwen2, qwen3, phi3,",
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
        "field `layer_types` has 3 entries for 4 layers",
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
        "field `hidden_act` is \"gelu\"; supported are silu, gelu_new",
    ),
    (
        "\"default\"",
        "\"proportional\"",
        "field `rope_parameters.rope_type` is \"proportional\"; supported are",
    ),
    (
        "\"full_attention\"",
        "\"sliding_attention\"",
        "field `sliding_window` is not given or not used, but layer 0 has a window",
    ),
    (
        "\"full_attention\"",
        "\"linear_attention\"",
        "field `layer_types` has \"linear_attention\"; supported are",
    ),
    (
        "\"rope_type\"",
        "\"partial_rotary_factor\": 0.5, \"rope_type\"",
        "field `rope_parameters.partial_rotary_factor` is 0.5; supported is 1",
    ),
    (
        "\"rope_type\"",
        "\"full_attention\": {}, \"rope_type\"",
        "field `rope_parameters.full_attention` is given; supported are the same angles",
    ),
    (
        "\"rope_type\": \"default\"",
        "\"rope_type\": \"longrope\", \"long_factor\": [1], \"short_factor\": [1]",
        "field `rope_parameters.short_factor` has 1 numbers; it must have 10",
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

/// What other families do not do.
const BROKEN_OF_FAMILIES: [(&str, Broken); 9] = [
    (
        "mistral",
        (
            "\"hidden_act\"",
            "\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\"], \"hidden_act\"",
            "field `layer_types` has \"full_attention\"; here supported is sliding_attention",
        ),
    ),
    (
        "mistral",
        (
            "\"sliding_window\": 19",
            "\"sliding_window\": 0",
            "field `sliding_window` is a positive integer, not 0",
        ),
    ),
    (
        "qwen2-window",
        (
            "\"max_window_layers\": 1",
            "\"max_window_layers\": -1",
            "field `max_window_layers` is a number of layers, not -1",
        ),
    ),
    (
        "gemma2",
        (
            "\"hidden_activation\"",
            "\"use_bidirectional_attention\": true, \"hidden_activation\"",
            "field `use_bidirectional_attention` is true; supported is",
        ),
    ),
    (
        "gemma3",
        (
            "\"attn_logit_softcapping\": null",
            "\"attn_logit_softcapping\": 50.0",
            "field `attn_logit_softcapping` is given; supported is null",
        ),
    ),
    (
        "gpt2",
        (
            "\"n_head\": 5",
            "\"n_head\": 7",
            "field `n_head` is 7, which does not divide n_embd, 75",
        ),
    ),
    (
        "gpt2",
        (
            "\"n_layer\"",
            "\"scale_attn_by_inverse_layer_idx\": true, \"n_layer\"",
            "field `scale_attn_by_inverse_layer_idx` is true; supported is",
        ),
    ),
    (
        "gpt2",
        (
            "\"n_layer\": 3",
            "\"n_layer\": 4",
            "field `transformer.h.3.ln_1.",
        ),
    ),
    (
        "gpt2",
        (
            "\"n_inner\": 300",
            "\"n_inner\": 301",
            "field `transformer.h.0.mlp.c_fc.weight`",
        ),
    ),
];

fn assert_refused(out: &Path, config: &str, (from, to, expected): Broken) {
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

fn config_of(name: &str, out: &Path) -> String {
    Case::all()[name].make(out);
    fs::read_to_string(out.join("config.json")).expect("it was made")
}

#[test]
fn a_field_without_use_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = config_of("qwen3", folder.path());
    for broken in BROKEN {
        assert_refused(folder.path(), &config, broken);
    }
}

#[test]
fn what_a_family_does_not_do_is_named() {
    for (name, broken) in BROKEN_OF_FAMILIES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = config_of(name, folder.path());
        assert_refused(folder.path(), &config, broken);
    }
}

#[test]
fn the_body_of_a_model_has_names_without_the_first_part() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Case::all()["gpt2"].of_generation(4).make(folder.path());
    let weights = folder.path().join("model-00001-of-00002.safetensors");
    let header = fs::read(weights).expect("it was made");
    let header = String::from_utf8_lossy(&header[..600]);
    assert!(!header.contains("transformer.") && header.contains("\"h.0"));
    let source = Source::Directory(folder.path().to_path_buf());
    load(&source, Dtype::Float32, KernelsAsked::Auto).expect("it is whole");
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
