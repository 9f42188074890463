//! Workloads: programs with their calls, as the simulator and the load generator run them. Owns: what a workload is.
//!
//! Inside, in the order in which data flows: `command` → `open` → `read`, `trace`, `generate` → `shapes` → `dice`; then
//! `content`, `statistics` and `write`.

/// `lps workload`: makes one, says what is in it.
pub mod command;
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
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
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
        let is_file = path.is_file() || file.contains(['/', '\\']) || file.ends_with(".jsonl");
        if !is_file && !is_trace {
            return generate::generate(text, place);
        }
        let lines = File::open(path).with_context(|| format!("open workload {file}"))?;
        let lines = BufReader::new(lines);
        if is_trace {
            trace::read(lines, file)
        } else {
            Self::read(lines, file)
        }
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
