//! Vectors of 32-bit floats. Owns: the operations that kernels are made of, on each level. Every method is inlined, so
//! that it becomes the instruction it stands for.
#![expect(unsafe_code, reason = "instructions that not every processor has")]

/// x86-64 with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
/// x86-64 with AVX-512, with and without 16-bit products.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
/// Any processor.
pub(crate) mod portable;

/// Asks for the memory at a place before it is read. The place need not be there.
#[inline(always)]
pub(crate) fn ask_for(place: *const u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this kind has the instruction, and it fails on no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// A level's vectors. The processor must have the level wherever a method is called; pointers must be readable or
/// writable for [`Simd::LANES`] numbers, and need no alignment.
pub(crate) trait Simd: Copy {
    /// Some 32-bit floats.
    type Floats: Copy;
    /// As many 32-bit integers.
    type Ints: Copy;
    /// How many.
    const LANES: usize;
    /// Rows that a tile of two vectors a row can have in registers.
    const ROWS: usize;

    unsafe fn zero() -> Self::Floats;
    unsafe fn splat(x: f32) -> Self::Floats;
    unsafe fn load(from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, x: Self::Floats);
    /// 16-bit floats, widened.
    unsafe fn load_half(from: *const u16) -> Self::Floats;
    /// Rounded to the nearest 16-bit float, to even where there are two; what is nearly zero may become zero.
    unsafe fn store_half(to: *mut u16, x: Self::Floats);
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The larger; of a number and none, `b`.
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`.
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// To the nearest whole number.
    unsafe fn round(a: Self::Floats) -> Self::Floats;
    /// `2^a` of whole numbers from -126 to 127.
    unsafe fn power_of_two(a: Self::Floats) -> Self::Floats;
    /// `x` where `a >= b`, else zero.
    unsafe fn keep_where_not_less(
        x: Self::Floats,
        a: Self::Floats,
        b: Self::Floats,
    ) -> Self::Floats;
    /// `acc` plus, in each lane, the sum of the products of two 16-bit floats: `x` is one pair for all lanes, `w` has one
    /// for each.
    unsafe fn dot_half(acc: Self::Floats, x: u32, w: *const u32) -> Self::Floats;
    unsafe fn zero_ints() -> Self::Ints;
    /// As [`Simd::dot_half`] of 16-bit integers in `x` and 8-bit integers in `w`, two a lane. Sums fit into 32 bits.
    unsafe fn dot_ints(acc: Self::Ints, x: u32, w: *const i8) -> Self::Ints;
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn floats(x: Self::Ints) -> Self::Floats;

    /// The sum of all lanes, in an order that is always the same.
    #[inline(always)]
    unsafe fn sum(x: Self::Floats) -> f32 {
        // SAFETY: the caller's promise; the array has room for all lanes.
        unsafe { lanes::<Self>(x)[..Self::LANES].iter().sum() }
    }

    /// The largest lane.
    #[inline(always)]
    unsafe fn largest(x: Self::Floats) -> f32 {
        // SAFETY: the caller's promise; the array has room for all lanes.
        let lanes = unsafe { lanes::<Self>(x) };
        lanes[..Self::LANES]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Lanes of the widest vectors.
pub(crate) const MOST_LANES: usize = 16;

#[inline(always)]
unsafe fn lanes<S: Simd>(x: S::Floats) -> [f32; MOST_LANES] {
    let mut lanes = [0.0; MOST_LANES];
    // SAFETY: the caller has the level; no level has more lanes.
    unsafe { S::store(lanes.as_mut_ptr(), x) };
    lanes
}

/// `e^x` to within two units in the last place, for `x` up to 88; zero below -87, and for what is not a number.
///
/// # Safety
/// The processor has the level of `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::Floats) -> S::Floats {
    // After Cephes' expf: e^x = 2^n * e^r with |r| <= ln(2) / 2, and a polynomial for e^r.
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_2e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    // SAFETY: what the caller promised.
    unsafe {
        let least = S::splat(-87.0);
        let bounded = S::max(x, least);
        let n = S::round(S::mul(bounded, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_4), bounded);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(POLYNOMIAL[0]);
        for coefficient in &POLYNOMIAL[1..] {
            p = S::fma(p, r, S::splat(*coefficient));
        }
        let one = S::splat(1.0);
        let e = S::add(S::fma(p, S::mul(r, r), r), one);
        S::keep_where_not_less(S::mul(e, S::power_of_two(n)), x, least)
    }
}

/// `1 / (1 + e^-x)`.
///
/// # Safety
/// The processor has the level of `S`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: what the caller promised.
    unsafe {
        let one = S::splat(1.0);
        let bounded = S::max(x, S::splat(-87.0));
        S::div(one, S::add(one, exp::<S>(S::sub(S::zero(), bounded))))
    }
}

/// The hyperbolic tangent.
///
/// # Safety
/// The processor has the level of `S`.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: what the caller promised.
    unsafe {
        let twice = sigmoid::<S>(S::add(x, x));
        let tanh = S::sub(S::add(twice, twice), S::splat(1.0));
        // What is no number stays none: of it and a number the second is taken.
        let bounded = S::max(S::splat(-1.0), x);
        let bounded = S::max(S::splat(-1.0), S::sub(S::zero(), bounded));
        S::add(tanh, S::sub(bounded, bounded))
    }
}
