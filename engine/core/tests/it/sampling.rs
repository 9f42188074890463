//! The sampler against a naive reference, which sorts everything, and against single known answers.

use lps_engine_core::batch::{Sample, Sampled};
use lps_engine_core::defect::Defect;
use lps_engine_core::request::{SamplingParams, TokenId};
use lps_engine_core::sampler::{sample, uniform};
use lps_engine_core::token_set::TokenSet;
use proptest::prelude::*;

fn draw(logits: &[f32], params: &SamplingParams, tokens: &[TokenId], prompt: usize) -> Sampled {
    draw_without(logits, params, tokens, prompt, &[])
}

fn draw_without(
    logits: &[f32],
    params: &SamplingParams,
    tokens: &[TokenId],
    prompt: usize,
    forbidden: &[TokenId],
) -> Sampled {
    try_draw(logits, params, tokens, prompt, forbidden).expect("the logits are sound")
}

fn try_draw(
    logits: &[f32],
    params: &SamplingParams,
    tokens: &[TokenId],
    prompt: usize,
    forbidden: &[TokenId],
) -> Result<Sampled, Defect> {
    let mut logits = logits.to_vec();
    let sampling = Sample {
        params,
        choice: 0,
        forbidden,
        allowed: None,
    };
    sample(&mut logits, &sampling, tokens, prompt)
}

fn greedy() -> SamplingParams {
    SamplingParams::default()
}

/// The rules, one after the other, over sorted lists: every token that may be drawn, with its probability.
fn reference(
    logits: &[f32],
    params: &SamplingParams,
    tokens: &[TokenId],
    prompt_len: usize,
    forbidden: &[TokenId],
) -> Vec<(TokenId, f64)> {
    let mut changed = Vec::new();
    for (token, mut logit) in (0..).zip(logits.iter().copied()) {
        let outputs = tokens[prompt_len..].iter().filter(|t| **t == token).count();
        if tokens.contains(&token) {
            let penalty = params.repetition_penalty;
            logit = if logit > 0.0 {
                logit / penalty
            } else {
                logit * penalty
            };
        }
        logit -= params.frequency_penalty * outputs as f32;
        logit -= if outputs > 0 {
            params.presence_penalty
        } else {
            0.0
        };
        for (biased, bias) in &params.logit_bias {
            logit += if *biased == token { *bias } else { 0.0 };
        }
        if forbidden.contains(&token) {
            logit = f32::NEG_INFINITY;
        }
        changed.push((token, logit));
    }
    changed.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if params.temperature == 0.0 {
        return vec![(changed[0].0, 1.0)];
    }
    if params.top_k > 0 {
        changed.truncate(params.top_k as usize);
    }
    let max = f64::from(changed[0].1);
    let temperature = f64::from(params.temperature);
    let mut weights: Vec<(TokenId, f64)> = changed
        .iter()
        .map(|(token, logit)| (*token, ((f64::from(*logit) - max) / temperature).exp()))
        .collect();
    if params.top_p < 1.0 {
        let wanted = f64::from(params.top_p) * weights.iter().map(|w| w.1).sum::<f64>();
        let mut mass = 0.0;
        let last = weights.iter().position(|w| {
            mass += w.1;
            mass >= wanted
        });
        weights.truncate(last.map_or(weights.len(), |last| last + 1));
    }
    weights.retain(|w| w.1 >= f64::from(params.min_p));
    let total: f64 = weights.iter().map(|w| w.1).sum();
    weights
        .iter()
        .map(|(token, weight)| (*token, weight / total))
        .filter(|w| w.1 > 0.0)
        .collect()
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let off_or = |off: f32, on: std::ops::Range<f32>| prop_oneof![1 => Just(off), 1 => on];
    let penalties = (
        off_or(1.0, 0.5..2.0),
        off_or(0.0, -2.0..2.0),
        off_or(0.0, -2.0..2.0),
    );
    let bias = prop::collection::vec((0..3000_u32, -9.0..9.0_f32), 0..4).prop_map(|mut bias| {
        bias.sort_by_key(|b| b.0);
        bias.dedup_by_key(|b| b.0);
        bias
    });
    let sets = (
        prop_oneof![Just(0), 1..2500_u32],
        off_or(1.0, 0.0..1.0),
        off_or(0.0, 0.0..1.0),
    );
    (penalties, bias, off_or(0.0, 0.05..3.0), sets, any::<u64>()).prop_map(
        |(penalties, logit_bias, temperature, sets, seed)| SamplingParams {
            repetition_penalty: penalties.0,
            frequency_penalty: penalties.1,
            presence_penalty: penalties.2,
            logit_bias,
            temperature,
            top_k: sets.0,
            top_p: sets.1,
            min_p: sets.2,
            seed,
            logprobs: None,
        },
    )
}

