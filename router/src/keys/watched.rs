//! The keys' file as it changes. Owns: that the keys in use are those of the file, and what is told of it.

use std::path::PathBuf;
use std::sync::Arc;

use lps_runtime::watched::{Files, Problem};
use tokio::sync::watch;

use super::Keys;
use super::file::parse;
use crate::metrics::Metrics;

/// Reads a file of keys, and again whenever it changes, for as long as somebody holds what is given back. A change that
/// makes no sense changes nothing, and is told in the log and by a metric.
///
/// # Errors
/// When it cannot be read now, or makes no sense.
pub async fn open(path: PathBuf, metrics: Metrics) -> Result<watch::Receiver<Arc<Keys>>, Problem> {
    let named = path.clone();
    let keys = Files {
        what: "keys",
        paths: vec![path],
        make: Box::new(move |contents| {
            let text =
                str::from_utf8(&contents[0]).map_err(|error| Problem::with(&named, error))?;
            parse(text).map_err(|problem| Problem::with(&named, problem))
        }),
        told: Box::new(move |keys| metrics.keys_file_is_valid(keys.is_some())),
    };
    keys.open().await
}
