//! x86-64 with AVX2 and FMA: eight numbers at once.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GE_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _mm_loadu_si128, _mm_packus_epi32, _mm_storeu_si128, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_ps, _mm256_and_si256, _mm256_blendv_epi8, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_ps,
    _mm256_mul_ps, _mm256_or_si256, _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_ps, _mm256_sub_ps,
};

use crate::simd::Simd;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2;

/// Rounds to 16 bits as `half` does; the results stand in the lower halves of the lanes.
#[inline(always)]
unsafe fn narrow(x: __m256) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        // What is not a number stays none.
        let none = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, none))
    }
}

impl Simd for Avx2 {
    type Floats = __m256;
    type Ints = __m256i;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn store_half(to: *mut u16, x: __m256) {
        // SAFETY: the caller's promise.
        unsafe {
            let halves = narrow(x);
            let packed = _mm_packus_epi32(
                _mm256_castsi256_si128(halves),
                _mm256_extracti128_si256::<1>(halves),
            );
            _mm_storeu_si128(to.cast(), packed);
        }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the caller has FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    unsafe fn power_of_two(a: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    unsafe fn keep_where_not_less(x: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_GE_OQ>(a, b)) }
    }

    #[inline(always)]
    unsafe fn dot_half(acc: __m256, x: u32, w: *const u32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let w = _mm256_loadu_si256(w.cast());
            let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
            let low = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(w));
            let high = _mm256_castsi256_ps(_mm256_and_si256(w, upper));
            let acc = _mm256_fmadd_ps(_mm256_set1_ps(f32::from_bits(x << 16)), low, acc);
            _mm256_fmadd_ps(_mm256_set1_ps(f32::from_bits(x & 0xffff_0000)), high, acc)
        }
    }

    #[inline(always)]
    unsafe fn zero_ints() -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn dot_ints(acc: __m256i, x: u32, w: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let w = _mm256_cvtepi8_epi16(_mm_loadu_si128(w.cast()));
            _mm256_add_epi32(
                acc,
                _mm256_madd_epi16(_mm256_set1_epi32(x.cast_signed()), w),
            )
        }
    }

    #[inline(always)]
    unsafe fn add_ints(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn floats(x: __m256i) -> __m256 {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_cvtepi32_ps(x) }
    }
}
