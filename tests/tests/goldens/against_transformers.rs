//! Greedy tokens equal to Hugging Face transformers', token by token; log-probabilities within 1e-4.

use lps_engine::model::Loaded;
use lps_engine::model::directory::Source;
use lps_engine_core::request::TokenId;
use serde::Deserialize;

use crate::engine::{Case, Cut, golden_file, load, load_case, run};

#[derive(Deserialize)]
struct Golden {
    steps: Vec<usize>,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    prompt: Vec<TokenId>,
    tokens: Vec<TokenId>,
    sampled: Vec<usize>,
    /// By step, then by sampled token.
    logprobs: Vec<Vec<f32>>,
}

fn compare(name: &str, loaded: &mut Loaded) {
    let golden: Golden =
        serde_json::from_str(&golden_file(&format!("{name}.golden.json"))).expect(name);
    assert!(
        golden.entries.len() >= 20,
        "{name}: {} prompts",
        golden.entries.len()
    );
    let prompts: Vec<_> = golden
        .entries
        .iter()
        .map(|entry| entry.prompt.clone())
        .collect();
    let ran = run(loaded, &prompts, 64, Cut::WHOLE);
    for (index, (text, entry)) in ran.texts.iter().zip(&golden.entries).enumerate() {
        assert_eq!(
            text.tokens, entry.tokens,
            "{name}: tokens of prompt {index}"
        );
        for (step, expected) in golden.steps.iter().zip(&entry.logprobs) {
            for (token, expected) in entry.sampled.iter().zip(expected) {
                let found = text.logprobs[*step][*token];
                assert!(
                    (found - expected).abs() <= 1e-4,
                    "{name}: prompt {index}, step {step}, token {token}: {found} for {expected}"
                );
            }
        }
    }
}

fn compare_case(name: &str) {
    compare(name, &mut load_case(&Case::all()[name]));
}

#[test]
fn llama() {
    compare_case("llama");
}

#[test]
fn llama_with_stretched_angles_and_biases_in_three_files() {
    compare_case("llama-3.1");
}

#[test]
fn llama_from_half_precision_with_odd_heads() {
    compare_case("llama-half");
}

#[test]
fn qwen3_with_odd_heads_in_two_files() {
    compare_case("qwen3");
}

#[test]
fn qwen3_tied_with_biases() {
    compare_case("qwen3-tied");
}

#[test]
fn the_demo_model() {
    compare("demo", &mut load(&Source::Demo).expect("it is inside"));
}
