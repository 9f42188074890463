//! However work is cut into steps, a text stays the same: alone or among others, in chunks of any size around a page,
//! from cached pages, after pages were lost. Tokens equal, log-probabilities within 1e-5.

use lps_engine_core::core::Preemption;
use lps_engine_core::request::TokenId;

use crate::engine::{Case, Cut, Run, Text, load_case, run};

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

fn assert_same(what: &str, found: &[Text], expected: &[Text]) {
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
            widest <= 1e-5,
            "{what}: prompt {index}: log-probabilities differ by {widest}"
        );
    }
}

fn check(name: &str) {
    let mut loaded = load_case(&Case::all()[name]);
    let prompts = prompts(loaded.vocab_size);
    let alone: Vec<Text> = prompts
        .iter()
        .flat_map(|prompt| {
            run(
                &mut loaded,
                std::slice::from_ref(prompt),
                TOKENS,
                Cut::WHOLE,
            )
            .texts
        })
        .collect();
    let mut run =
        |prompts: &[Vec<TokenId>], cut: Cut| -> Run { run(&mut loaded, prompts, TOKENS, cut) };

    let together = run(&prompts, Cut::WHOLE);
    assert_same(&format!("{name}, together"), &together.texts, &alone);
    for batched_tokens in [1, 15, 16, 17] {
        let what = format!("{name}, steps of {batched_tokens} tokens");
        let cut = Cut {
            batched_tokens,
            ..Cut::WHOLE
        };
        let cut_up = run(&prompts, cut);
        assert_same(&what, &cut_up.texts, &alone);
        assert_eq!(cut_up.computed, together.computed, "{what}: nothing twice");
    }

    // One after another, each prompt twice: the second finds the first one's pages.
    let twice: Vec<_> = prompts
        .iter()
        .flat_map(|prompt| [prompt.clone(), prompt.clone()])
        .collect();
    let expected: Vec<_> = alone
        .iter()
        .flat_map(|text| [text.clone(), text.clone()])
        .collect();
    let cached = run(
        &twice,
        Cut {
            sequences: 1,
            prefix_cache: true,
            ..Cut::WHOLE
        },
    );
    assert_same(
        &format!("{name}, from cached pages"),
        &cached.texts,
        &expected,
    );
    assert!(
        cached.computed < 2 * together.computed,
        "{name}: pages were found"
    );

    // Six sequences grow to 31 pages, and there are 14.
    let few = Cut {
        kv_blocks: 14,
        ..Cut::WHOLE
    };
    let recomputed = run(&prompts, few);
    assert_same(&format!("{name}, recomputed"), &recomputed.texts, &alone);
    assert!(
        recomputed.computed > together.computed,
        "{name}: pages were lost"
    );
    let kept = run(
        &prompts,
        Cut {
            preemption: Preemption::Keep,
            sequences: 2,
            ..few
        },
    );
    assert_same(&format!("{name}, few pages kept"), &kept.texts, &alone);
}

#[test]
fn llama_in_any_cut() {
    check("llama-3.1");
}

#[test]
fn qwen3_in_any_cut() {
    check("qwen3");
}
