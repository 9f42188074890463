//! However work is cut into steps, a text stays the same: alone or among others, in chunks of any size around a page,
//! from cached pages, after pages were lost. On libtorch's operators tokens are equal and log-probabilities within 1e-5;
//! on our own kernels both are equal to the last bit, in 32 bits and in 16.

use lps_engine::model::{Dtype, KernelsAsked, Loaded};
use lps_engine_core::core::Preemption;
use lps_engine_core::request::TokenId;

use crate::engine::{Case, Cut, Run, Text, all_kernels, load_case, run};

const TOKENS: u32 = 40;

/// Lengths around the ends of pages.
fn prompts(vocabulary: u32) -> Vec<Vec<TokenId>> {
    let token = |prompt: u32, place: u32| {
        (prompt * 7919 + place * 104_729 + place * place * 31) % vocabulary
    };
    [1, 15, 16, 17, 33, 50]
        .into_iter()
        .enumerate()
        .map(|(index, len)| {
            (0..len)
                .map(|place| token(index as u32 + 1, place))
                .collect()
        })
        .collect()
}

fn assert_same(what: &str, found: &[Text], expected: &[Text], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found.tokens, expected.tokens,
            "{what}: tokens of prompt {index}"
        );
        let found = found.logprobs.iter().flatten();
        let expected = expected.logprobs.iter().flatten();
        let widest = found
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            widest <= tolerance,
            "{what}: prompt {index}: log-probabilities differ by {widest}"
        );
    }
}

/// A loaded checkpoint, and its texts when each prompt runs alone and whole.
struct Subject {
    name: String,
    /// By how much log-probabilities may differ.
    tolerance: f32,
    loaded: Loaded,
    prompts: Vec<Vec<TokenId>>,
    alone: Vec<Text>,
    /// Tokens that the layers must see at least.
    computed: usize,
}

impl Subject {
    fn new(name: &str, dtype: Dtype, kernels: KernelsAsked) -> Self {
        let mut loaded = load_case(&Case::all()[name], dtype, kernels);
        let prompts = prompts(loaded.vocab_size);
        let runs = prompts.iter().map(|prompt| {
            run(
                &mut loaded,
                std::slice::from_ref(prompt),
                TOKENS,
                Cut::WHOLE,
            )
        });
        let runs: Vec<Run> = runs.collect();
        let computed = runs.iter().map(|run| run.computed).sum();
        let alone = runs.into_iter().flat_map(|run| run.texts).collect();
        Self {
            name: format!("{name}, {dtype:?}, {kernels:?}"),
            tolerance: if kernels == KernelsAsked::Operators {
                1e-5
            } else {
                0.0
            },
            loaded,
            prompts,
            alone,
            computed,
        }
    }

    /// Runs all prompts in another cut, and compares.
    fn check(&mut self, what: &str, cut: Cut) -> usize {
        let ran = run(&mut self.loaded, &self.prompts, TOKENS, cut);
        let what = format!("{}, {what}", self.name);
        assert_same(&what, &ran.texts, &self.alone, self.tolerance);
        ran.computed
    }

    fn check_all(&mut self) {
        assert_eq!(self.check("together", Cut::WHOLE), self.computed);
        for batched_tokens in [1, 15, 16, 17] {
            let cut = Cut {
                batched_tokens,
                ..Cut::WHOLE
            };
            let computed = self.check(&format!("steps of {batched_tokens} tokens"), cut);
            assert_eq!(computed, self.computed, "nothing is computed twice");
        }

        // Six sequences grow to 31 pages, and there are 14.
        let few = Cut {
            kv_blocks: 14,
            ..Cut::WHOLE
        };
        assert!(
            self.check("recomputed", few) > self.computed,
            "pages were lost"
        );
        self.check(
            "few pages kept",
            Cut {
                preemption: Preemption::Keep,
                sequences: 2,
                ..few
            },
        );

        // One after another, each prompt twice: the second finds the first one's pages.
        self.prompts = self
            .prompts
            .iter()
            .flat_map(|prompt| [prompt.clone(), prompt.clone()])
            .collect();
        self.alone = self
            .alone
            .iter()
            .flat_map(|text| [text.clone(), text.clone()])
            .collect();
        let cut = Cut {
            sequences: 1,
            prefix_cache: true,
            ..Cut::WHOLE
        };
        assert!(
            self.check("from cached pages", cut) < 2 * self.computed,
            "pages were found"
        );
    }
}

fn check_case(name: &str) {
    for kernels in all_kernels() {
        Subject::new(name, Dtype::Float32, kernels).check_all();
        if kernels != KernelsAsked::Operators {
            Subject::new(name, Dtype::Bfloat16, kernels).check_all();
        }
    }
}

#[test]
fn llama_in_any_cut() {
    check_case("llama-3.1");
}

#[test]
fn qwen3_in_any_cut() {
    check_case("qwen3");
}

#[test]
fn qwen2_in_any_cut() {
    check_case("qwen2-window");
}

#[test]
fn mistral_in_any_cut() {
    check_case("mistral");
}

#[test]
fn phi3_in_any_cut() {
    check_case("phi3");
}

#[test]
fn gemma3_in_any_cut() {
    check_case("gemma3");
}

#[test]
fn gemma2_in_any_cut() {
    check_case("gemma2");
}

#[test]
fn gpt2_in_any_cut() {
    check_case("gpt2");
}
