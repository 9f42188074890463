//! `lps model copy` and `lps model tool`: a checkpoint out of an image that need hold nothing but it. The operator runs
//! both inside pods. Owns: where a checkpoint is looked for, and that a copy has its name only when it is whole.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::pull::listing::is_of_checkpoint;

/// Folders that are looked into in this order, then what is inside of the first two.
const PLACES: [&str; 3] = ["model", "models", ""];

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder has a checkpoint.
    #[error("{}: no config.json in model, models, a folder in one of them, or at the root", .0.display())]
    NoCheckpoint(PathBuf),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

const CONFIG: &str = "config.json";
/// Where a checkpoint that makes vectors says how.
const POOLING: &str = "1_Pooling";

/// What was copied.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is.
    pub folder: PathBuf,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.display(), self.folder.display());
        write!(
            f,
            "{to}: {} files of {from}, {} bytes",
            self.files, self.bytes
        )
    }
}

/// Copies the checkpoint that is found below `root` into a folder.
///
/// # Errors
/// When there is none, or a file cannot be copied.
pub fn copy(root: &Path, to: &Path) -> Result<Summary, Error> {
    let from = find(root).ok_or_else(|| Error::NoCheckpoint(root.to_path_buf()))?;
    fs::create_dir_all(to).map_err(at(to))?;
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(&from).map_err(at(&from))? {
        let entry = entry.map_err(at(&from))?;
        let name = entry.file_name();
        let path = entry.path();
        if !name.to_str().is_some_and(is_of_checkpoint) || !path.is_file() {
            continue;
        }
        bytes += copy_whole(&path, &to.join(name))?;
        files += 1;
    }
    let pooling = from.join(POOLING).join(CONFIG);
    if pooling.is_file() {
        let folder = to.join(POOLING);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        bytes += copy_whole(&pooling, &folder.join(CONFIG))?;
        files += 1;
    }
    Ok(Summary {
        from,
        folder: to.to_path_buf(),
        files,
        bytes,
    })
}

/// Copies this program.
///
/// # Errors
/// When it cannot be read or written.
pub fn tool(to: &Path) -> Result<(), Error> {
    let own = std::env::current_exe().map_err(at(to))?;
    copy_whole(&own, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(at(to))
}

/// The first folder that has a config.json.
fn find(root: &Path) -> Option<PathBuf> {
    let has_config = |folder: &PathBuf| folder.join("config.json").is_file();
    let places = PLACES.map(|place| root.join(place));
    if let Some(folder) = places.iter().find(|folder| has_config(folder)) {
        return Some(folder.clone());
    }
    places[..2].iter().find_map(|place| {
        let inside = fs::read_dir(place).ok()?.flatten();
        let mut inside: Vec<PathBuf> = inside.map(|entry| entry.path()).collect();
        inside.sort();
        inside.into_iter().find(has_config)
    })
}

fn copy_whole(from: &Path, to: &Path) -> Result<u64, Error> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // Not fs::copy: rights of the image's files need not let their owner here write.
    let mut source = File::open(from).map_err(at(from))?;
    let mut target = File::create(&partial).map_err(at(&partial))?;
    let bytes = io::copy(&mut source, &mut target).map_err(at(&partial))?;
    fs::rename(&partial, to).map_err(at(to))?;
    Ok(bytes)
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::File {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_with_a_checkpoint_is_copied() {
        let root = tempfile::tempdir().expect("a folder");
        let to = root.path().join("to");
        let put = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
            fs::write(path, "text").expect("is written");
        };
        put("models/README.md");
        let error = copy(root.path(), &to).expect_err("has none");
        assert!(error.to_string().contains("no config.json"), "{error}");
        for (place, expected) in [
            ("models/b", "models/b"),
            ("models/a", "models/a"),
            ("model/z", "model/z"),
            (".", ""),
            ("models", "models"),
        ] {
            put(&format!("{place}/config.json"));
            let found = find(root.path()).expect("is there");
            assert_eq!(found, root.path().join(expected));
        }
        put("models/model.safetensors");
        put("models/passwd");
        put("models/1_Pooling/config.json");
        put("models/1_Pooling/passwd");
        let summary = copy(root.path(), &to).expect("is copied");
        assert_eq!((summary.files, summary.bytes), (3, 12));
        assert!(to.join("1_Pooling/config.json").exists());
        assert!(to.join("config.json").exists() && !to.join("passwd").exists());
    }

    #[test]
    fn the_tool_is_a_program_that_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("lps");
        tool(&to).expect("is copied");
        let mode = fs::metadata(to).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
