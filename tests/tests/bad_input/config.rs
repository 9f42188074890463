//! `config.json` of every family, and the files beside it that say what vectors are made of, under random mutation.

use lps_cli::model::shape::Family;
use proptest::prelude::*;
use serde_json::Value;

use crate::checkpoint::{cases, made, read, refusal, refused_by_both, write};
use crate::json::{Mutation, mutation};

/// Fields that some family reads.
const FIELDS: &[&str] = &[
    "activation_function",
    "add_cross_attention",
    "attention_bias",
    "attention_factor",
    "attn_logit_softcapping",
    "beta_fast",
    "beta_slow",
    "chat_template",
    "dtype",
    "eos_token_id",
    "factor",
    "final_logit_softcapping",
    "full_attention",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "hidden_size",
    "high_freq_factor",
    "intermediate_size",
    "is_matryoshka",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "layer_types",
    "long_factor",
    "low_freq_factor",
    "matryoshka_dimensions",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "model_type",
    "mscale",
    "mscale_all_dim",
    "n_embd",
    "n_head",
    "n_inner",
    "n_layer",
    "n_positions",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "position_embedding_type",
    "quantization_config",
    "query_pre_attn_scalar",
    "rms_norm_eps",
    "rope_local_base_freq",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "rope_type",
    "scale_attn_by_inverse_layer_idx",
    "scale_attn_weights",
    "short_factor",
    "sliding_attention",
    "sliding_window",
    "sliding_window_pattern",
    "text_config",
    "tie_word_embeddings",
    "torch_dtype",
    "truncate",
    "type_vocab_size",
    "use_bidirectional_attention",
    "use_sliding_window",
    "vocab_size",
];

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(FIELDS), 1..4)
}

fn check(family: Family, file: &str) -> Result<(), TestCaseError> {
    let folder = made(family);
    let folder = folder.path();
    let sound: Value = serde_json::from_str(&read(folder, file)).expect("JSON");
    proptest!(cases(96), |(mutations in mutations())| {
        let mut config = sound.clone();
        for mutation in &mutations {
            mutation.apply(&mut config);
        }
        write(folder, file, config.to_string());
        refused_by_both(folder);
    });
    write(folder, file, sound.to_string());
    prop_assert_eq!(refused_by_both(folder), None);
    Ok(())
}

#[test]
fn every_family_reads_or_refuses_whatever_stands_in_its_configuration() {
    for family in Family::ALL {
        check(family, "config.json").expect("it is sound again");
    }
}

#[test]
fn so_does_what_vectors_are_made_of() {
    for file in ["config.json", "modules.json", "1_Pooling/config.json"] {
        check(Family::Qwen3Embedding, file).expect("it is sound again");
    }
    check(Family::Llama, "generation_config.json").expect("it is sound again");
}

#[test]
fn what_is_no_json_object_is_refused_in_every_file() {
    let deep = format!("{{\"a\": {}", "[".repeat(10_000));
    let texts: [&[u8]; 12] = [
        b"",
        b"7",
        b"[1]",
        b"NaN",
        b"{\"hidden_size\": NaN}",
        b"{\"hidden_size\": -Infinity}",
        b"{\"hidden_size\": 1e999}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"{\"a\": \"\xff\"}",
        b"{\"a\": \"\\ud800\"}",
        deep.as_bytes(),
    ];
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
    ] {
        let folder = made(Family::Llama);
        for text in texts {
            write(folder.path(), file, text);
            let line = refusal(folder.path()).expect("it is no JSON object");
            assert!(line.starts_with(file), "{line}");
        }
    }
}
