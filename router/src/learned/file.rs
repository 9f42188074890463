//! The file of what was learned. Owns: its form and version, which of it can be read, and that it is replaced as a whole
//! or not at all. Blocks: it is called from a thread that may.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use lps_api::ids::ModelName;
use serde::{Deserialize, Serialize};

use super::Models;
use crate::scheduler::{Classes, Learned, LearnedError};

/// The form that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Longest file that is written or read, in bytes: some fifty models with all classes that a pool keeps.
const BYTES_MAX: u64 = 256 << 20;
/// Files that are set aside, at most.
const ASIDE_MAX: u32 = 9;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    models: Vec<OfModel>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfModel {
    model: ModelName,
    learned: Learned,
}

/// What all versions have.
#[derive(Deserialize)]
struct Any {
    version: u32,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Nobody wrote this.
    #[error("is larger than {BYTES_MAX} bytes, the most that a router writes")]
    Size,
    /// It was cut off or changed.
    #[error("is damaged: {0}")]
    Form(#[from] serde_json::Error),
    /// Another release wrote it.
    #[error("has version {0}, and this router reads version {VERSION}")]
    Version(u32),
    /// It was changed.
    #[error("is damaged: model {0}: {1}")]
    Value(ModelName, LearnedError),
}

/// Why it is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The system does not take it.
    #[error("cannot be written: {0}")]
    Write(#[from] io::Error),
    /// It would not be read again.
    #[error("would be longer than {BYTES_MAX} bytes: fewer models would fit")]
    Size,
}

/// What was learned; nothing where there is no file yet.
pub(super) fn read(path: &Path) -> Result<Models, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            // Where the folder cannot be, writing will say so.
            let is_none = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            let is_none = is_none.contains(&error.kind());
            return if is_none {
                Ok(Models::new())
            } else {
                Err(error.into())
            };
        }
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Error::Size);
    }
    let Any { version } = serde_json::from_slice(&bytes)?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let content: Content = serde_json::from_slice(&bytes)?;
    let classes = |of: OfModel| match Classes::try_from(of.learned) {
        Ok(classes) => Ok((of.model, classes)),
        Err(error) => Err(Error::Value(of.model, error)),
    };
    content.models.into_iter().map(classes).collect()
}

/// Replaces the file: whoever reads it, after whatever happened, finds the old one or the new one.
pub(super) fn write(path: &Path, models: &Models) -> Result<(), WriteError> {
    let models = models.iter().map(|(model, classes)| OfModel {
        model: model.clone(),
        learned: classes.plain(),
    });
    let content = Content {
        version: VERSION,
        models: models.collect(),
    };
    let bytes = serde_json::to_vec(&content).map_err(io::Error::from)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(WriteError::Size);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let written = write_through(&new, &bytes).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // What is left of it takes room that may be missing; it may not be there either.
        let _ = fs::remove_file(&new);
        return Err(error.into());
    }
    // So that the name outlives a power failure too.
    Ok(File::open(folder)?.sync_all()?)
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Names of tenants stand in it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a file another name, and says which. Nothing is overwritten.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |n: u32| path.with_extension(format!("aside-{n}.json"));
    let free = (1..=ASIDE_MAX).map(named).find(|aside| {
        // A link that leads nowhere is a name that is taken, too.
        aside.symlink_metadata().is_err()
    });
    let Some(aside) = free else {
        let text = format!("{ASIDE_MAX} files are set aside there already");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    };
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> Models {
        let plain = serde_json::json!({
            "seen": 9, "finished": 3, "unit": "time", "sizes_us": [5, 6, 7],
            "classes": [{
                "tenant": "t", "class": "c", "sizes_us": [5], "gaps": [[3, 4]], "lease_us": null, "firsts": [1],
            }],
        });
        let plain: Learned = serde_json::from_value(plain).expect("plain values");
        let classes = Classes::try_from(plain).expect("they make sense");
        vec![(ModelName::parse("m").expect("a name"), classes)]
    }

    fn plain(models: &Models) -> Vec<(String, Learned)> {
        let plain = models
            .iter()
            .map(|(model, classes)| (model.to_string(), classes.plain()));
        plain.collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("made/when/needed");
        let path = folder.join("learned.json");
        assert!(read(&path).expect("none yet").is_empty());
        for _ in 0..2 {
            write(&path, &models()).expect("written");
            assert_eq!(plain(&read(&path).expect("read")), plain(&models()));
            assert_eq!(names(&folder), ["learned.json"]);
        }
    }

    #[test]
    fn a_half_written_file_is_no_harm() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("learned.json");
        write(&path, &models()).expect("written");
        fs::write(path.with_extension("new"), b"{\"version\": 1, \"mod").expect("left behind");
        assert_eq!(plain(&read(&path).expect("the old one")), plain(&models()));
        write(&path, &models()).expect("written over it");
        assert_eq!(names(folder.path()), ["learned.json"]);
    }

    #[test]
    fn what_makes_no_sense_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("learned.json");
        write(&path, &models()).expect("written");
        let good = fs::read_to_string(&path).expect("text");
        let cut = &good[..good.len() / 2];
        for (text, problem) in [
            (cut, "is damaged: EOF"),
            ("", "is damaged: EOF"),
            ("{}", "is damaged: missing field `version`"),
            (
                "{\"version\": 7, \"what\": []}",
                "has version 7, and this router reads version 1",
            ),
            (
                "{\"version\": 1, \"models\": [], \"x\": 1}",
                "is damaged: unknown field `x`",
            ),
            (
                &good.replace("[3,4]", "[3,4000000000]"),
                "is damaged: model m: class c of tenant t: gaps",
            ),
            (&good.replace("\"t\"", "\"a b\""), "is damaged: "),
        ] {
            fs::write(&path, text).expect("written");
            let error = read(&path).expect_err(problem).to_string();
            assert!(error.starts_with(problem), "{error}");
        }
    }

    #[test]
    fn files_are_set_aside_until_there_are_too_many() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("learned.json");
        for n in 1..=ASIDE_MAX {
            fs::write(&path, n.to_string()).expect("written");
            let aside = set_aside(&path).expect("a free name");
            assert_eq!(fs::read_to_string(&aside).expect("there"), n.to_string());
        }
        fs::write(&path, "one more").expect("written");
        let error = set_aside(&path).expect_err("no free name").to_string();
        assert!(error.contains("9 files"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("untouched"), "one more");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("learned.json");
        write(&path, &models()).expect("written");
        // A folder in the way of the new file stands for a disk that takes nothing.
        fs::create_dir(path.with_extension("new")).expect("made");
        let error = write(&path, &Models::new()).expect_err("in the way");
        assert!(
            error.to_string().starts_with("cannot be written: "),
            "{error}"
        );
        assert_eq!(plain(&read(&path).expect("the old one")), plain(&models()));
    }
}
