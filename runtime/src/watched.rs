//! Files that are read again when they change. Owns: when they are looked at, and that what was made of them stays until
//! something better is there. Kubernetes changes a mounted Secret by pointing a link at another folder, so files are read
//! again and compared rather than watched.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use crate::task;

/// Largest file; a Secret has room for as much.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Time between two looks.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// What is wrong with the files, the one that it is about named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    /// What is wrong with one file.
    pub fn with(path: &Path, says: impl fmt::Display) -> Self {
        Self(format!("{}: {says}", path.display()))
    }
}

/// Makes something of what the files hold, in their order.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, Problem> + Send>;
/// Hears of each change: what is in use from now on; or nothing, where that of before stays.
type Told<T> = Box<dyn Fn(Option<&T>) + Send>;

/// Files that make sense together.
pub struct Files<T> {
    /// What is made of them, for logs: `keys`.
    pub what: &'static str,
    /// Where they are.
    pub paths: Vec<PathBuf>,
    /// Makes it.
    pub make: Make<T>,
    /// Hears of each change, and of the beginning.
    pub told: Told<T>,
}

impl<T: fmt::Debug + Send + Sync + 'static> Files<T> {
    /// Reads the files, and again whenever they change, for as long as somebody holds what is given back. A change that
    /// makes no sense changes nothing, and is told in the log.
    ///
    /// # Errors
    /// When they cannot be read now, or make no sense.
    pub async fn open(self) -> Result<watch::Receiver<Arc<T>>, Problem> {
        let contents = read_all(&self.paths).await?;
        let made = (self.make)(&contents)?;
        (self.told)(Some(&made));
        let (tell, current) = watch::channel(Arc::new(made));
        let follower = Follower {
            files: self,
            last: Ok(contents),
            tell,
        };
        task::spawn("watched files", follower.run());
        Ok(current)
    }
}

struct Follower<T> {
    files: Files<T>,
    /// What stood there at the last look, or why nothing could be read.
    last: Result<Vec<Vec<u8>>, Problem>,
    tell: watch::Sender<Arc<T>>,
}

impl<T: fmt::Debug> Follower<T> {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.tell.closed() => return,
                () = tokio::time::sleep(LOOK_PERIOD) => {}
            }
            let found = read_all(&self.files.paths).await;
            if found != self.last {
                self.last = found;
                self.take();
            }
        }
    }

    fn take(&self) {
        let contents = self.last.as_ref().map_err(Problem::clone);
        let what = self.files.what;
        match contents.and_then(|contents| (self.files.make)(contents)) {
            Ok(made) => {
                (self.files.told)(Some(&made));
                self.tell.send_replace(Arc::new(made));
                let path = self.files.paths[0].display();
                tracing::info!("{path} has changed; its {what} are in use");
            }
            Err(problem) => {
                (self.files.told)(None);
                tracing::warn!("{problem}; the {what} of before stay in use");
            }
        }
    }
}

async fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Problem> {
    let mut contents = Vec::with_capacity(paths.len());
    for path in paths {
        let read = read(path).await;
        contents.push(read.map_err(|error| Problem::with(path, error))?);
    }
    Ok(contents)
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).await?.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let says = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::other(says));
    }
    Ok(bytes)
}
