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

/// Rows as integers, an even number each, and what each row of integers is to be multiplied with. They are as large as sums of their
/// products with 8-bit integers allow in 32 bits: 12 bits and more up to 8,192 inputs, where a 16-bit float has 8. A row in
/// which something is no number is multiplied with none; one of nearly nothing but zeros is zero.
pub(crate) fn rounded<E: Element>(
    level: Available,
    threads: &mut Threads,
    x: &[E],
    inputs: usize,
) -> (Vec<i16>, Vec<f32>) {
    let rows = x.len() / inputs.max(1);
    let mut integers = vec![0; rows * inputs.next_multiple_of(2)];
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
    to: Writable<i16>,
    factors: Writable<f32>,
}

impl<E: Element> Work for Part<'_, E> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let most = (i32::MAX as usize / LARGEST_WEIGHT / self.inputs).min(i16::MAX as usize) as f32;
        let width = self.inputs.next_multiple_of(2);
        for index in self.rows {
            let row = &self.x[index * self.inputs..][..self.inputs];
            let scale = largest(row) / most;
            let inverse = inverse_of(scale);
            // SAFETY: a row of integers is as wide, is zero so far, and nobody else writes it.
            unsafe {
                *self.factors.at(index) = scale;
                if inverse.is_finite() {
                    let to = std::slice::from_raw_parts_mut(self.to.at(index * width), self.inputs);
                    for (to, number) in to.iter_mut().zip(row) {
                        *to = whole(number.to_f32() * inverse);
                    }
                }
            }
        }
    }
}

/// What numbers are multiplied with to become integers of this scale; zero where they are all next to nothing, and none
/// where one is none.
#[inline(always)]
pub(crate) fn inverse_of(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_infinite() { 0.0 } else { inverse }
}

/// The largest number without its sign; none where one is none.
#[inline(always)]
pub(crate) fn largest<E: Element>(row: &[E]) -> f32 {
    // Without signs, numbers stand in the order of their bits, and after them what is infinite or none. The largest of
    // integers is found in any order, so by vectors.
    let bits = row.iter().map(|number| number.to_f32().abs().to_bits());
    let most = f32::from_bits(bits.fold(0, u32::max));
    // Zero times what is infinite or none is none.
    most + most * 0.0
}

/// To the nearest whole number of 16 bits.
#[inline(always)]
fn whole(number: f32) -> i16 {
    // Adding 1.5 * 2^23 leaves it in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    (number + WHOLE).to_bits() as i16
}
