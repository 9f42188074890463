//! Random numbers, levels, distances.

use std::num::NonZeroUsize;

use half::bf16;
use lps_engine_kernels::level::{Available, Level};
use lps_engine_kernels::threads::Threads;

/// Numbers from -1 to 1 that depend on the seed alone.
pub(crate) fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn halves(numbers: &[f32]) -> Vec<bf16> {
    numbers
        .iter()
        .map(|number| bf16::from_f32(*number))
        .collect()
}

pub(crate) fn widened(numbers: &[bf16]) -> Vec<f32> {
    numbers.iter().map(|number| number.to_f32()).collect()
}

/// All levels of this processor.
pub(crate) fn levels() -> Vec<Available> {
    Level::ALL
        .into_iter()
        .filter_map(|level| Available::of(level).ok())
        .collect()
}

pub(crate) fn threads(count: usize) -> Threads {
    Threads::new(NonZeroUsize::new(count).expect("some"))
}

/// The largest difference, and where.
#[track_caller]
pub(crate) fn assert_near(what: &str, found: &[f32], expected: &[f64], most: f64) {
    assert_eq!(found.len(), expected.len());
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(
            off <= most,
            "{what}: number {place} is {found}, not {expected}"
        );
    }
}
