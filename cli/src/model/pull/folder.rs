//! The folder that a pull fills. Owns: that one pull at a time works in it, and the mark of a complete one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lps_operator::validate::repository::is_plain;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::address::{Repo, Revision};

const LOCK: &str = ".pull.lock";
const COMPLETE: &str = ".complete";
/// Longest mark that is read, in bytes.
const MARK_BYTES_MAX: u64 = 1 << 20;

/// What a complete folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The repository.
    pub(super) repo: String,
    /// The revision that was asked for.
    pub(super) revision: String,
    /// The commit that it was.
    pub(super) commit: String,
    /// The files.
    pub(super) files: Vec<MarkedFile>,
}

/// A file of a complete folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MarkedFile {
    pub(super) name: String,
    pub(super) size: u64,
}

impl Mark {
    /// Whether it is the same repository at the same revision, as far as that can be known without asking.
    pub(super) fn is_of(&self, repo: &Repo, revision: &Revision) -> bool {
        let revision = revision.as_str();
        self.repo == repo.as_str() && (self.commit == revision || self.revision == revision)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// A folder that nobody else fills as long as this is held.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder and takes it, or waits until it can be taken. Blocks.
    ///
    /// # Errors
    /// When it cannot be written to, or holds a checkpoint that was not pulled.
    pub(super) fn take(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let lock = path.join(LOCK);
        if path.join("config.json").exists() && !lock.exists() {
            let text = "it holds a checkpoint that was not pulled; choose another folder";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                tracing::info!(folder = %path.display(), "another pull fills it; waiting for its end");
                flock(&lock, FlockOperation::LockExclusive)?;
            }
            other => other?,
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its mark, where every file is there in its length.
    pub(super) fn mark(&self) -> Option<Mark> {
        let path = self.path.join(COMPLETE);
        if fs::metadata(&path).ok()?.len() > MARK_BYTES_MAX {
            return None;
        }
        let mark: Mark = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let is_there = |file: &MarkedFile| {
            is_plain(&file.name)
                && fs::metadata(self.path.join(&file.name))
                    .is_ok_and(|found| found.is_file() && found.len() == file.size)
        };
        mark.files.iter().all(is_there).then_some(mark)
    }

    /// Takes the mark away, before files change.
    pub(super) fn unmark(&self) -> io::Result<()> {
        remove(&self.path.join(COMPLETE))
    }

    /// Marks it as complete; files of an earlier mark that are not of this one go.
    pub(super) fn complete(&self, mark: &Mark, before: Option<&Mark>) -> io::Result<()> {
        let is_kept = |name: &str| mark.files.iter().any(|file| file.name == name);
        let old = before.into_iter().flat_map(|mark| &mark.files);
        for file in old.filter(|file| !is_kept(&file.name)) {
            remove(&self.path.join(&file.name))?;
        }
        let partial = self.path.join(".complete.partial");
        fs::write(&partial, serde_json::to_vec_pretty(mark)?)?;
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, self.path.join(COMPLETE))?;
        File::open(&self.path)?.sync_all()
    }

    /// Bytes that may still be written to it.
    pub(super) fn bytes_free(&self) -> io::Result<u64> {
        let found = statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Bytes that are there of a file, whole or in part.
    pub(super) fn bytes_of(&self, name: &str) -> u64 {
        let length = |path| fs::metadata(path).map_or(0, |found| found.len());
        length(self.path.join(name)).max(length(partial(&self.path, name)))
    }
}

/// Where a file is until it is whole.
pub(super) fn partial(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.partial"))
}

/// Removes a file, where there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
