//! Memory from the system, and back to it. Owns: asking for it, in large pages where that pays; zeros until written.
#![expect(
    unsafe_code,
    reason = "memory as the type that is asked for; a call of the C library"
)]

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

/// Gives back what the heap holds and nobody uses. The C library keeps what is freed in the midst of a thread's heap for
/// that thread: after a start this is what parsing left behind, up to 250 MB.
pub fn give_back_unused() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: takes a number, and may be called by any thread at any time.
        unsafe { malloc_trim(0) };
    }
}

/// Has the heap keep what is freed, up to [`KEPT_BYTES`] for each thread's part of it, instead of giving it back at once.
/// Every operation of a step makes its result anew, and what went back to the system is cleared by it page by page when it
/// is asked for again: that took a fifth to a third of the time of a prompt. Call it before there are other threads.
pub fn keep_freed() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        const TRIM_THRESHOLD: std::ffi::c_int = -1;
        const MMAP_THRESHOLD: std::ffi::c_int = -3;
        // SAFETY: takes numbers; the caller has no other threads.
        unsafe {
            mallopt(MMAP_THRESHOLD, FROM_HEAP_BYTES);
            mallopt(TRIM_THRESHOLD, KEPT_BYTES);
        }
    }
}

/// What is larger has a mapping of its own: the most that the C library allows.
#[cfg(target_env = "gnu")]
const FROM_HEAP_BYTES: std::ffi::c_int = 32 << 20;
/// More than the results of a step of 1,024 tokens that live at once.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: std::ffi::c_int = 128 << 20;

/// What may be made of bytes that are all zero, and of any others.
///
/// # Safety
/// Every pattern of bits is a value, and its alignment is at most that of a page.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for i8 {}

/// A slice of its own mapping.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    map: MmapMut,
    len: usize,
    of: std::marker::PhantomData<T>,
}

impl<T: Plain> Mapped<T> {
    /// So many zeros. The system gives the memory when it is first written.
    pub(crate) fn zeros(len: usize) -> io::Result<Self> {
        let bytes = len.max(1).checked_mul(size_of::<T>());
        let map = MmapMut::map_anon(bytes.ok_or(io::ErrorKind::OutOfMemory)?)?;
        Ok(Self {
            map,
            len,
            of: std::marker::PhantomData,
        })
    }

    /// The same in large pages where the system has them: reading gigabytes in small ones is slower by the misses of the
    /// translation buffer. A large page is cleared in one go when it is first written.
    pub(crate) fn large_zeros(len: usize) -> io::Result<Self> {
        let zeros = Self::zeros(len)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = zeros.map.advise(Advice::HugePage) {
            tracing::debug!(%error, "no large pages");
        }
        Ok(zeros)
    }
}

impl<T: Plain> Deref for Mapped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping is as long, starts at a page, and any bits are a value.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Mapped<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; it is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}
