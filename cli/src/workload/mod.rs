//! Workloads: programs with their calls, as the simulator and the load generator run them. Owns: what a workload is.
//!
//! Inside, in the order in which data flows: `command` → `open` → `read`, `trace`, `generate` → `shapes` → `dice`; then
//! `chats`, `content`, `statistics` and `write`.

/// `lps workload`: makes one, says what is in it.
pub mod command;
/// Calls as chats of an unchanged client.
pub mod chats;
pub(crate) mod content;
pub(crate) mod dice;
mod generate;
mod published;
mod read;
mod shapes;
/// Mean and quantiles, and the figures of a workload.
pub mod statistics;
#[cfg(test)]
mod tests;
mod trace;
mod write;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use lps_api::ids::{CallId, ClassName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Micros, Tokens};

/// What stands before the name of a file of recorded calls.
const TRACE: &str = "trace:";

/// Programs in order of arrival.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Workload {
    /// The programs.
    pub programs: Vec<ProgramSpec>,
}

/// One program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramSpec {
    /// Its name.
    pub program: ProgramId,
    /// Who pays.
    pub tenant: TenantId,
    /// Its class.
    pub class: ClassName,
    /// When it arrives.
    pub arrival: Micros,
    /// Its calls; parents stand before their children.
    pub calls: Vec<CallSpec>,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallSpec {
    /// Its name, unique in its program.
    pub call: CallId,
    /// Its thread.
    pub thread: ThreadId,
    /// Indices of the calls that must end before it.
    pub parents: Vec<usize>,
    /// Whether the client says who they are.
    pub says_parents: bool,
    /// Time between the last parent's end and this call; of a root, since its program's arrival.
    pub gap: Micros,
    /// Whole prompt.
    pub prompt: Tokens,
    /// Of it, what all programs of the class begin with.
    pub shared_prefix: Tokens,
    /// Output.
    pub output: Tokens,
    /// How long a unit engine works on it.
    pub service: Micros,
}

/// What a generator must know of where its programs run.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Chance.
    pub seed: u64,
    /// Calls that all engines run at once.
    pub slots: u64,
}

impl Workload {
    /// A workload file, `trace:` and a file of recorded calls, or else what a generator makes.
    ///
    /// # Errors
    /// When none of them is there, or its content is not valid.
    pub fn open(text: &str, place: Place) -> anyhow::Result<Self> {
        let (file, is_trace) = match text.strip_prefix(TRACE) {
            Some(file) => (file, true),
            None => (text, false),
        };
        let path = Path::new(file);
        if let Some((_, rest)) = text.split_once(':')
            && !is_trace
            && !path.is_file()
            && Path::new(rest).is_file()
        {
            bail!(
                "no workload {text:?}: recorded calls are named {TRACE}{rest}, and a file of programs {rest}"
            );
        }
        let is_file = path.is_file() || file.contains(['/', '\\']) || file.ends_with(".jsonl");
        if !is_file && !is_trace {
            return generate::generate(text, place);
        }
        let lines = File::open(path).with_context(|| format!("open workload {file}"))?;
        let lines = BufReader::new(lines);
        let workload = if is_trace {
            trace::read(lines, file)
        } else {
            Self::read(lines, file)
        };
        workload.map_err(|error| match (Lines::of(path), is_trace) {
            (Some(Lines::Calls), false) => error.context(format!(
                "{file} holds recorded calls, one a line: name it {TRACE}{file}"
            )),
            (Some(Lines::Programs), true) => error.context(format!(
                "{file} holds programs, one a line: name it without {TRACE}"
            )),
            _ => error,
        })
    }
}

/// What the lines of a file are, by the fields of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Programs,
    Calls,
}

impl Lines {
    fn of(path: &Path) -> Option<Self> {
        let mut lines = BufReader::new(File::open(path).ok()?).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| !line.trim().is_empty()))?;
        let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
        let has = |field: &str| line.get(field).is_some();
        if has("calls") {
            return Some(Self::Programs);
        }
        (has("start") && has("end")).then_some(Self::Calls)
    }
}

impl ProgramSpec {
    /// How long it would take alone: the longest chain of gaps and services.
    pub fn alone(&self) -> Micros {
        let mut ends: Vec<Micros> = Vec::with_capacity(self.calls.len());
        for call in &self.calls {
            let ready = call
                .parents
                .iter()
                .map(|parent| ends[*parent])
                .max()
                .unwrap_or_default();
            ends.push(ready + call.gap + call.service);
        }
        ends.into_iter().max().unwrap_or_default()
    }
}
