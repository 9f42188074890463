//! Programs that ended, as lines of JSON in a file. Owns: the lines, and that a file that cannot be written costs lines,
//! never calls. Others may move the file away at any time: each batch opens it anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lps_runtime::clock::Clock;
use serde::Serialize;
use tokio::sync::mpsc;

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

/// Where programs go when they have ended.
#[derive(Debug, Clone)]
pub struct ProgramsLog {
    lines: mpsc::Sender<Vec<u8>>,
    clock: Clock,
    metrics: Metrics,
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
    let counts = metrics.clone();
    let (lines, taking) =
        batches::start("programs log", |batches| write_all(path, batches, counts));
    let log = ProgramsLog {
        lines,
        clock,
        metrics,
    };
    Ok((log, taking))
}

impl ProgramsLog {
    /// Never waits: what there is no room for is counted, and gone.
    pub(crate) fn ended(&self, program: &ProgramView) {
        let zero = self.clock.zero_on_the_wall().duration_since(UNIX_EPOCH);
        let line = Line {
            zero_unix_us: zero.map_or(0, |zero| zero.as_micros() as u64),
            program,
        };
        let mut line = serde_json::to_vec(&line).expect("a view has text keys only");
        line.push(b'\n');
        if self.lines.try_send(line).is_err() {
            self.metrics.logged_programs("dropped", 1);
        }
    }
}

async fn write_all(path: PathBuf, mut batches: Batches<Vec<u8>>, metrics: Metrics) {
    let mut is_failing = false;
    while let Some(batch) = batches.next().await {
        let (count, at) = (batch.len() as u64, path.clone());
        let written = tokio::task::spawn_blocking(move || append(&at, &batch.concat()));
        let written = written
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let outcome = if written.is_ok() { "written" } else { "failed" };
        metrics.logged_programs(outcome, count);
        // Said once, when it changes: a disk that is full stays so for a while.
        let was_failing = std::mem::replace(&mut is_failing, written.is_err());
        match written {
            Err(error) if !was_failing => tracing::warn!(
                "{}: {error}; programs that end are not logged: make room or mend the folder, it is tried again",
                path.display()
            ),
            Ok(()) if was_failing => tracing::info!("{}: written again", path.display()),
            _ => {}
        }
    }
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

    use prometheus::Registry;

    use super::*;

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
    async fn a_disk_that_is_full_costs_lines_and_is_counted() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        let (lines, taking) = batches::start("test", |batches| {
            write_all("/dev/full".into(), batches, metrics)
        });
        lines.send(b"1\n".to_vec()).await.unwrap();
        taking.end(Duration::from_secs(60)).await;
        let shown = registry.gather();
        let failed = shown.iter().flat_map(|family| family.get_metric());
        assert_eq!(
            failed.map(|it| it.get_counter().get_value()).sum::<f64>(),
            1.0
        );
    }
}
