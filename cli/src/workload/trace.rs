//! Recorded calls. Owns: how lines with start, end and parents, one a call, become programs whose gaps are the times that
//! lay between a call's start and its last parent's end. An error names file, line and field.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use anyhow::{Context, bail};
use lps_api::ids::{CallId, ClassName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Micros, Tokens};
use serde::Deserialize;

use super::read::{Seconds, from_line};
use super::{CallSpec, ProgramSpec, Workload};

/// One call, as recorded. Times are seconds on one clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    program: ProgramId,
    call: CallId,
    start: Seconds,
    end: Seconds,
    #[serde(default)]
    parent: Option<Named>,
    #[serde(default = "ThreadId::main")]
    thread: ThreadId,
    #[serde(default = "TenantId::anonymous")]
    tenant: TenantId,
    #[serde(default = "ClassName::unnamed")]
    class: ClassName,
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    shared_prefix_tokens: u32,
    #[serde(default)]
    output_tokens: u32,
}

/// One parent, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Named {
    One(CallId),
    Several(Vec<CallId>),
}

impl Named {
    fn all(&self) -> &[CallId] {
        match self {
            Self::One(parent) => std::slice::from_ref(parent),
            Self::Several(parents) => parents,
        }
    }
}

/// Reads JSON lines, in any order; `name` is the file's, for errors.
///
/// # Errors
/// When a line is no call, or its parents did not end before it began.
pub(super) fn read(lines: impl BufRead, name: &str) -> anyhow::Result<Workload> {
    let mut programs: BTreeMap<(TenantId, ProgramId), Vec<(usize, Line)>> = BTreeMap::new();
    for (index, line) in lines.lines().enumerate() {
        let at = || format!("{name}:{}", index + 1);
        let line = line.with_context(at)?;
        if line.trim().is_empty() {
            continue;
        }
        let call: Line = from_line(&line).with_context(at)?;
        if call.end.0 < call.start.0 {
            bail!("{}: field end: it lies before start", at());
        }
        if call.shared_prefix_tokens > call.prompt_tokens {
            bail!(
                "{}: field shared_prefix_tokens: more than the prompt of {}",
                at(),
                call.prompt_tokens
            );
        }
        let key = (call.tenant.clone(), call.program.clone());
        programs.entry(key).or_default().push((index + 1, call));
    }
    let mut read = Workload::default();
    for ((tenant, program), mut calls) in programs {
        calls.sort_by_key(|(line, call)| (call.start.0, call.end.0, *line));
        read.programs.push(ProgramSpec {
            program,
            tenant,
            class: calls[0].1.class.clone(),
            arrival: calls[0].1.start.0,
            calls: specs(&calls, name)?,
        });
    }
    let Some(zero) = read.programs.iter().map(|program| program.arrival).min() else {
        bail!("{name}: no call in it");
    };
    for program in &mut read.programs {
        program.arrival = program.arrival - zero;
    }
    read.programs
        .sort_by(|a, b| (a.arrival, &a.program).cmp(&(b.arrival, &b.program)));
    Ok(read)
}

/// The calls of one program, which stand in order of their starts.
fn specs(calls: &[(usize, Line)], name: &str) -> anyhow::Result<Vec<CallSpec>> {
    let arrival = calls[0].1.start.0;
    let all: HashMap<&CallId, usize> = calls.iter().map(|(line, c)| (&c.call, *line)).collect();
    let mut known: HashMap<&CallId, usize> = HashMap::new();
    // The last call of each thread.
    let mut threads: HashMap<&ThreadId, usize> = HashMap::new();
    let mut specs: Vec<CallSpec> = Vec::with_capacity(calls.len());
    for (index, (line, call)) in calls.iter().enumerate() {
        let at = |field: &str| format!("{name}:{line}: field {field}");
        let mut parents = Vec::new();
        match &call.parent {
            Some(named) => {
                for parent in named.all() {
                    match (known.get(parent), all.get(parent)) {
                        (Some(parent), _) => parents.push(*parent),
                        (None, Some(other)) => bail!(
                            "{}: {parent} of line {other} does not begin before its child, so there is a cycle",
                            at("parent")
                        ),
                        (None, None) => {
                            bail!("{}: no call {parent} in {}", at("parent"), call.program)
                        }
                    }
                }
            }
            // Nobody said: the thread's last call, where it had ended.
            None => parents.extend(
                threads
                    .get(&call.thread)
                    .copied()
                    .filter(|last| calls[*last].1.end.0 <= call.start.0),
            ),
        }
        let ready = parents.iter().map(|parent: &usize| calls[*parent].1.end.0);
        let ready = ready.max().unwrap_or(arrival);
        if ready > call.start.0 {
            bail!(
                "{}: {} begins before its parent ends",
                at("start"),
                call.call
            );
        }
        if known.insert(&call.call, index).is_some() {
            bail!("{}: {} is in {} twice", at("call"), call.call, call.program);
        }
        threads.insert(&call.thread, index);
        specs.push(CallSpec {
            call: call.call.clone(),
            thread: call.thread.clone(),
            says_parents: call.parent.is_some(),
            parents,
            gap: call.start.0 - ready,
            prompt: Tokens(call.prompt_tokens),
            shared_prefix: Tokens(call.shared_prefix_tokens),
            output: Tokens(call.output_tokens),
            service: duration(call),
        });
    }
    Ok(specs)
}

fn duration(call: &Line) -> Micros {
    call.end.0 - call.start.0
}
