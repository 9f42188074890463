//! The keys' file as it changes. Owns: when it is read, and that keys stay until better ones are there. Kubernetes changes a
//! mounted Secret by pointing a link at another folder, so the file is read again and compared rather than watched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lps_runtime::task;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use super::Keys;
use super::file::parse;
use crate::metrics::Metrics;

/// Largest file; a Secret has room for as much.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Time between two looks at the file.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// There are no keys to begin with.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {says}")]
pub struct Error {
    path: String,
    says: String,
}

/// Reads a file of keys, and again whenever it changes, for as long as somebody holds what is given back. A change that
/// makes no sense changes nothing, and is told in the log and by a metric.
///
/// # Errors
/// When it cannot be read now, or makes no sense.
pub async fn open(path: PathBuf, metrics: Metrics) -> Result<watch::Receiver<Arc<Keys>>, Error> {
    let wrong = |says: String| Error {
        path: path.display().to_string(),
        says,
    };
    let text = read(&path).await.map_err(wrong)?;
    let keys = parse(&text).map_err(|problem| wrong(problem.to_string()))?;
    metrics.keys_file_is_valid(true);
    let (tell, keys) = watch::channel(Arc::new(keys));
    let follower = Follower {
        path,
        last: Ok(text),
        tell,
        metrics,
    };
    task::spawn("keys", follower.run());
    Ok(keys)
}

struct Follower {
    path: PathBuf,
    /// What stood there at the last look, or why nothing could be read.
    last: Result<String, String>,
    tell: watch::Sender<Arc<Keys>>,
    metrics: Metrics,
}

impl Follower {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.tell.closed() => return,
                () = tokio::time::sleep(LOOK_PERIOD) => {}
            }
            let found = read(&self.path).await;
            if found != self.last {
                self.last = found;
                self.take();
            }
        }
    }

    fn take(&self) {
        let keys = self.last.as_deref().map_err(String::clone);
        let keys = keys.and_then(|text| parse(text).map_err(|problem| problem.to_string()));
        let path = self.path.display();
        self.metrics.keys_file_is_valid(keys.is_ok());
        match keys {
            Ok(keys) => {
                self.tell.send_replace(Arc::new(keys));
                tracing::info!("{path} has changed; its keys are in use");
            }
            Err(says) => tracing::warn!("{path}: {says}; the keys of before stay in use"),
        }
    }
}

async fn read(path: &Path) -> Result<String, String> {
    let whole = async {
        let mut text = String::new();
        let mut file = File::open(path).await?.take(FILE_BYTES_MAX + 1);
        file.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    match whole.await {
        Ok(text) if text.len() as u64 > FILE_BYTES_MAX => {
            Err(format!("it is larger than {FILE_BYTES_MAX} bytes"))
        }
        Ok(text) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}
