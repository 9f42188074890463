//! Vectors against Hugging Face transformers, pooled and normalised as sentence-transformers does it: in 32 bits within
//! 1e-5, in bfloat16 as near as twice transformers' own distance. And against themselves, whatever else is computed.

use std::fs;
use std::path::Path;

use lps_engine::model::embedding::normalise;
use lps_engine::model::{Dtype, KernelsAsked};
use lps_engine_core::batch::Texts;
use lps_engine_core::request::TokenId;
use lps_engine_kernels::level::Level;
use serde::Deserialize;

use crate::engine::{Case, LoadedEmbedder, golden_file, load_embedder};

/// Of one number of a vector of length 1.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    bfloat16_error: f32,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    tokens: Vec<TokenId>,
    vector: Vec<f32>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let text = golden_file(&format!("{name}.golden.json"));
        let golden: Self = serde_json::from_str(&text).expect(name);
        assert!(golden.entries.len() >= 20, "{name} has texts");
        golden
    }

    fn texts(&self) -> Vec<&[TokenId]> {
        let texts = self.entries.iter().map(|entry| &entry.tokens[..]);
        texts.collect()
    }
}

fn made(name: &str, dtype: Dtype) -> LoadedEmbedder {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Case::all_of_embeddings()[name].make(folder.path());
    load_embedder(folder.path(), dtype, KernelsAsked::Auto).expect("a golden checkpoint loads")
}

fn vectors((embedder, embedding): &mut LoadedEmbedder, texts: &[&[TokenId]]) -> Vec<Vec<f32>> {
    let texts = Texts {
        step: 1,
        tokens: texts.to_vec(),
    };
    let mut vectors = embedder.embed(&texts).expect("a step");
    assert!(embedding.normalise);
    for vector in &mut vectors {
        assert_eq!(vector.len(), embedding.dimensions as usize);
        normalise(vector);
    }
    vectors
}

fn distance(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let distances = one.iter().zip(other).map(|(a, b)| (a - b).abs());
    distances.fold(0.0, f32::max)
}

fn compare(name: &str) {
    let golden = Golden::read(name);
    for (dtype, limit) in [
        (Dtype::Float32, TOLERANCE),
        (Dtype::Bfloat16, 2.0 * golden.bfloat16_error),
    ] {
        let found = vectors(&mut made(name, dtype), &golden.texts());
        for (index, (found, entry)) in found.iter().zip(&golden.entries).enumerate() {
            let distance = distance(found, &entry.vector);
            assert!(
                distance <= limit,
                "{name}, {dtype:?}: text {index} is {distance} away"
            );
        }
    }
}

#[test]
fn bert_with_odd_heads_of_odd_size_and_means() {
    compare("bert");
}

#[test]
fn bert_with_a_prefix_and_the_first_token() {
    compare("bert-cls");
}

#[test]
fn qwen3_with_odd_heads_and_the_last_token() {
    compare("qwen3-embedding");
}

#[test]
fn qwen3_of_the_older_config_with_biases_and_greatest_numbers() {
    compare("qwen3-embedding-max");
}

#[test]
fn a_vector_does_not_depend_on_its_neighbours() {
    for name in Case::all_of_embeddings().keys() {
        let golden = Golden::read(name);
        let mut texts = golden.texts();
        // Two of one text, and two more of one length.
        texts.push(texts[7]);
        let turned: Vec<_> = texts[9].iter().rev().copied().collect();
        texts.push(&turned);
        let mut model = made(name, Dtype::Float32);
        let together = vectors(&mut model, &texts);
        assert_eq!(
            together[7], together[20],
            "{name}: equal texts side by side"
        );
        assert!(distance(&together[9], &together[21]) > 1e-3);
        let mut backwards = texts.clone();
        backwards.reverse();
        let mut backwards = vectors(&mut model, &backwards);
        backwards.reverse();
        for (index, text) in texts.iter().enumerate() {
            let alone = vectors(&mut model, &[text]);
            for other in [&together[index], &backwards[index]] {
                let distance = distance(&alone[0], other);
                assert!(
                    distance <= TOLERANCE,
                    "{name}: text {index} moves by {distance}"
                );
            }
        }
    }
}

fn refusal(folder: &Path) -> String {
    let text = match load_embedder(folder, Dtype::Float32, KernelsAsked::Auto) {
        Ok(_) => panic!("it is broken"),
        Err(error) => error.to_string(),
    };
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn what_cannot_be_served_is_named() {
    for (name, from, to, expected) in [
        (
            "bert",
            "\"gelu\"",
            "\"relu\"",
            "field `hidden_act` is \"relu\"; supported are gelu,",
        ),
        (
            "bert",
            "\"hidden_act\"",
            "\"position_embedding_type\": \"relative_key\", \"hidden_act\"",
            "field `position_embedding_type` is \"relative_key\"; supported is absolute",
        ),
        (
            "bert",
            "\"hidden_act\"",
            "\"is_decoder\": true, \"hidden_act\"",
            "field `is_decoder` is true; supported is an encoder",
        ),
        (
            "bert",
            "\"num_attention_heads\": 5",
            "\"num_attention_heads\": 4",
            "field `num_attention_heads` is 4, which does not divide hidden_size, 65",
        ),
        (
            "bert",
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 4",
            "field `bert.encoder.layer.3.attention.self.query.weight` is missing",
        ),
        (
            "bert",
            "\"max_position_embeddings\": 512",
            "\"max_position_embeddings\": 511",
            "has shape [512, 65]; config.json asks for [511, 65]",
        ),
        (
            "qwen3-embedding",
            "\"qwen3\"",
            "\"llama\"",
            "field `model_type` is \"llama\"; supported for embeddings are bert and qwen3",
        ),
        (
            "qwen3-embedding-max",
            "\"use_sliding_window\": false",
            "\"use_sliding_window\": true, \"max_window_layers\": 0, \"sliding_window\": 16, \"x\": 0",
            "field `sliding_window` is 16; supported for embeddings are windows that no text outgrows",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Case::all_of_embeddings()[name].make(folder.path());
        let path = folder.path().join("config.json");
        let config = fs::read_to_string(&path).expect("it was made");
        // What is written twice would stand last.
        let config = config
            .replace("\"sliding_window\": null,", "")
            .replace("\"max_window_layers\": 1,", "");
        let broken = config.replace(from, to);
        assert_ne!(broken, config, "{name}: {from}");
        fs::write(&path, broken).expect("it is ours");
        let text = refusal(folder.path());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn kernels_that_only_texts_have_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Case::all_of_embeddings()["bert"].make(folder.path());
    let asked = KernelsAsked::Level(Level::Portable);
    let error = match load_embedder(folder.path(), Dtype::Float32, asked) {
        Ok(_) => panic!("vectors have no such kernels"),
        Err(error) => error.to_string(),
    };
    assert!(
        error.contains("--kernels portable is for models that make text"),
        "{error}"
    );
}
