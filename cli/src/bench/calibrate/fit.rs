//! What steps cost, from steps that were seen. Owns: the fit. Pure.
//!
//! Least squares without negative costs, each step weighted by one over the time that it is expected to take. That time is
//! a sum of the costs, so the residuals add up to nothing: the sum over many steps comes out right, whatever the noise.

use crate::sim::{Costs, Load};

/// A step that was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) load: Load,
    /// How long it took, in µs.
    pub(super) us: f64,
}

/// Steps that a point of the curve needs on its side of the point before.
const SUPPORT: usize = 8;
/// Times that the expected times are found anew.
const ROUNDS: usize = 4;
/// Sweeps over all costs, at most; and the relative change below which they have come to rest.
const SWEEPS_MAX: usize = 20_000;
const REST: f64 = 1e-10;
/// Costs beside the points of the curve: sequences, context, pairs.
const SLOPES: usize = 3;

/// Costs under which those steps would have taken about as long as they did.
///
/// There is at least one sample, and each took some time.
pub(super) fn fit(samples: &[Sample]) -> Costs {
    let knots = knots(samples);
    let rows: Vec<Vec<f64>> = samples.iter().map(|s| row(&knots, s.load)).collect();
    let mut costs = vec![0.0; knots.len() + SLOPES];
    let mut expected: Vec<f64> = samples.iter().map(|sample| sample.us).collect();
    for _ in 0..ROUNDS {
        costs = weighted(&rows, samples, &expected);
        for (expected, row) in expected.iter_mut().zip(&rows) {
            let told: f64 = row.iter().zip(&costs).map(|(a, cost)| a * cost).sum();
            *expected = told.max(1.0);
        }
    }
    let (rises, slopes) = costs.split_at(knots.len());
    let points = rises.iter().scan(0.0, |us, rise| {
        *us += rise;
        Some(*us)
    });
    Costs {
        step_us: knots.into_iter().zip(points).collect(),
        sequence_us: slopes[0],
        context_ns: slopes[1],
        pair_ns: slopes[2],
    }
}

/// The costs that fit best where a step's residual counts by one over its expected time.
fn weighted(rows: &[Vec<f64>], samples: &[Sample], expected: &[f64]) -> Vec<f64> {
    let size = rows[0].len();
    let mut products = vec![vec![0.0; size]; size];
    let mut target = vec![0.0; size];
    for ((row, sample), expected) in rows.iter().zip(samples).zip(expected) {
        for (i, a) in row.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            target[i] += a * sample.us / expected;
            for (product, b) in products[i].iter_mut().zip(row) {
                *product += a * b / expected;
            }
        }
    }
    non_negative(&products, &target)
}

/// Where the curve over tokens has points: the least that were seen, and powers of two that have steps to stand on. It
/// goes on beyond the last as before it.
fn knots(samples: &[Sample]) -> Vec<u32> {
    let mut tokens: Vec<u32> = samples.iter().map(|sample| sample.load.tokens).collect();
    tokens.sort_unstable();
    let (least, most) = (tokens[0], tokens[tokens.len() - 1]);
    let until = |knot: u32| tokens.partition_point(|tokens| *tokens <= knot);
    let mut knots = vec![least];
    let mut passed = until(least);
    let powers = (1..32).map(|power| 1_u32 << power);
    for knot in powers.filter(|knot| (least + 1..=most).contains(knot)) {
        if until(knot) >= passed + SUPPORT {
            knots.push(knot);
            passed = until(knot);
        }
    }
    if knots.len() == 1 && most > least {
        knots.push(most);
    }
    knots
}

/// What each cost is multiplied with: how far a step climbs each piece of the curve, which never falls; then µs for
/// sequences, and ns for context and pairs.
fn row(knots: &[u32], load: Load) -> Vec<f64> {
    let mut row = vec![0.0; knots.len() + SLOPES];
    row[0] = 1.0;
    for (piece, ends) in knots.windows(2).enumerate() {
        let climbed = f64::from(load.tokens) - f64::from(ends[0]);
        let share = (climbed / f64::from(ends[1] - ends[0])).max(0.0);
        let is_last = piece + 2 == knots.len();
        row[piece + 1] = if is_last { share } else { share.min(1.0) };
    }
    row[knots.len()] = f64::from(load.sequences);
    row[knots.len() + 1] = load.context as f64 / 1e3;
    row[knots.len() + 2] = load.pairs as f64 / 1e3;
    row
}

