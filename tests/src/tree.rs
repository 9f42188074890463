//! The tree as text. Owns: which files of the repository are ours to check; knows nothing of what is checked.

use std::path::{Path, PathBuf};

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Whole text.
    pub text: String,
}

impl Source {
    /// The text without its `#[cfg(test)]` module, which by custom stands last.
    pub fn production(&self) -> &str {
        self.text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default()
    }

    /// Production lines that are not comments, with their numbers from 1.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.production()
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The crates of the workspace, by folder.
pub const CRATES: [&str; 10] = [
    "api",
    "runtime",
    "operator",
    "router",
    "engine",
    "engine/core",
    "engine/kernels",
    "cli",
    "clients/rust",
    "tests",
];

/// All Rust files of the workspace, sorted by path.
///
/// # Panics
/// When the tree cannot be read.
pub fn rust_sources() -> Vec<Source> {
    let root = root();
    let mut sources = Vec::new();
    for folder in CRATES {
        for part in ["src", "tests", "benches", "examples", "build.rs"] {
            collect(&root, &root.join(folder).join(part), &mut sources);
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        sources.len() > CRATES.len(),
        "the tree has more files than crates"
    );
    sources
}

fn collect(root: &Path, path: &Path, sources: &mut Vec<Source>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for entry in entries {
            collect(
                root,
                &entry
                    .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
                    .path(),
                sources,
            );
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let relative = path.strip_prefix(root).unwrap_or(path);
        sources.push(Source {
            path: relative.to_string_lossy().replace('\\', "/"),
            text,
        });
    }
}
