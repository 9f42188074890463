//! What the processor can do. Owns: the levels and the question to the processor; asks once, at start.
#![expect(unsafe_code, reason = "instructions that not every processor has")]

use std::fmt;
use std::str::FromStr;

use crate::simd::Simd;

/// Instruction sets for which there are kernels, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor has.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 numbers at once.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 numbers at once.
    Avx512,
    /// The same with products of pairs of 16-bit floats, and of 16-bit integers (VNNI), which all processors with the
    /// first have.
    Avx512Bf16,
}

impl Level {
    /// All, least first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The best that this processor has.
    pub fn best() -> Self {
        let here = Self::ALL.into_iter().rev().find(|level| level.is_here());
        here.unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = || {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            };
            match self {
                Self::Portable => true,
                Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
                Self::Avx512 => avx512(),
                Self::Avx512Bf16 => {
                    avx512()
                        && is_x86_feature_detected!("avx512bf16")
                        && is_x86_feature_detected!("avx512vnni")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|level| level.name()).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}

/// A level that this processor has: who holds one may run its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available(Level);

/// Work that is written once for all levels.
pub(crate) trait Work {
    /// Does it. Must be `#[inline(always)]`, as all that it calls: only then are the level's instructions used.
    ///
    /// # Safety
    /// The processor has the level of `S`.
    unsafe fn run<S: Simd>(self);
}

impl Available {
    /// The best.
    pub fn best() -> Self {
        Self(Level::best())
    }

    /// A given one.
    ///
    /// # Errors
    /// When this processor has it not.
    pub fn of(level: Level) -> Result<Self, String> {
        if level.is_here() {
            return Ok(Self(level));
        }
        Err(format!(
            "this processor has no {level}; its best is {}",
            Level::best()
        ))
    }

    /// Which one.
    pub fn level(self) -> Level {
        self.0
    }

    /// Runs `work` with the instructions of this level.
    pub(crate) fn run(self, work: impl Work) {
        // SAFETY: there is no `Available` of a level that the processor has not.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => avx2(work),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => avx512(work),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 => avx512_bf16(work),
                _ => work.run::<crate::simd::portable::Portable>(),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(work: impl Work) {
    // SAFETY: what the caller promised.
    unsafe { work.run::<crate::simd::avx2::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512(work: impl Work) {
    // SAFETY: what the caller promised.
    unsafe { work.run::<crate::simd::avx512::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")]
unsafe fn avx512_bf16(work: impl Work) {
    // SAFETY: what the caller promised.
    unsafe { work.run::<crate::simd::avx512::Avx512Bf16>() }
}
