//! Products with packed weights.

use std::num::NonZeroUsize;

use half::bf16;
use lps_engine_kernels::element::{Numbers, NumbersMut};
use lps_engine_kernels::level::Available;
use lps_engine_kernels::product::Product;
use lps_engine_kernels::weight::Weight;

use crate::support::{assert_near, halves, levels, random, threads, widened};

const SHAPES: [[usize; 2]; 6] = [[32, 64], [1, 2], [100, 48], [65, 130], [7, 1024], [40, 45]];
const THREADS: NonZeroUsize = NonZeroUsize::new(3).expect("some");
const ROWS: [usize; 8] = [1, 2, 3, 5, 8, 13, 31, 250];

fn expected(x: &[f32], weight: &[f32], bias: &[f32], inputs: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        x.iter()
            .zip(w)
            .map(|(x, w)| f64::from(*x) * f64::from(*w))
            .sum()
    };
    let row = |x: &[f32]| -> Vec<f64> {
        let outputs = weight.chunks_exact(inputs).zip(bias);
        outputs
            .map(|(weight, bias)| dot(x, weight) + f64::from(*bias))
            .collect()
    };
    x.chunks_exact(inputs).flat_map(row).collect()
}

fn product(level: Available, weight: &Weight, x: Numbers<'_>, bias: &[f32]) -> Vec<f32> {
    let rows = match x {
        Numbers::Float(x) => x.len(),
        Numbers::Half(x) => x.len(),
    } / weight.inputs();
    let mut out = vec![0.0; rows * weight.outputs()];
    let product = Product {
        weight,
        x,
        bias: Some(bias),
    };
    // Many rows on three threads, one on one.
    let count = if rows > 1 { 3 } else { 1 };
    product.compute(level, &mut threads(count), NumbersMut::Float(&mut out));
    out
}

#[test]
fn products_are_right_on_every_level() {
    for ([outputs, inputs], rows) in SHAPES
        .into_iter()
        .flat_map(|shape| ROWS.map(|rows| (shape, rows)))
    {
        let weight = random(1, outputs * inputs);
        let (x, bias) = (random(2, rows * inputs), random(3, outputs));
        let (half_weight, half_x) = (halves(&weight), halves(&x));
        let exact = expected(&x, &weight, &bias, inputs);
        let exact_half = expected(&widened(&half_x), &widened(&half_weight), &bias, inputs);
        let float = Weight::pack(&[Numbers::Float(&weight)], [outputs, inputs], THREADS)
            .expect("there is memory");
        let half = Weight::pack(&[Numbers::Half(&half_weight)], [outputs, inputs], THREADS)
            .expect("there is memory");
        let byte = Weight::pack_bytes(&[Numbers::Half(&half_weight)], [outputs, inputs], THREADS)
            .expect("there is memory");
        for level in levels() {
            let what = format!("{outputs}x{inputs}, {rows} rows, {}", level.level());
            let found = product(level, &float, Numbers::Float(&x), &bias);
            assert_near(&what, &found, &exact, 1e-6 * inputs as f64);
            let found = product(level, &half, Numbers::Half(&half_x), &bias);
            assert_near(&what, &found, &exact_half, 1e-6 * inputs as f64);
            // A weight is off by half of 1/127 at most, so a sum by that times the sum of what multiplies it.
            let found = product(level, &byte, Numbers::Half(&half_x), &bias);
            assert_near(
                &what,
                &found,
                &exact_half,
                0.003 * (inputs as f64).sqrt() * 3.0,
            );
        }
    }
}

#[test]
fn a_row_is_the_same_whatever_its_neighbours_and_threads() {
    let (outputs, inputs, rows) = (96, 320, 250);
    let weight = halves(&random(4, outputs * inputs));
    let x = halves(&random(5, rows * inputs));
    let bias = random(6, outputs);
    let packed = [
        Weight::pack(&[Numbers::Half(&weight)], [outputs, inputs], THREADS)
            .expect("there is memory"),
        Weight::pack_bytes(&[Numbers::Half(&weight)], [outputs, inputs], THREADS)
            .expect("there is memory"),
    ];
    let floats = Weight::pack(
        &[Numbers::Float(&widened(&weight))],
        [outputs, inputs],
        THREADS,
    )
    .expect("there is memory");
    let wide = widened(&x);
    for level in levels() {
        for weight in &packed {
            let all = product(level, weight, Numbers::Half(&x), &bias);
            for (row, expected) in x.chunks_exact(inputs).zip(all.chunks_exact(outputs)) {
                assert_eq!(product(level, weight, Numbers::Half(row), &bias), expected);
            }
        }
        let all = product(level, &floats, Numbers::Float(&wide), &bias);
        for (row, expected) in wide.chunks_exact(inputs).zip(all.chunks_exact(outputs)) {
            assert_eq!(
                product(level, &floats, Numbers::Float(row), &bias),
                expected
            );
        }
    }
}

#[test]
fn results_of_sixteen_bits_are_the_rounded_ones_of_32() {
    let (outputs, inputs, rows) = (40, 64, 3);
    let weight = halves(&random(7, outputs * inputs));
    let x = halves(&random(8, rows * inputs));
    let weight = Weight::pack(&[Numbers::Half(&weight)], [outputs, inputs], THREADS)
        .expect("there is memory");
    for level in levels() {
        let wide = product(level, &weight, Numbers::Half(&x), &vec![0.0; outputs]);
        let mut out = vec![bf16::ZERO; rows * outputs];
        let product = Product {
            weight: &weight,
            x: Numbers::Half(&x),
            bias: None,
        };
        product.compute(level, &mut threads(1), NumbersMut::Half(&mut out));
        assert_eq!(out, halves(&wide), "{}", level.level());
    }
}

