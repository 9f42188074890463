//! Which files of a repository an engine needs. Owns: the choice among those at its root. Pure.

use lps_operator::validate::repository::is_plain;
use serde::Deserialize;

use super::checksum::Checksum;

/// One line of the hub's listing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: String,
    lfs: Option<Lfs>,
}

/// Where a large file has its content.
#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// A file to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its name: no folder, nothing that leads elsewhere.
    pub(super) name: String,
    /// Its bytes.
    pub(super) size: u64,
    /// What they hash to.
    pub(super) checksum: Checksum,
}

/// Why no engine can serve the repository.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// No configuration.
    #[error("it has no config.json at its root: it is no checkpoint of transformers")]
    Config,
    /// No weights in this format.
    #[error("it has no *.safetensors at its root: weights of other formats are not read")]
    Weights,
    /// A name that is no file's here.
    #[error("its file {0:?} has a name that is not taken: letters, digits, - _ and . are")]
    Name(String),
}

/// Whether an engine needs a file of this name.
pub(in crate::model) fn is_of_checkpoint(name: &str) -> bool {
    let whole = [
        "config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "model.safetensors.index.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ];
    whole.contains(&name)
        || name.starts_with("tokenizer")
        || name.starts_with("chat_template")
        || is_weights(name)
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors")
}

/// The files to have. Weights that some repositories hold a second time, under other names than transformers', are left.
///
/// # Errors
/// When what an engine needs is not there.
pub(super) fn choose(entries: &[Entry]) -> Result<Vec<Wanted>, Lacking> {
    let files = entries.iter().filter(|entry| {
        entry.kind == "file" && !entry.path.contains('/') && is_of_checkpoint(&entry.path)
    });
    let mut files: Vec<&Entry> = files.collect();
    let is_model = |name: &str| is_weights(name) && name.starts_with("model");
    if files.iter().any(|file| is_model(&file.path)) {
        files.retain(|file| !is_weights(&file.path) || is_model(&file.path));
    }
    if !files.iter().any(|file| file.path == "config.json") {
        return Err(Lacking::Config);
    }
    if !files.iter().any(|file| is_weights(&file.path)) {
        return Err(Lacking::Weights);
    }
    files.into_iter().map(wanted).collect()
}

fn wanted(entry: &Entry) -> Result<Wanted, Lacking> {
    if !is_plain(&entry.path) {
        return Err(Lacking::Name(entry.path.chars().take(64).collect()));
    }
    let (size, checksum) = match &entry.lfs {
        Some(lfs) => (lfs.size, Checksum::Sha256(lfs.oid.clone())),
        None => (entry.size, Checksum::GitBlob(entry.oid.clone())),
    };
    Ok(Wanted {
        name: entry.path.clone(),
        size,
        checksum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Result<Vec<String>, Lacking> {
        let entries: Vec<Entry> = paths
            .iter()
            .map(|path| Entry {
                kind: "file".to_owned(),
                path: (*path).to_owned(),
                size: 1,
                oid: "0".to_owned(),
                lfs: None,
            })
            .collect();
        Ok(choose(&entries)?.into_iter().map(|it| it.name).collect())
    }

    #[test]
    fn what_an_engine_reads_is_taken_once() {
        let taken = names(&[
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "original/config.json",
            "original/x.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ]);
        let expected = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ];
        assert_eq!(taken.expect("a checkpoint"), expected);
        let others = names(&["config.json", "other.safetensors"]).expect("a checkpoint");
        assert_eq!(others, ["config.json", "other.safetensors"]);
    }

    #[test]
    fn what_is_no_checkpoint_is_told() {
        assert_eq!(names(&["a.safetensors"]), Err(Lacking::Config));
        let bin = names(&["config.json", "pytorch_model.bin"]);
        assert_eq!(bin, Err(Lacking::Weights));
        let odd = names(&["config.json", "a b.safetensors"]);
        assert_eq!(odd, Err(Lacking::Name("a b.safetensors".to_owned())));
    }
}
