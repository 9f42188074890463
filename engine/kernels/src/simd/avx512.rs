//! x86-64 with AVX-512: sixteen numbers at once, with and without products of pairs.

use std::arch::x86_64::{
    __m256i, __m512, __m512bh, __m512i, _CMP_GE_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
    _mm512_cvtepi8_epi16, _mm512_cvtepi32_epi16, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtneps_pbh, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_dpbf16_ps, _mm512_dpwssds_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_mask_blend_epi32, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_or_si512,
    _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi32,
    _mm512_storeu_ps, _mm512_sub_ps,
};

use crate::simd::Simd;

/// Without products of pairs: 16-bit floats are widened first, and products of integers added after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512;

/// With them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512Bf16;

/// The two differ in three methods; all others are here once.
macro_rules! shared {
    () => {
        type Floats = __m512;
        type Ints = __m512i;
        const LANES: usize = 16;
        const ROWS: usize = 12;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn load_half(from: *const u16) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
            }
        }

        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_div_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_max_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn round(a: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }

        #[inline(always)]
        unsafe fn power_of_two(a: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe {
                let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
            }
        }

        #[inline(always)]
        unsafe fn keep_where_not_less(x: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b), x) }
        }

        #[inline(always)]
        unsafe fn zero_ints() -> __m512i {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn add_ints(a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_add_epi32(a, b) }
        }

        #[inline(always)]
        unsafe fn floats(x: __m512i) -> __m512 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_cvtepi32_ps(x) }
        }

        #[inline(always)]
        unsafe fn sum(x: __m512) -> f32 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_reduce_add_ps(x) }
        }

        #[inline(always)]
        unsafe fn largest(x: __m512) -> f32 {
            // SAFETY: the caller has AVX-512.
            unsafe { _mm512_reduce_max_ps(x) }
        }
    };
}

impl Simd for Avx512 {
    shared!();

    #[inline(always)]
    unsafe fn store_half(to: *mut u16, x: __m512) {
        // SAFETY: the caller's promise.
        unsafe {
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            // What is not a number stays none.
            let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let halves = _mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(none, rounded, quiet));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(halves));
        }
    }

    #[inline(always)]
    unsafe fn dot_half(acc: __m512, x: u32, w: *const u32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let w = _mm512_loadu_si512(w.cast());
            let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
            let low = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(w));
            let high = _mm512_castsi512_ps(_mm512_and_si512(w, upper));
            let acc = _mm512_fmadd_ps(_mm512_set1_ps(f32::from_bits(x << 16)), low, acc);
            _mm512_fmadd_ps(_mm512_set1_ps(f32::from_bits(x & 0xffff_0000)), high, acc)
        }
    }

    #[inline(always)]
    unsafe fn dot_ints(acc: __m512i, x: u32, w: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let w = _mm512_cvtepi8_epi16(_mm256_loadu_si256(w.cast()));
            _mm512_add_epi32(
                acc,
                _mm512_madd_epi16(_mm512_set1_epi32(x.cast_signed()), w),
            )
        }
    }
}

impl Simd for Avx512Bf16 {
    shared!();

    #[inline(always)]
    unsafe fn store_half(to: *mut u16, x: __m512) {
        // SAFETY: the caller's promise; the types are the same 32 bytes.
        unsafe {
            let halves: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(x));
            _mm256_storeu_si256(to.cast(), halves);
        }
    }

    #[inline(always)]
    unsafe fn dot_half(acc: __m512, x: u32, w: *const u32) -> __m512 {
        // SAFETY: the caller's promise; the types are the same 64 bytes.
        unsafe {
            let w: __m512bh = std::mem::transmute(_mm512_loadu_si512(w.cast()));
            let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(x.cast_signed()));
            _mm512_dpbf16_ps(acc, x, w)
        }
    }

    #[inline(always)]
    unsafe fn dot_ints(acc: __m512i, x: u32, w: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let w = _mm512_cvtepi8_epi16(_mm256_loadu_si256(w.cast()));
            // The form that saturates, though no sum comes that far: compilers take the other apart again.
            _mm512_dpwssds_epi32(acc, _mm512_set1_epi32(x.cast_signed()), w)
        }
    }
}
