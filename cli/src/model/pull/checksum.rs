//! Checksums as the hub tells them. Owns: computing one piece by piece, and comparing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Bytes of a file that are read at once.
const READ_BYTES: usize = 1 << 20;

/// What a file's content must hash to, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Of a large file: SHA-256 of its content.
    Sha256(String),
    /// Of a small file: the name of its git blob, the SHA-1 of a header and its content.
    GitBlob(String),
}

/// A checksum that is not finished.
#[derive(Clone)]
pub(super) struct Running(Context);

impl Checksum {
    /// Begins one for a file of `size` bytes.
    pub(super) fn begin(&self, size: u64) -> Running {
        match self {
            Self::Sha256(_) => Running(Context::new(&SHA256)),
            Self::GitBlob(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Running(context)
            }
        }
    }

    /// Whether the content is right.
    pub(super) fn matches(&self, running: Running) -> bool {
        let (Self::Sha256(expected) | Self::GitBlob(expected)) = self;
        let digest = running.0.finish();
        let digits: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        digits.eq_ignore_ascii_case(expected)
    }
}

impl Running {
    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Takes a whole file; gives its length.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn take_file(&mut self, path: &Path) -> io::Result<u64> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut length = 0;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(length);
            }
            self.take(&buffer[..count]);
            length += count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_has_gits_name_and_a_large_one_its_own() {
        // `printf hello | git hash-object --stdin`, and `sha256sum`.
        let git = Checksum::GitBlob("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0".to_owned());
        let sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for checksum in [git, Checksum::Sha256(sha.to_owned())] {
            let mut running = checksum.begin(5);
            running.take(b"he");
            running.take(b"llo");
            assert!(checksum.matches(running.clone()));
            running.take(b"!");
            assert!(!checksum.matches(running));
        }
    }
}
