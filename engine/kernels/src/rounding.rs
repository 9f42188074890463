//! Rows as 16-bit integers, for weights of 8 bits. Owns: how large the integers are.
#![expect(unsafe_code, reason = "rows that several threads write, each its own")]

use std::ops::Range;

use crate::element::Element;
use crate::level::{Available, Work};
use crate::simd::Simd;
use crate::threads::{Threads, Writable};

/// The largest weight.
const LARGEST_WEIGHT: usize = 127;
/// Rows that are rounded at once.
const ROWS_AT_ONCE: usize = 8;

/// Rows as pairs of integers, and what each row of integers is to be multiplied with. They are as large as sums of their
/// products with 8-bit integers allow in 32 bits: 12 bits and more up to 8,192 inputs, where a 16-bit float has 8. A row in
/// which something is no number is multiplied with none.
pub(crate) fn rounded<E: Element>(
    level: Available,
    threads: &mut Threads,
    x: &[E],
    inputs: usize,
) -> (Vec<u32>, Vec<f32>) {
    let rows = x.len() / inputs.max(1);
    let mut integers = vec![0; rows * inputs.div_ceil(2)];
    let mut scales = vec![0.0; rows];
    let (to, factors) = (Writable::new(&mut integers), Writable::new(&mut scales));
    threads.run(rows.div_ceil(ROWS_AT_ONCE), x.len(), |part| {
        let first = part * ROWS_AT_ONCE;
        level.run(Part {
            x,
            inputs,
            rows: first..rows.min(first + ROWS_AT_ONCE),
            to,
            factors,
        });
    });
    (integers, scales)
}

struct Part<'a, E> {
    x: &'a [E],
    inputs: usize,
    rows: Range<usize>,
    to: Writable<u32>,
    factors: Writable<f32>,
}

impl<E: Element> Work for Part<'_, E> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let most = (i32::MAX as usize / LARGEST_WEIGHT / self.inputs).min(i16::MAX as usize) as f32;
        let pairs = self.inputs.div_ceil(2);
        for index in self.rows {
            let row = &self.x[index * self.inputs..][..self.inputs];
            let scale = largest(row) / most;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            // SAFETY: a row of integers has so many pairs, and nobody else writes it.
            unsafe {
                *self.factors.at(index) = scale;
                for (place, pair) in row.chunks(2).enumerate() {
                    let first = whole(pair[0].to_f32() * inverse);
                    let second = pair
                        .get(1)
                        .map_or(0, |number| whole(number.to_f32() * inverse));
                    *self.to.at(index * pairs + place) = u32::from(first) | u32::from(second) << 16;
                }
            }
        }
    }
}

/// The largest number without its sign; none where one is none.
#[inline(always)]
pub(crate) fn largest<E: Element>(row: &[E]) -> f32 {
    let mut most = 0.0_f32;
    let mut sum = 0.0_f32;
    for number in row {
        let number = number.to_f32().abs();
        most = if number > most { number } else { most };
        sum += number * 0.0;
    }
    // Zero times what is no number, or infinite, is none.
    most + sum
}

/// To the nearest whole number, as 16 bits.
#[inline(always)]
fn whole(number: f32) -> u16 {
    // Adding and taking away 1.5 * 2^23 leaves a whole number.
    const WHOLE: f32 = 12_582_912.0;
    ((number + WHOLE) - WHOLE) as i16 as u16
}
