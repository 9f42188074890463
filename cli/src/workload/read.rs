//! The workload file. Owns: reading programs from JSON lines, with an error that names file, line and field. It must not
//! know how they are generated or run.

use std::collections::HashMap;
use std::io::BufRead;

use anyhow::{Context, bail};
use lps_api::ids::{CallId, ClassName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Micros, Tokens};
use serde::{Deserialize, Deserializer, de};

use super::{CallSpec, ProgramSpec, Workload};

/// Seconds that are a time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seconds(pub(super) Micros);

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
            let program: ProgramLine = from_line(&line).with_context(at)?;
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

/// One JSON line; the error names the field.
pub(super) fn from_line<'a, T: Deserialize<'a>>(line: &'a str) -> anyhow::Result<T> {
    let reader = &mut serde_json::Deserializer::from_str(line);
    let value = serde_path_to_error::deserialize(&mut *reader)
        .map_err(|error| anyhow::anyhow!("field {}: {}", error.path(), error.inner()))?;
    reader.end().context("after its end")?;
    Ok(value)
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
                shared_prefix: Tokens(call.shared_prefix_tokens),
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