fn logit() -> impl Strategy<Value = f32> {
    // Coarse values, so that many are equal.
    prop_oneof![
        30 => (-40..40_i32).prop_map(|value| value as f32 / 4.0),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(-0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_draw_is_one_that_the_reference_allows(
        logits in prop_oneof![
            prop::collection::vec(logit(), 2..40),
            prop::collection::vec(logit(), 900..2500),
        ],
        params in params(),
        tokens in prop::collection::vec(0..60_u32, 1..30),
        prompt in 0..30_usize,
        forbidden in prop::collection::vec(0..50_u32, 0..3),
    ) {
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        let prompt = prompt.min(tokens.len());
        let allowed = reference(&logits, &params, &tokens, prompt, &forbidden);
        let all_gone = (0..).zip(&logits).all(|(token, l)| !l.is_finite() || forbidden.contains(&token));
        prop_assume!(!all_gone);
        let drawn = draw_without(&logits, &params, &tokens, prompt, &forbidden).token;
        prop_assert!(allowed.iter().any(|(token, _)| *token == drawn), "{drawn} of {allowed:?}");
        prop_assert!(!forbidden.contains(&drawn));
        let again = draw_without(&logits, &params, &tokens, prompt, &forbidden).token;
        prop_assert_eq!(drawn, again);
    }

    #[test]
    fn to_allow_some_is_to_forbid_the_others(
        logits in prop::collection::vec(logit(), 2..200),
        params in params(),
        count in prop::option::of(0..4_u32),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
        // A set may end before the vocabulary does, or after it.
        beyond in 0..80_u32,
    ) {
        let size = logits.len() as TokenId;
        let chosen: Vec<TokenId> = chosen.iter().map(|index| index.index(logits.len()) as TokenId).collect();
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        let params = SamplingParams { logprobs: count, ..params };
        let others: Vec<TokenId> = (0..size).filter(|token| !chosen.contains(token)).collect();
        let allowed: TokenSet = chosen.iter().copied().chain(size..size + beyond).collect();
        let sampling = Sample { params: &params, choice: 0, forbidden: &[], allowed: Some(&allowed) };
        let drawn = sample(&mut logits.clone(), &sampling, &[0, 1, 1], 1);
        prop_assert_eq!(&drawn, &try_draw(&logits, &params, &[0, 1, 1], 1, &others));
        prop_assert!(chosen.contains(&drawn.unwrap().token));
    }

    #[test]
    fn one_bad_number_anywhere_is_a_defect(
        mut logits in prop::collection::vec(logit(), 1..3000),
        params in params(),
        place in any::<prop::sample::Index>(),
        is_nan in any::<bool>(),
        count in prop::option::of(0..12_u32),
    ) {
        let (bad, expected) = match is_nan {
            true => (f32::NAN, Defect::NotANumber),
            false => (f32::INFINITY, Defect::Infinity),
        };
        let place = place.index(logits.len());
        logits[place] = bad;
        // What a request does to the token afterwards does not hide it.
        let params = SamplingParams { logit_bias: vec![(place as u32, -9.0)], logprobs: count, ..params };
        let drawn = try_draw(&logits, &params, &[0], 1, &[place as u32]);
        prop_assert_eq!(drawn, Err(expected));
    }

    #[test]
    fn log_probabilities_are_those_of_the_raw_logits(
        logits in prop::collection::vec(-20.0..20.0_f32, 2..300),
        params in params(),
        count in 0..12_u32,
    ) {
        let params = SamplingParams { logprobs: Some(count), ..params };
        let sampled = draw(&logits, &params, &[1, 0, 1], 1);
        let logprobs = sampled.logprobs.expect("asked for");
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let of = |token: TokenId| (f64::from(logits[token as usize]) - sum.ln()) as f32;
        prop_assert!((logprobs.chosen - of(sampled.token)).abs() < 1e-4);
        let mut order: Vec<TokenId> = (0..logits.len() as TokenId).collect();
        order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        order.truncate(count as usize);
        prop_assert_eq!(logprobs.top.iter().map(|top| top.0).collect::<Vec<_>>(), order);
        for (token, logprob) in logprobs.top {
            prop_assert!((logprob - of(token)).abs() < 1e-4);
        }
    }
}

#[test]
fn frequencies_follow_the_probabilities() {
    let logits: Vec<f32> = (0..1500)
        .map(|token| ((token * 37) % 11) as f32 / 2.0)
        .collect();
    let base = SamplingParams {
        temperature: 0.8,
        ..greedy()
    };
    let sets = [
        base.clone(),
        SamplingParams {
            top_k: 40,
            ..base.clone()
        },
        SamplingParams {
            top_p: 0.3,
            ..base.clone()
        },
        SamplingParams {
            top_k: 500,
            top_p: 0.5,
            ..base.clone()
        },
        SamplingParams { min_p: 0.5, ..base },
    ];
    for params in sets {
        let expected = reference(&logits, &params, &[0], 1, &[]);
        // By residue, so that each class is large: chi-squared with at most 10 degrees of freedom.
        let mut mass = [0.0; 11];
        for (token, probability) in &expected {
            mass[(token * 37 % 11) as usize] += probability;
        }
        let draws = 20_000;
        let mut counts = [0; 11];
        for seed in 0..draws {
            let token = draw(
                &logits,
                &SamplingParams {
                    seed,
                    ..params.clone()
                },
                &[0],
                1,
            )
            .token;
            counts[(token * 37 % 11) as usize] += 1;
        }
        let classes = mass.iter().zip(counts).filter(|(mass, _)| **mass > 0.0);
        let chi: f64 = classes
            .map(|(mass, count)| {
                let expected = mass * draws as f64;
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi < 35.0, "chi-squared {chi} for {params:?}");
    }
}

#[test]
fn equal_logits_go_to_the_lowest_id() {
    assert_eq!(draw(&[1.0, 3.0, 3.0, -0.0], &greedy(), &[0], 1).token, 1);
    assert_eq!(draw(&[-0.0, 0.0], &greedy(), &[0], 1).token, 0);
    let one = SamplingParams {
        temperature: 1.0,
        top_k: 1,
        ..greedy()
    };
    assert_eq!(draw(&[1.0, 3.0, 3.0], &one, &[0], 1).token, 1);
}

#[test]
fn the_random_number_is_keyed_and_nothing_else() {
    let params = SamplingParams {
        temperature: 1.0,
        seed: 7,
        ..greedy()
    };
    let logits = vec![0.0; 4096];
    let at = |prompt: &[TokenId], output: &[TokenId]| {
        let tokens = [prompt, output].concat();
        draw(&logits, &params, &tokens, prompt.len()).token
    };
    assert_eq!(
        at(&[1, 2, 3], &[4]),
        at(&[9], &[8]),
        "the position counts output only"
    );
    assert_ne!(at(&[1], &[]), at(&[1], &[2]));
    // A change of these numbers changes every seeded text.
    let pinned = [
        ((0, 0, 0), 0x3fc1_c13a_de1c_7e5c),
        ((1, 0, 0), 0x3fe6_3140_5e8d_b1b0),
        ((0, 1, 0), 0x3fd1_396e_6040_319e),
        ((0, 0, 1), 0x3fc7_9953_c24b_633c),
    ];
    for ((seed, choice, position), bits) in pinned {
        assert_eq!(uniform(seed, choice, position).to_bits(), bits);
    }
}

#[test]
fn a_model_may_rule_tokens_out_but_not_all_of_them() {
    let never = f32::NEG_INFINITY;
    let warm = SamplingParams {
        temperature: 1.0,
        logprobs: Some(2),
        ..greedy()
    };
    for params in [greedy(), warm] {
        let drawn = draw(&[never, never, -5.0, never], &params, &[0], 1);
        assert_eq!(drawn.token, 2);
        for (logits, expected) in [
            (vec![never; 3], Defect::NothingPossible),
            (vec![never, f32::NAN, 1.0], Defect::NotANumber),
            (vec![f32::INFINITY, f32::NAN], Defect::NotANumber),
            (vec![1.0, f32::INFINITY], Defect::Infinity),
        ] {
            assert_eq!(try_draw(&logits, &params, &[0], 1, &[]), Err(expected));
        }
    }
}

/// A request's own rules make no defect of sound logits, however far they go.
#[test]
fn what_a_request_asks_for_is_no_defect() {
    for temperature in [0.0, 1.0] {
        let params = SamplingParams {
            temperature,
            repetition_penalty: f32::MIN_POSITIVE,
            logit_bias: vec![(0, 100.0)],
            logprobs: Some(2),
            ..greedy()
        };
        let drawn = draw(&[f32::MAX, -f32::MAX], &params, &[0, 1], 2);
        assert_eq!(drawn.token, 0);
        let all_forbidden = draw_without(&[1.0, 2.0], &params, &[0], 1, &[0, 1]);
        assert_eq!(all_forbidden.token, 0);
    }
}

#[test]
fn a_penalised_token_reports_its_raw_log_probability() {
    let params = SamplingParams {
        presence_penalty: 1.0,
        logit_bias: vec![(1, 50.0)],
        logprobs: Some(1),
        ..greedy()
    };
    let sampled = draw(&[2.0, 1.0], &params, &[0, 1], 1);
    assert_eq!(sampled.token, 1);
    let logprobs = sampled.logprobs.expect("asked for");
    let expected = 1.0 - (2.0_f32.exp() + 1.0_f32.exp()).ln();
    assert!(
        (logprobs.chosen - expected).abs() < 1e-6,
        "{}",
        logprobs.chosen
    );
    assert_eq!(logprobs.top[0].0, 0);
}

#[test]
fn tokens_outside_the_vocabulary_are_ignored() {
    let params = SamplingParams {
        repetition_penalty: 1.5,
        frequency_penalty: 1.0,
        logit_bias: vec![(99, 5.0)],
        ..greedy()
    };
    assert_eq!(
        draw_without(&[1.0, 2.0], &params, &[7, 300, 65], 1, &[1000]).token,
        1
    );
}
