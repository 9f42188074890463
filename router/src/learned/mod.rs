//! What was learned, kept over restarts. Owns: when the file is read and written, and what is said when it cannot be. It
//! must not know what the figures mean, and never holds up those who decide.

/// The file itself.
mod file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lps_api::ids::ModelName;
use lps_runtime::task;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::dispatcher::Handle;
use crate::scheduler::Classes;

/// The file's name.
const FILE: &str = "learned.json";
/// How long the last write may take: a volume that hangs keeps no process from ending.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(10);
/// It is not looked more often than this whether there is something new.
const PERIOD_LEAST: Duration = Duration::from_millis(100);

/// What was learned of each model.
pub(crate) type Models = Vec<(ModelName, Classes)>;

/// What an earlier router left, and where this one may leave what it learns.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// What it left.
    pub(crate) models: Models,
    /// `None` where nothing is to be written.
    pub(crate) place: Option<Place>,
}

/// Where what is learned may be left.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// How much stands there.
    written: u64,
}

/// Leaves there what is learned, where there is such a place.
pub(crate) fn keep(place: Option<Place>, dispatcher: &Handle, period: Duration) -> Option<Keeping> {
    place.map(|place| place.keep(dispatcher.clone(), period))
}

impl Place {
    /// Writes there what is new, once in a while.
    fn keep(self, dispatcher: Handle, period: Duration) -> Keeping {
        let keeper = Keeper {
            place: self,
            dispatcher,
            is_failing: false,
        };
        let (end, ended) = oneshot::channel();
        let run = keeper.run(period.max(PERIOD_LEAST), ended);
        let task = task::spawn("keep what is learned", run);
        Keeping { task, end }
    }
}

impl Recalled {
    /// Reads what is in a folder; without one nothing is kept. A file that makes no sense is set aside.
    pub(crate) async fn from(folder: Option<PathBuf>) -> Self {
        let Some(folder) = folder else {
            return Self::default();
        };
        let read = tokio::task::spawn_blocking(move || Self::read(folder.join(FILE)));
        // It fails only where the process ends.
        read.await.unwrap_or_default()
    }

    fn read(path: PathBuf) -> Self {
        let models = match file::read(&path) {
            Ok(models) => models,
            Err(error @ file::Error::Read(_)) => {
                tracing::warn!(
                    "{}: {error}; scheduling learns anew, and the file is left as it is, so that nothing that is learned \
                     will be kept: mend it and start again",
                    path.display()
                );
                return Self::default();
            }
            Err(error) => {
                let is_usable = set_aside(&path, &error);
                return Self {
                    models: Models::new(),
                    place: is_usable.then_some(Place { path, written: 0 }),
                };
            }
        };
        let written = seen(&models);
        if !models.is_empty() {
            let programs: usize = models.iter().map(|(_, it)| it.remembered()).sum();
            tracing::info!(
                path = %path.display(), models = models.len(), programs,
                "what finished programs taught is known from before"
            );
        }
        Self {
            models,
            place: Some(Place { path, written }),
        }
    }
}

/// Moves a file out of the way that makes no sense here; whether another may be written in its place.
fn set_aside(path: &Path, error: &file::Error) -> bool {
    let path_shown = path.display();
    match file::set_aside(path) {
        Ok(aside) => {
            tracing::warn!(
                "{path_shown}: {error}; scheduling learns anew, and the file is kept as {}: move it back for a router \
                 that can read it, or delete it",
                aside.display()
            );
            true
        }
        Err(cause) => {
            tracing::warn!(
                "{path_shown}: {error}; it cannot be set aside ({cause}), so that nothing that is learned will be kept: \
                 move it away, with others like it, and start again"
            );
            false
        }
    }
}

/// Writes what is new.
#[derive(Debug)]
struct Keeper {
    place: Place,
    /// Who knows.
    dispatcher: Handle,
    /// The last try failed, and that was said.
    is_failing: bool,
}

/// A keeper at work.
#[derive(Debug)]
pub(crate) struct Keeping {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Keeping {
    /// Waits until the last that was learned is written.
    pub(crate) async fn end(self) {
        drop(self.end);
        // The task logs its own panic.
        if tokio::time::timeout(LAST_WRITE_LIMIT, self.task)
            .await
            .is_err()
        {
            tracing::warn!(
                "the last that was learned is not written: its folder has not answered for {} s",
                LAST_WRITE_LIMIT.as_secs()
            );
        }
    }
}

/// How much was learned in all; another number later means that there is something new.
fn seen(models: &Models) -> u64 {
    let seen = models.iter().map(|(_, classes)| classes.seen());
    seen.fold(0, u64::wrapping_add)
}

impl Keeper {
    /// Keeps until it is told to end, or whoever holds it is gone; then writes a last time.
    async fn run(mut self, period: Duration, mut ended: oneshot::Receiver<()>) {
        loop {
            let is_over = tokio::time::timeout(period, &mut ended).await.is_ok();
            self.look().await;
            if is_over {
                return;
            }
        }
    }

    async fn look(&mut self) {
        let written = self.place.written;
        let news = self.dispatcher.read(move |view| {
            let lessons = view.state.lessons();
            (lessons != written).then(|| (lessons, view.state.learned()))
        });
        let Ok(Some((seen, models))) = news.await else {
            return;
        };
        let path = self.place.path.clone();
        let written = tokio::task::spawn_blocking(move || file::write(&path, &models)).await;
        match written {
            Ok(Ok(())) => {
                self.place.written = seen;
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("{}: written again", self.place.path.display());
                }
            }
            Ok(Err(error)) => self.fail(&error),
            Err(error) => self.fail(&error),
        }
    }

    /// A disk that is full stays so for a while: it is said once.
    fn fail(&mut self, error: &(dyn std::error::Error + Send + Sync)) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                "{}: {error}; what is learned would be lost with a restart: make room or mend the folder, it is tried \
                 again",
                self.place.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_neither_moved_nor_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        // A folder in the file's place stands for a disk that does not give it.
        let path = folder.path().join(FILE);
        std::fs::create_dir(&path).expect("made");
        let recalled = Recalled::read(path.clone());
        assert!(recalled.models.is_empty() && recalled.place.is_none());
        assert!(path.is_dir());
        std::fs::remove_dir(&path).expect("empty");
        std::fs::write(&path, "{").expect("written");
        assert!(Recalled::read(path.clone()).place.is_some());
        assert!(!path.exists(), "what makes no sense is set aside");
    }
}
