//! Bytes of files as tensors. Owns: mapping a file, and views of what never goes away. Knows no format.
#![expect(unsafe_code, reason = "memory that is not Rust's")]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Mmap, UncheckedAdvice};
use tch::{Device, Kind, TchError, Tensor};

/// Bytes that live as long as the process.
#[derive(Debug, Clone, Copy)]
pub enum Blob {
    /// Of a file that is mapped and never unmapped: one process serves one model for its whole life, so its weights may
    /// point into the file.
    Mapped(&'static Mmap),
    /// Of the program.
    Builtin(&'static [u8]),
}

impl Blob {
    /// Maps a whole file for good.
    ///
    /// # Errors
    /// What the system says.
    pub fn map(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: a mapped file must not be cut short while it is in use. Checkpoints are replaced, not rewritten in
        // place; who does so all the same gets a SIGBUS, which ends this process and no other.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self::Mapped(Box::leak(Box::new(map))))
    }

    /// All bytes.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Builtin(bytes) => bytes,
        }
    }

    /// Gives back the memory of what was read so far. What is still used is read again from the file.
    pub fn release(self) {
        if let Self::Mapped(map) = self {
            // SAFETY: the mapping is read-only and backed by the file, so dropped pages come back with equal content.
            let advised = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            if let Err(error) = advised {
                tracing::debug!(%error, "mapped weights stay in memory");
            }
        }
    }
}

/// A tensor of the given bytes on the processor: a view where they are aligned for their type, else a copy.
///
/// # Errors
/// When there are fewer bytes than the shape has.
pub fn tensor(bytes: &'static [u8], shape: &[i64], kind: Kind) -> Result<Tensor, TchError> {
    let size = kind.elt_size_in_bytes();
    let elements: i64 = shape.iter().product();
    if usize::try_from(elements)
        .ok()
        .and_then(|n| n.checked_mul(size))
        != Some(bytes.len())
    {
        return Err(TchError::Shape(format!(
            "{} bytes for a tensor of shape {shape:?}",
            bytes.len()
        )));
    }
    if !bytes.as_ptr().addr().is_multiple_of(size) {
        return Tensor::f_from_data_size(bytes, shape, kind);
    }
    // SAFETY: the bytes live as long as the process, are as many as the shape asks for (checked above), and aligned.
    // They are read-only memory: nobody writes to a weight in place.
    unsafe { Tensor::f_from_blob(bytes.as_ptr(), shape, &[], kind, Device::Cpu) }
}
