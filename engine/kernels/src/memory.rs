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
