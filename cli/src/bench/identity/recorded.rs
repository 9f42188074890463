//! Recorded requests. Owns: their lines, and putting them to programs in the order in which they came. An error names file
//! and line.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use lps_api::ids::{CallId, ProgramId, TenantId, ThreadId};
use lps_api::quantity::Micros;
use lps_router::engine_client::wire;
use lps_router::http::ChatSays;
use lps_router::identity::{Fresh, Lineage};
use lps_router::message::{Before, Origin, Parents};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::judge::{Call, Place};
use crate::sim::Finder;

/// One request, and where it belongs. It was answered before the next line came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    program: ProgramId,
    #[serde(default = "ThreadId::main")]
    thread: ThreadId,
    /// As the router that it was recorded at named it: ids of tool calls say this name.
    call: CallId,
    #[serde(default)]
    parents: Vec<CallId>,
    #[serde(default = "TenantId::anonymous")]
    tenant: TenantId,
    /// Where it was sent.
    #[serde(default = "chats")]
    path: String,
    /// As its client wrote it.
    body: Box<RawValue>,
}

fn chats() -> String {
    "/v1/chat/completions".to_owned()
}

/// What is known of the calls before, as the router's table knows it.
#[derive(Default)]
struct Earlier {
    /// Each with its place in the file.
    calls: HashMap<(TenantId, CallId), (usize, Origin)>,
    /// The last one of each thread.
    last: HashMap<(TenantId, ProgramId, ThreadId), usize>,
}

impl Earlier {
    fn place(&self, tenant: &TenantId, call: &CallId) -> Option<usize> {
        let known = self.calls.get(&(tenant.clone(), call.clone()));
        known.map(|(place, _)| *place)
    }

    fn last(&self, tenant: &TenantId, program: &ProgramId, thread: &ThreadId) -> Option<usize> {
        let thread = (tenant.clone(), program.clone(), thread.clone());
        self.last.get(&thread).copied()
    }

    /// By its name at engines.
    fn before(&self, tenant: &TenantId, wire: &CallId) -> Option<Before> {
        let (name, _) = wire::split(wire)?;
        let (place, origin) = self.calls.get(&(tenant.clone(), name))?.clone();
        let last = self.last(tenant, &origin.program, &origin.thread);
        let is_fork = last != Some(place);
        Some(Before { origin, is_fork })
    }

    /// Whether no earlier call has its name.
    fn add(&mut self, tenant: TenantId, place: usize, origin: Origin) -> bool {
        let thread = (
            tenant.clone(),
            origin.program.clone(),
            origin.thread.clone(),
        );
        self.last.insert(thread, place);
        let call = (tenant, origin.call.clone());
        self.calls.insert(call, (place, origin)).is_none()
    }
}

/// Puts the calls of a file where the router finds that they belong.
///
/// # Errors
/// When a line is no request, or names a parent that did not come before it.
pub(super) fn put(path: &Path) -> anyhow::Result<Vec<Call>> {
    let text = fs::read_to_string(path).with_context(|| format!("open {}", path.display()))?;
    let (mut finder, mut earlier) = (Finder::default(), Earlier::default());
    let mut calls: Vec<Call> = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let at = || format!("{}:{}", path.display(), number + 1);
        let line: Line = serde_json::from_str(text).with_context(at)?;
        let tenant = &line.tenant;
        let fresh = Fresh {
            program: ProgramId::parse(&format!("program-{number}"))?,
            call: line.call.clone(),
        };
        let now = Micros(number as u64);
        let said = ChatSays::read(&line.path, line.body.get().as_bytes());
        let unread = || format!("{}: the router would refuse this request", at());
        let asked = (tenant, &said.with_context(unread)?);
        let known = |wire: &CallId| earlier.before(tenant, wire);
        let found = finder.find(asked, fresh, known, now).with_context(at)?;
        finder.answered(tenant, &found, now);
        let truth = line.parents.iter().map(|parent| {
            let unknown = || format!("{}: field parents: {parent} does not stand before it", at());
            earlier.place(tenant, parent).with_context(unknown)
        });
        let identity = found.identity;
        let parents: Vec<usize> = match &identity.lineage {
            Lineage::Calls(Parents::Named(parents)) => {
                let places = parents.iter().map(|parent| earlier.place(tenant, parent));
                places.flatten().collect()
            }
            // As the table does where nobody says it.
            _ => {
                let last = earlier.last(tenant, &identity.program, &identity.thread);
                last.into_iter().collect()
            }
        };
        calls.push(Call {
            truth: Place {
                program: format!("{tenant} {}", line.program),
                thread: line.thread.to_string(),
                parents: truth.collect::<anyhow::Result<_>>()?,
            },
            found: Place {
                program: format!("{tenant} {}", identity.program),
                thread: identity.thread.to_string(),
                parents,
            },
            source: identity.source,
        });
        if !earlier.add(line.tenant, number, identity.origin()) {
            bail!("{}: field call: an earlier line has that name", at());
        }
    }
    Ok(calls)
}