#[test]
fn eight_bits_lose_no_more_than_their_rounding() {
    // Whole numbers within 127 are exact in 8 bits, and whole inputs in 16: the product is exact.
    let (outputs, inputs) = (33, 512);
    let whole = |seed, count, most: f32| -> Vec<f32> {
        let mut numbers: Vec<f32> = random(seed, count)
            .iter()
            .map(|x| (x * most).round())
            .collect();
        for row in numbers.chunks_exact_mut(inputs) {
            row[0] = most;
        }
        numbers
    };
    let (weight, x) = (
        whole(9, outputs * inputs, 127.0),
        whole(10, 4 * inputs, 120.0),
    );
    let bias = vec![0.0; outputs];
    let exact = expected(&x, &weight, &bias, inputs);
    let weight = Weight::pack_bytes(&[Numbers::Float(&weight)], [outputs, inputs], THREADS)
        .expect("there is memory");
    for level in levels() {
        let found = product(level, &weight, Numbers::Float(&x), &bias);
        let largest = exact.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert_near(level.level().name(), &found, &exact, largest * 2e-4);
    }
}

#[test]
fn parts_are_packed_as_the_whole() {
    let (outputs, inputs) = (70, 33);
    let weight = random(13, outputs * inputs);
    let x = random(14, 3 * inputs);
    let bias = random(15, outputs);
    let parts = [
        Numbers::Float(&weight[..5 * inputs]),
        Numbers::Float(&weight[5 * inputs..41 * inputs]),
        Numbers::Float(&weight[41 * inputs..]),
    ];
    for pack in [Weight::pack, Weight::pack_bytes] {
        let [whole, parts] = [&[Numbers::Float(&weight)][..], &parts]
            .map(|parts| pack(parts, [outputs, inputs], THREADS).expect("there is memory"));
        for level in levels() {
            let [whole, parts] =
                [&whole, &parts].map(|packed| product(level, packed, Numbers::Float(&x), &bias));
            assert_eq!(whole, parts, "{}", level.level());
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let (outputs, inputs) = (4, 66);
    let weight = random(11, outputs * inputs);
    let mut x = random(12, 2 * inputs);
    x[5] = f32::NAN;
    let none = [0.0; 4];
    let packed = [
        Weight::pack(&[Numbers::Float(&weight)], [outputs, inputs], THREADS),
        Weight::pack_bytes(&[Numbers::Float(&weight)], [outputs, inputs], THREADS),
    ];
    for weight in packed.map(|packed| packed.expect("there is memory")) {
        for level in levels() {
            let found = product(level, &weight, Numbers::Float(&x), &none);
            assert!(found[..outputs].iter().all(|x| x.is_nan()), "{found:?}");
            assert!(found[outputs..].iter().all(|x| x.is_finite()), "{found:?}");
        }
    }
}

#[test]
fn integers_give_the_same_bits_on_every_level() {
    for ([outputs, inputs], rows) in SHAPES
        .into_iter()
        .flat_map(|shape| ROWS.map(|rows| (shape, rows)))
    {
        let (weight, x) = (random(20, outputs * inputs), random(21, rows * inputs));
        let bias = random(22, outputs);
        let weight = Weight::pack_bytes(&[Numbers::Float(&weight)], [outputs, inputs], THREADS)
            .expect("there is memory");
        let mut found = levels()
            .into_iter()
            .map(|level| product(level, &weight, Numbers::Float(&x), &bias));
        let first = found.next().expect("a level");
        assert!(
            found.all(|other| other == first),
            "{outputs}x{inputs}, {rows} rows"
        );
    }
}

#[test]
fn the_largest_sums_of_integers_fit() {
    // Weights and inputs are all the largest integers that there are, so sums are as large as they can be.
    let outputs = 3;
    for inputs in [1, 63, 515, 8_192, 12_289] {
        let weight = vec![1.0; outputs * inputs];
        let weight = Weight::pack_bytes(&[Numbers::Float(&weight)], [outputs, inputs], THREADS)
            .expect("there is memory");
        for (rows, sign) in [(1, 1.0), (1, -1.0), (2, 1.0), (5, -1.0)] {
            let x = vec![sign; rows * inputs];
            let expected = vec![f64::from(sign) * inputs as f64; rows * outputs];
            for level in levels() {
                let found = product(level, &weight, Numbers::Float(&x), &[0.0; 3]);
                let what = format!("{inputs} inputs, {rows} rows, {}", level.level());
                assert_near(&what, &found, &expected, 1e-6 * inputs as f64);
            }
        }
    }
}

#[test]
fn rows_of_next_to_nothing_are_zero() {
    let (outputs, inputs) = (2, 6);
    let weight = vec![1.0; outputs * inputs];
    let weight = Weight::pack_bytes(&[Numbers::Float(&weight)], [outputs, inputs], THREADS)
        .expect("there is memory");
    let x = vec![f32::from_bits(1); inputs];
    for level in levels() {
        let found = product(level, &weight, Numbers::Float(&x), &[0.0; 2]);
        assert_eq!(found, [0.0; 2], "{}", level.level());
    }
}
