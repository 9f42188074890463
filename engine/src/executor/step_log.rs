//! One JSON line a step: who ran, how much of whom, who fell out. For those who want to see each decision, and for
//! `lps bench calibrate`, which learns from it what steps cost. The first line says whose steps they are.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use lps_api::ids::{CallId, EngineId};
use lps_api::protocol::Hello;
use lps_api::quantity::Micros;
use serde::Serialize;

use crate::executor::Fatal;

/// A sequence's part of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    pub(super) call: CallId,
    pub(super) choice: u32,
    /// Tokens that had their KV before the step.
    pub(super) computed: usize,
    /// New tokens.
    pub(super) len: usize,
    /// Whether a token was drawn.
    pub(super) samples: bool,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) step: u64,
    /// Since the process started, when the step began.
    pub(super) time_us: Micros,
    pub(super) duration_us: Micros,
    pub(super) sequences: &'a [Part],
    /// Calls of the step before that are open and not in this one.
    pub(super) preempted: &'a [CallId],
}

/// The first line.
#[derive(Debug, Serialize)]
struct Head<'a> {
    engine: &'a Hello,
}

/// The file.
#[derive(Debug)]
pub(super) struct StepLog {
    path: String,
    file: BufWriter<File>,
}

impl StepLog {
    /// Makes the file, or empties it. What does not end in `.jsonl` is a folder, which is made too, and the file in it
    /// has the engine's name: so engines with the same flags do not write over each other.
    pub(super) fn create(path: PathBuf, engine: &EngineId) -> Result<Self, Fatal> {
        let is_file = path.extension().is_some_and(|ending| ending == "jsonl");
        let made = if is_file {
            Ok(path.clone())
        } else {
            let name = format!("{}.jsonl", engine.as_str().replace('/', "."));
            std::fs::create_dir_all(&path).map(|()| path.join(name))
        };
        let path = made.map_err(|source| Fatal::StepLog {
            path: path.display().to_string(),
            source,
        })?;
        let shown = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self {
                path: shown,
                file: BufWriter::new(file),
            }),
            Err(source) => Err(Fatal::StepLog {
                path: shown,
                source,
            }),
        }
    }

    /// Writes the first line.
    pub(super) fn head(&mut self, engine: &Hello) -> Result<(), Fatal> {
        self.line(&Head { engine })
    }

    /// Writes a step's line.
    pub(super) fn write(&mut self, line: &Line<'_>) -> Result<(), Fatal> {
        self.line(line)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Fatal> {
        let json = serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from);
        let written = json.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| Fatal::StepLog {
            path: self.path.clone(),
            source,
        })
    }

    /// Brings what was written to the file; called when the engine has nothing to do.
    pub(super) fn flush(&mut self) -> Result<(), Fatal> {
        self.file.flush().map_err(|source| Fatal::StepLog {
            path: self.path.clone(),
            source,
        })
    }
}
