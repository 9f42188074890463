//! Which numbers are multiplied, and how. Owns: the *unit*, four bytes that are multiplied at once: one 32-bit float, or
//! two 16-bit floats.
#![expect(unsafe_code, reason = "the innermost loops")]

use half::bf16;

use crate::simd::Simd;

/// Rows of numbers of either type.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Of 32 bits.
    Float(&'a [f32]),
    /// Of 16 bits.
    Half(&'a [bf16]),
}

/// Room for rows of numbers of either type.
#[derive(Debug)]
pub enum NumbersMut<'a> {
    /// Of 32 bits.
    Float(&'a mut [f32]),
    /// Of 16 bits.
    Half(&'a mut [bf16]),
}

/// A type of activations, keys and values, and what the loops do with it. Safety is that of [`Simd`]'s methods.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Numbers of a unit.
    const PER_UNIT: usize;

    /// Numbers of this type, if they are.
    fn of(numbers: Numbers<'_>) -> Option<&[Self]>;
    /// To 32 bits.
    fn to_f32(self) -> f32;
    /// A unit of as many numbers; zeros take the place of those that are missing.
    fn unit(numbers: &[Self]) -> u32;
    /// The first number of a unit.
    fn first(unit: u32) -> Self;
    /// `acc` plus one unit of `x` times a unit for each lane.
    unsafe fn dot<S: Simd>(acc: S::Floats, x: u32, w: *const u32) -> S::Floats;
    unsafe fn load<S: Simd>(from: *const Self) -> S::Floats;
    unsafe fn store<S: Simd>(to: *mut Self, x: S::Floats);
}

impl Element for f32 {
    const PER_UNIT: usize = 1;

    fn of(numbers: Numbers<'_>) -> Option<&[Self]> {
        match numbers {
            Numbers::Float(numbers) => Some(numbers),
            Numbers::Half(_) => None,
        }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn unit(numbers: &[Self]) -> u32 {
        numbers[0].to_bits()
    }

    #[inline(always)]
    fn first(unit: u32) -> Self {
        Self::from_bits(unit)
    }

    #[inline(always)]
    unsafe fn dot<S: Simd>(acc: S::Floats, x: u32, w: *const u32) -> S::Floats {
        // SAFETY: the caller's promise.
        unsafe { S::fma(S::splat(Self::from_bits(x)), S::load(w.cast()), acc) }
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::Floats {
        // SAFETY: the caller's promise.
        unsafe { S::load(from) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut Self, x: S::Floats) {
        // SAFETY: the caller's promise.
        unsafe { S::store(to, x) }
    }
}

impl Element for bf16 {
    const PER_UNIT: usize = 2;

    fn of(numbers: Numbers<'_>) -> Option<&[Self]> {
        match numbers {
            Numbers::Half(numbers) => Some(numbers),
            Numbers::Float(_) => None,
        }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn unit(numbers: &[Self]) -> u32 {
        let second = numbers.get(1).map_or(0, |number| number.to_bits());
        u32::from(numbers[0].to_bits()) | u32::from(second) << 16
    }

    #[inline(always)]
    fn first(unit: u32) -> Self {
        Self::from_bits(unit as u16)
    }

    #[inline(always)]
    unsafe fn dot<S: Simd>(acc: S::Floats, x: u32, w: *const u32) -> S::Floats {
        // SAFETY: the caller's promise.
        unsafe { S::dot_half(acc, x, w) }
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::Floats {
        // SAFETY: the caller's promise; the type is sixteen bits.
        unsafe { S::load_half(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(to: *mut Self, x: S::Floats) {
        // SAFETY: the caller's promise; the type is sixteen bits.
        unsafe { S::store_half(to.cast(), x) }
    }
}
