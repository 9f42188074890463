//! Any processor: arrays of eight, which compilers turn into what vectors there are.

use crate::simd::Simd;

const LANES: usize = 8;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    // Where the processor multiplies and adds in one instruction; elsewhere the one rounding would be a call into libm.
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

#[inline(always)]
fn widen(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

impl Simd for Portable {
    type Floats = [f32; LANES];
    type Ints = [i32; LANES];
    const LANES: usize = LANES;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self::Floats {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::Floats {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Self::Floats>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: Self::Floats) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self::Floats>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self::Floats {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        each(|lane| widen(halves[lane]))
    }

    #[inline(always)]
    unsafe fn store_half(to: *mut u16, x: Self::Floats) {
        let halves: [u16; LANES] =
            std::array::from_fn(|lane| half::bf16::from_f32(x[lane]).to_bits());
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(halves) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|lane| a[lane] / b[lane])
    }

    #[inline(always)]
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        each(|lane| multiply_add(a[lane], b[lane], c[lane]))
    }

    #[inline(always)]
    unsafe fn round(a: Self::Floats) -> Self::Floats {
        // Adding and taking away 1.5 * 2^23 leaves a whole number; faster than a call into libm.
        const WHOLE: f32 = 12_582_912.0;
        each(|lane| (a[lane] + WHOLE) - WHOLE)
    }

    #[inline(always)]
    unsafe fn power_of_two(a: Self::Floats) -> Self::Floats {
        each(|lane| f32::from_bits(((a[lane] as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn keep_where_not_less(
        x: Self::Floats,
        a: Self::Floats,
        b: Self::Floats,
    ) -> Self::Floats {
        each(|lane| if a[lane] >= b[lane] { x[lane] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn dot_half(acc: Self::Floats, x: u32, w: *const u32) -> Self::Floats {
        // SAFETY: the caller's promise.
        let w = unsafe { w.cast::<[u32; LANES]>().read_unaligned() };
        let (low, high) = (f32::from_bits(x << 16), f32::from_bits(x & 0xffff_0000));
        each(|lane| {
            let acc = multiply_add(low, f32::from_bits(w[lane] << 16), acc[lane]);
            multiply_add(high, f32::from_bits(w[lane] & 0xffff_0000), acc)
        })
    }

    #[inline(always)]
    unsafe fn zero_ints() -> Self::Ints {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn dot_ints(acc: Self::Ints, x: u32, w: *const i8) -> Self::Ints {
        // SAFETY: the caller's promise.
        let w = unsafe { w.cast::<[[i8; 2]; LANES]>().read_unaligned() };
        let (low, high) = (
            i32::from(x as u16 as i16),
            i32::from((x >> 16) as u16 as i16),
        );
        std::array::from_fn(|lane| {
            acc[lane] + low * i32::from(w[lane][0]) + high * i32::from(w[lane][1])
        })
    }

    #[inline(always)]
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn floats(x: Self::Ints) -> Self::Floats {
        each(|lane| x[lane] as f32)
    }
}
