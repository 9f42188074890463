//! What is simulated: programs with their calls. Owns: reading them from JSON lines, with an error that names file, line
//! and field. It must not know how they are generated or run.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use lps_api::ids::{CallId, ClassName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Micros, Tokens};
use lps_router::message::CallKey;
use serde::{Deserialize, Deserializer, de};

use super::generate::{self, Place};

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
    /// Time between the last parent's end and this call.
    pub gap: Micros,
    /// Whole prompt.
    pub prompt: Tokens,
    /// Output.
    pub output: Tokens,
    /// How long a unit engine works on it.
    pub service: Micros,
}

/// Seconds that are a time.
#[derive(Debug, Clone, Copy, Default)]
struct Seconds(Micros);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let refused = || de::Error::custom(format!("{seconds} is not a time: seconds, 0 or more"));
        Micros::from_secs_f64(seconds).map(Self).ok_or_else(refused)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramLine {
    program: ProgramId,
    #[serde(default = "TenantId::anonymous")]
    tenant: TenantId,
    #[serde(default = "ClassName::unnamed")]
    class: ClassName,
    #[serde(default)]
    arrival_s: Seconds,
    calls: Vec<CallLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallLine {
    call: CallId,
    #[serde(default = "ThreadId::main")]
    thread: ThreadId,
    parents: Option<Vec<CallId>>,
    #[serde(default)]
    gap_s: Seconds,
    prompt_tokens: Option<u32>,
    #[serde(default)]
    new_tokens: u32,
    #[serde(default)]
    shared_prefix_tokens: u32,
    #[serde(default)]
    output_tokens: u32,
    #[serde(default)]
    service_s: Seconds,
}

impl Workload {
    /// A file, or else what a generator makes.
    ///
    /// # Errors
    /// When neither is there, or its content is not valid.
    pub fn open(text: &str, place: Place) -> anyhow::Result<Self> {
        let path = Path::new(text);
        let is_file = path.is_file() || text.contains(['/', '\\']) || text.ends_with(".jsonl");
        if !is_file {
            return generate::generate(text, place);
        }
        let file = File::open(path).with_context(|| format!("open workload {text}"))?;
        Self::read(BufReader::new(file), text)
    }

    /// Reads JSON lines; `name` is the file's, for errors.
    ///
    /// # Errors
    /// When a line is not a program.
    pub fn read(lines: impl BufRead, name: &str) -> anyhow::Result<Self> {
        let mut workload = Self::default();
        let mut seen = HashMap::new();
        for (index, line) in lines.lines().enumerate() {
            let at = || format!("{name}:{}", index + 1);
            let line = line.with_context(at)?;
            if line.trim().is_empty() {
                continue;
            }
            let reader = &mut serde_json::Deserializer::from_str(&line);
            let program: ProgramLine =
                serde_path_to_error::deserialize(reader).map_err(|error| {
                    anyhow::anyhow!("{}: field {}: {}", at(), error.path(), error.inner())
                })?;
            let program = ProgramSpec::try_from(program).with_context(at)?;
            let key = (program.tenant.clone(), program.program.clone());
            if let Some(line) = seen.insert(key, index + 1) {
                bail!(
                    "{}: field program: {} is on line {line} already",
                    at(),
                    program.program
                );
            }
            if workload
                .programs
                .last()
                .is_some_and(|last| last.arrival > program.arrival)
            {
                bail!("{}: field arrival_s: lines stand in order of arrival", at());
            }
            workload.programs.push(program);
        }
        if workload.programs.is_empty() {
            bail!("{name}: no program in it");
        }
        Ok(workload)
    }
}

impl TryFrom<ProgramLine> for ProgramSpec {
    type Error = anyhow::Error;

    fn try_from(line: ProgramLine) -> anyhow::Result<Self> {
        if line.calls.is_empty() {
            bail!("field calls: a program has at least one call");
        }
        let mut indices: HashMap<CallId, usize> = HashMap::new();
        // The last call of each thread.
        let mut threads: HashMap<ThreadId, usize> = HashMap::new();
        let mut calls: Vec<CallSpec> = Vec::new();
        let names: Vec<CallId> = line.calls.iter().map(|call| call.call.clone()).collect();
        for (index, call) in line.calls.into_iter().enumerate() {
            let field = format!("calls[{index}]");
            let last = threads.get(&call.thread).copied();
            let says_parents = call.parents.is_some();
            let parents = match &call.parents {
                None => last.into_iter().collect(),
                Some(named) => named
                    .iter()
                    .map(|parent| find_parent(parent, (&indices, &names)))
                    .collect::<anyhow::Result<Vec<usize>>>()
                    .with_context(|| format!("field {field}.parents"))?,
            };
            let context = last.map_or(0, |last| {
                calls[last].prompt.0.saturating_add(calls[last].output.0)
            });
            let prompt = call
                .prompt_tokens
                .unwrap_or(context.saturating_add(call.new_tokens));
            if call.shared_prefix_tokens > prompt {
                bail!("field {field}.shared_prefix_tokens: more than the prompt of {prompt}");
            }
            if indices.insert(call.call.clone(), index).is_some() {
                bail!("field {field}.call: {} is there twice", call.call);
            }
            threads.insert(call.thread.clone(), index);
            calls.push(CallSpec {
                call: call.call,
                thread: call.thread,
                parents,
                says_parents,
                gap: call.gap_s.0,
                prompt: Tokens(prompt),
                output: Tokens(call.output_tokens),
                service: call.service_s.0,
            });
        }
        Ok(Self {
            program: line.program,
            tenant: line.tenant,
            class: line.class,
            arrival: line.arrival_s.0,
            calls,
        })
    }
}

fn find_parent(
    parent: &CallId,
    (before, all): (&HashMap<CallId, usize>, &[CallId]),
) -> anyhow::Result<usize> {
    match before.get(parent) {
        Some(index) => Ok(*index),
        None if all.contains(parent) => {
            bail!(
                "{parent} does not stand before its child: calls stand after their parents, so \
                   that there is no cycle"
            )
        }
        None => bail!("no call {parent} in this program"),
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

/// A call's name in the state: names in a workload are unique in their programs only.
pub(super) fn name(key: CallKey) -> anyhow::Result<CallId> {
    Ok(CallId::parse(&format!("c{}", key.0))?)
}