/// Solves `products · x = target` for the best x ≥ 0, one unknown after another (Franc, Hlaváč, Navara 2005).
fn non_negative(products: &[Vec<f64>], target: &[f64]) -> Vec<f64> {
    let mut x = vec![0.0; target.len()];
    for _ in 0..SWEEPS_MAX {
        let mut moved: f64 = 0.0;
        for i in 0..x.len() {
            if products[i][i] <= 0.0 {
                continue;
            }
            let sum: f64 = products[i].iter().zip(&x).map(|(a, b)| a * b).sum();
            let next = (x[i] + (target[i] - sum) / products[i][i]).max(0.0);
            let change = (next - x[i]).abs() / next.max(x[i]).max(f64::MIN_POSITIVE);
            moved = moved.max(change);
            x[i] = next;
        }
        if moved < REST {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a made-up engine: decoding, prompts in chunks, and both.
    fn seen(us: impl Fn(Load) -> f64) -> Vec<Sample> {
        let mut samples = Vec::new();
        for sequences in 1..=12 {
            for (prompt, before) in [(0, 0), (1, 0), (37, 0), (100, 512), (250, 64), (512, 900)] {
                for context in [10, 300, 1_500] {
                    let mut load = Load::default();
                    for _ in 0..sequences {
                        load.add(1, context);
                    }
                    if prompt > 0 {
                        load.add(prompt, before);
                    }
                    let us = us(load);
                    samples.push(Sample { load, us });
                }
            }
        }
        samples
    }

    #[test]
    fn costs_that_are_straight_are_found() {
        let real = |load: Load| {
            900.0
                + 25.0 * f64::from(load.tokens)
                + 40.0 * f64::from(load.sequences)
                + load.context as f64 * 0.2
                + load.pairs as f64 * 0.003
        };
        let costs = fit(&seen(real));
        for sample in seen(real) {
            let off = costs.step_us(sample.load) / sample.us - 1.0;
            assert!(off.abs() < 0.01, "{sample:?}: off by {off}");
        }
        assert!((costs.context_ns - 200.0).abs() < 5.0, "{costs:?}");
    }

    #[test]
    fn sums_come_out_right_under_noise_and_no_cost_is_negative() {
        // Every third step takes half as long again, whatever is in it.
        let steps = seen(|load| 500.0 + 10.0 * f64::from(load.tokens));
        let noisy = steps.iter().enumerate().map(|(at, sample)| Sample {
            us: sample.us * if at % 3 == 0 { 1.5 } else { 1.0 },
            ..*sample
        });
        let noisy: Vec<Sample> = noisy.collect();
        let costs = fit(&noisy);
        let seen: f64 = noisy.iter().map(|sample| sample.us).sum();
        let told: f64 = noisy.iter().map(|sample| costs.step_us(sample.load)).sum();
        assert!((told / seen - 1.0).abs() < 0.02, "{told} for {seen}");
        let all = costs.step_us.iter().map(|(_, us)| *us);
        let mut all = all.chain([costs.sequence_us, costs.context_ns, costs.pair_ns]);
        assert!(all.all(|cost| cost >= 0.0), "{costs:?}");
    }

    #[test]
    fn one_large_step_that_took_long_does_not_say_what_larger_ones_take() {
        let real = |load: Load| 500.0 + 10.0 * f64::from(load.tokens);
        let mut samples = seen(real);
        let one = |tokens| {
            let mut load = Load::default();
            load.add(tokens, 0);
            load
        };
        let us = real(one(600)) + 20_000.0;
        samples.push(Sample { load: one(600), us });
        let costs = fit(&samples);
        let off = costs.step_us(one(2_048)) / real(one(2_048)) - 1.0;
        assert!(off.abs() < 0.3, "off by {off}: {costs:?}");
    }

    #[test]
    fn steps_that_are_all_alike_are_enough() {
        let mut load = Load::default();
        load.add(1, 0);
        let costs = fit(&[Sample { load, us: 700.0 }; 3]);
        assert!((costs.step_us(load) - 700.0).abs() < 1e-6, "{costs:?}");
    }
}
