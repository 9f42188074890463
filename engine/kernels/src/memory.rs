//! Memory in large pages. Owns: asking the system for it; zeros until written.
#![expect(unsafe_code, reason = "memory as the type that is asked for")]

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

/// What may be made of bytes that are all zero, and of any others.
///
/// # Safety
/// Every pattern of bits is a value, and its alignment is at most that of a page.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl Plain for i8 {}

/// A slice of its own pages, which the system may join to large ones: reading gigabytes in small ones is slower by the
/// misses of the translation buffer.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    map: MmapMut,
    len: usize,
    of: std::marker::PhantomData<T>,
}

impl<T: Plain> Pages<T> {
    /// So many zeros. The system gives the memory when it is first written.
    pub(crate) fn zeros(len: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(len.max(1) * size_of::<T>())?;
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(Advice::HugePage) {
            tracing::debug!(%error, "no large pages");
        }
        Ok(Self {
            map,
            len,
            of: std::marker::PhantomData,
        })
    }
}

impl<T: Plain> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping is as long, starts at a page, and any bits are a value.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; it is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}
