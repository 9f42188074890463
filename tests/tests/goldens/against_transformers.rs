//! On libtorch's operators and on every level of our own kernels. In 32 bits: greedy tokens equal to Hugging Face transformers', token by token; log-probabilities within 1e-4.
//! In bfloat16: log-probabilities as near to those of 32 bits as twice transformers' own distance.

use lps_engine::model::directory::Source;
use lps_engine::model::{Dtype, KernelsAsked, Loaded};
use lps_engine_core::request::TokenId;
use serde::Deserialize;

use crate::engine::{Case, Cut, all_kernels, golden_file, load, load_bytes, load_case, run};

#[derive(Deserialize)]
struct Golden {
    steps: Vec<usize>,
    bfloat16_error: f32,
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

impl Golden {
    fn read(name: &str) -> Self {
        let text = golden_file(&format!("{name}.golden.json"));
        let golden: Self = serde_json::from_str(&text).expect(name);
        assert!(golden.entries.len() >= 20, "{name} has prompts");
        golden
    }

    fn prompts(&self) -> Vec<Vec<TokenId>> {
        let prompts = self.entries.iter().map(|entry| entry.prompt.clone());
        prompts.collect()
    }
}

fn compare((name, what): (&str, &str), loaded: &mut Loaded) {
    let golden = Golden::read(name);
    let ran = run(loaded, &golden.prompts(), 64, Cut::WHOLE);
    for (index, (text, entry)) in ran.texts.iter().zip(&golden.entries).enumerate() {
        assert_eq!(
            text.tokens, entry.tokens,
            "{what}: tokens of prompt {index}"
        );
        for (step, expected) in golden.steps.iter().zip(&entry.logprobs) {
            for (token, expected) in entry.sampled.iter().zip(expected) {
                let found = text.logprobs[*step][*token];
                assert!(
                    (found - expected).abs() <= 1e-4,
                    "{what}: prompt {index}, step {step}, token {token}: {found} for {expected}"
                );
            }
        }
    }
}

fn compare_halved((name, what): (&str, &str), loaded: &mut Loaded) {
    let golden = Golden::read(name);
    let ran = run(loaded, &golden.prompts(), 1, Cut::WHOLE);
    let mut widest = 0.0_f32;
    for (text, entry) in ran.texts.iter().zip(&golden.entries) {
        for (token, expected) in entry.sampled.iter().zip(&entry.logprobs[0]) {
            widest = widest.max((text.logprobs[0][*token] - expected).abs());
        }
    }
    let limit = 2.0 * golden.bfloat16_error;
    assert!(widest <= limit, "{what}: {widest} is more than {limit}");
}

fn compare_case(name: &str) {
    let case = &Case::all()[name];
    for kernels in all_kernels() {
        let what = format!("{name}, {kernels:?}");
        compare((name, &what), &mut load_case(case, Dtype::Float32, kernels));
        compare_halved(
            (name, &what),
            &mut load_case(case, Dtype::Bfloat16, kernels),
        );
    }
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
fn llama_with_angles_of_yarn() {
    compare_case("llama-yarn");
}

#[test]
fn llama_within_the_context_of_dynamic_angles() {
    compare_case("llama-dynamic");
}

#[test]
fn qwen2_with_odd_heads_in_two_files() {
    compare_case("qwen2");
}

#[test]
fn qwen2_with_windows_in_upper_layers_and_angles_of_yarn() {
    compare_case("qwen2-window");
}

#[test]
fn mistral_with_windows() {
    compare_case("mistral");
}

#[test]
fn mistral_without_windows() {
    compare_case("mistral-full");
}

#[test]
fn phi3_with_windows_and_partly_turned_heads() {
    compare_case("phi3");
}

#[test]
fn phi3_within_the_context_of_training() {
    compare_case("phi3-short");
}

#[test]
fn phi3_beyond_the_context_of_training() {
    compare_case("phi3-long");
}

#[test]
fn gemma3_with_two_kinds_of_angles() {
    compare_case("gemma3");
}

#[test]
fn gemma3_of_the_older_config() {
    compare_case("gemma3-4");
}

#[test]
fn gemma2_with_odd_heads() {
    compare_case("gemma2");
}

#[test]
fn gemma2_of_the_older_config_with_biases() {
    compare_case("gemma2-4");
}

#[test]
fn gpt2_with_odd_heads_of_odd_size() {
    compare_case("gpt2");
}

#[test]
fn the_demo_model() {
    for kernels in all_kernels() {
        let load = |dtype| load(&Source::Demo, dtype, kernels).expect("it is inside");
        let what = format!("demo, {kernels:?}");
        compare(("demo", &what), &mut load(Dtype::Float32));
        compare_halved(("demo", &what), &mut load(Dtype::Bfloat16));
    }
}

/// Rounding weights to 8 bits, each row by its own scale, loses no more than 16-bit floats everywhere do.
#[test]
fn the_demo_model_with_weights_of_eight_bits() {
    for kernels in all_kernels() {
        let loaded = load_bytes(&Source::Demo, kernels);
        if kernels == KernelsAsked::Operators {
            let error = loaded.expect_err("operators have no such weights");
            let error = error.to_string();
            assert!(error.contains("--quantization needs"), "{error}");
            continue;
        }
        let mut loaded = loaded.expect("it is inside");
        compare_halved(("demo", &format!("demo, int8, {kernels:?}")), &mut loaded);
    }
}
