//! The exponential function, as drawing needs it: of a whole vocabulary at once. Owns: one that compilers turn into
//! vectors, and that gives the same bits on every processor, so that a seed draws the same tokens wherever its call goes on.

/// `e^x` of a number up to zero, within two units in the last place; zero below -87, where 32 bits end.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    // Added and taken away again, it leaves a whole number: 1.5 * 2^23.
    const WHOLE: f32 = 12_582_912.0;
    // ln 2 in two parts, the first so short that its products with whole numbers are exact (Cody and Waite 1980).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    // Its series, which ends where 32 bits do: `rest` is at most half of ln 2.
    let mut sum = 1.0 / 5_040.0;
    for factor in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * rest + factor;
    }
    // The whole number stands in the last bits of `shifted`; the exponent is 127 more.
    let exponent = shifted
        .to_bits()
        .wrapping_sub(WHOLE.to_bits())
        .wrapping_add(127);
    let power = f32::from_bits(exponent << 23);
    if x < -87.0 { 0.0 } else { sum * power }
}

/// Sums that are formed beside each other.
const LANES: usize = 16;

/// The sum of `weight` of all numbers, in 64 bits. Lanes are summed on their own first: one sum would wait for each
/// addition before the next.
#[inline]
pub(crate) fn sum(numbers: &[f32], weight: impl Fn(f32) -> f32) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for numbers in whole {
        for (lane, number) in lanes.iter_mut().zip(numbers) {
            *lane += f64::from(weight(*number));
        }
    }
    for (lane, number) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(weight(*number));
    }
    lanes.iter().sum()
}

/// The largest number; minus infinity of none. No number may be none.
#[inline]
pub(crate) fn largest(numbers: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for numbers in whole {
        for (lane, number) in lanes.iter_mut().zip(numbers) {
            *lane = larger(*lane, *number);
        }
    }
    let lanes = lanes.into_iter().chain(rest.iter().copied());
    lanes.fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        let mut worst = 0.0_f64;
        for step in 0..=870_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst <= 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(exp(0.0).to_bits(), 1.0_f32.to_bits());
        for far in [-87.1, -1e30, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp(far).to_bits(), 0, "{far}");
        }
    }

    #[test]
    fn sums_and_maxima_take_every_number() {
        for len in [0, 1, 15, 16, 17, 100] {
            let numbers: Vec<f32> = (0..len).map(|n| (n * 37 % 101) as f32).collect();
            let exact: f32 = numbers.iter().sum();
            assert_eq!(sum(&numbers, |x| x), f64::from(exact), "{len}");
            let exact = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&numbers), exact, "{len}");
        }
    }
}
