//! Programs that ended, as lines of JSON in a file. Owns: the lines, and that a file that cannot be written costs lines,
//! never calls. Others may move the file away at any time: each batch opens it anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lps_runtime::clock::Clock;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::batches::{self, Batches, Taking};
use crate::metrics::Metrics;
use crate::state::view::ProgramView;

/// Why no line can be written.
#[derive(Debug, thiserror::Error)]
#[error("--programs-log {path}: {source}; name a file in a folder that this process may write")]
pub struct Error {
    path: String,
    source: io::Error,
}

/// Calls of programs that may wait to be written.
const WAITING_CALLS_MAX: usize = 32_768;

/// Where programs go when they have ended.
#[derive(Debug, Clone)]
pub struct ProgramsLog {
    programs: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    metrics: Metrics,
}

/// A program that waits to be written, and the room that it takes.
#[derive(Debug)]
struct Waiting {
    program: ProgramView,
    _room: OwnedSemaphorePermit,
}

/// A program as a line: as `GET /v1/programs/{id}` shows it, and when that was.
#[derive(Serialize)]
struct Line<'a> {
    /// When the clock that all times of the program count from was zero, in microseconds of Unix time.
    zero_unix_us: u64,
    #[serde(flatten)]
    program: &'a ProgramView,
}

/// Starts writing.
///
/// # Errors
/// When the file can neither be opened nor made.
pub(crate) fn start(
    path: PathBuf,
    clock: Clock,
    metrics: Metrics,
) -> Result<(ProgramsLog, Taking), Error> {
    open(&path).map_err(|source| Error {
        path: path.display().to_string(),
        source,
    })?;
    let writer = Writer {
        path,
        clock,
        metrics: metrics.clone(),
    };
    let (programs, taking) = batches::start("programs log", |batches| writer.run(batches));
    let log = ProgramsLog {
        programs,
        room: Arc::new(Semaphore::new(WAITING_CALLS_MAX)),
        metrics,
    };
    Ok((log, taking))
}

impl ProgramsLog {
    /// Never waits: what there is no room for is counted, and gone.
    pub(crate) fn ended(&self, program: ProgramView) {
        let calls = u32::try_from(program.calls.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(calls.saturating_add(1));
        let waiting = room.map(|room| Waiting {
            program,
            _room: room,
        });
        let sent = waiting.is_ok_and(|waiting| self.programs.try_send(waiting).is_ok());
        if !sent {
            self.metrics.logged_programs("dropped", 1);
        }
    }
}

/// Writes lines.
struct Writer {
    path: PathBuf,
    clock: Clock,
    metrics: Metrics,
}

impl Writer {
    async fn run(self, mut batches: Batches<Waiting>) {
        let mut is_failing = false;
        while let Some(batch) = batches.next().await {
            let (count, path) = (batch.len() as u64, self.path.clone());
            let zero = self.clock.zero_on_the_wall();
            let write = move || append(&path, &lines(&batch, zero));
            let written = tokio::task::spawn_blocking(write).await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            let outcome = if written.is_ok() { "written" } else { "failed" };
            self.metrics.logged_programs(outcome, count);
            // Said once, when it changes: a disk that is full stays so for a while.
            let was_failing = std::mem::replace(&mut is_failing, written.is_err());
            match written {
                Err(error) if !was_failing => tracing::warn!(
                    "{}: {error}; programs that end are not logged: make room or mend the folder, it is tried again",
                    self.path.display()
                ),
                Ok(()) if was_failing => tracing::info!("{}: written again", self.path.display()),
                _ => {}
            }
        }
    }
}

/// A batch as lines; `zero` is when the clock was zero.
fn lines(batch: &[Waiting], zero: SystemTime) -> Vec<u8> {
    let zero = zero.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut lines = Vec::new();
    for Waiting { program, .. } in batch {
        let line = Line {
            zero_unix_us: zero.as_micros() as u64,
            program,
        };
        serde_json::to_writer(&mut lines, &line).expect("a view has text keys only");
        lines.push(b'\n');
    }
    lines
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)
}

/// Appends lines, or nothing: of a batch that found no room no half line stays.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let before = file.metadata()?.len();
    let written = end_line(&mut file, before).and_then(|()| file.write_all(lines));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = file.set_len(before);
    }
    written
}

/// Ends the line that a process left when it was killed.
fn end_line(file: &mut File, len: u64) -> io::Result<()> {
    let mut last = [b'\n'];
    if len > 0 {
        file.seek(SeekFrom::Start(len - 1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] {
        Ok(())
    } else {
        file.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lps_api::ids::{ClassName, ProgramId, TenantId};
    use lps_api::quantity::Micros;
    use prometheus::Registry;

    use super::*;
    use crate::message::{Event, ProgramKey};
    use crate::state::State;

    #[test]
    fn what_was_cut_off_does_not_spoil_the_line_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("programs.jsonl");
        append(&path, b"{\"id\":\"a\"}\n{\"id\"").unwrap();
        append(&path, b"{\"id\":\"b\"}\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"id\":\"a\"}\n{\"id\"\n{\"id\":\"b\"}\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("programs.jsonl");
        append(&path, b"1\n").unwrap();
        std::fs::rename(&path, folder.path().join("programs.jsonl.1")).unwrap();
        append(&path, b"2\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_file_that_cannot_be_had_says_which() {
        let metrics = Metrics::register(&Registry::new());
        let path = PathBuf::from("/proc/none/programs.jsonl");
        let error = start(path, Clock::start(), metrics)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--programs-log /proc/none/programs.jsonl: "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_disk_that_is_full_costs_lines_and_what_there_is_no_room_for_too() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        let (log, taking) = start("/dev/full".into(), Clock::start(), metrics).unwrap();
        log.ended(program());
        let _all = Arc::clone(&log.room)
            .try_acquire_many_owned(log.room.available_permits() as u32)
            .unwrap();
        log.ended(program());
        taking.end(Duration::from_secs(60)).await;
        let shown = registry.gather();
        let counted = shown.iter().flat_map(|family| family.get_metric());
        let outcomes: Vec<_> = counted
            .map(|it| (it.get_label()[0].value(), it.get_counter().get_value()))
            .collect();
        assert_eq!(outcomes, [("dropped", 1.0), ("failed", 1.0)]);
    }

    fn program() -> ProgramView {
        let mut state = State::new();
        let program = ProgramKey {
            tenant: TenantId::anonymous(),
            program: ProgramId::parse("p").unwrap(),
        };
        let opened = Event::ProgramOpened {
            program: program.clone(),
            class: ClassName::unnamed(),
            ttl: None,
            blocks: None,
        };
        state.on(opened, Micros(1));
        state.program(&program).unwrap()
    }
}
