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
use lps_router::message::{Origin, Parents};
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

/// Puts the calls of a file where the router finds that they belong.
///
/// # Errors
/// When a line is no request, or names a parent that did not come before it.
pub(super) fn put(path: &Path) -> anyhow::Result<Vec<Call>> {
    let text = fs::read_to_string(path).with_context(|| format!("open {}", path.display()))?;
    let mut finder = Finder::default();
    let mut origins: HashMap<(TenantId, CallId), (usize, Origin)> = HashMap::new();
    let mut last: HashMap<(TenantId, ProgramId, ThreadId), usize> = HashMap::new();
    let mut calls: Vec<Call> = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let at = || format!("{}:{}", path.display(), number + 1);
        let line: Line = serde_json::from_str(text).with_context(at)?;
        let fresh = Fresh {
            program: ProgramId::parse(&format!("program-{number}"))?,
            call: line.call.clone(),
        };
        let known = |wire: &CallId| {
            let (name, _) = wire::split(wire)?;
            let known = origins.get(&(line.tenant.clone(), name));
            known.map(|(_, origin)| origin.clone())
        };
        let now = Micros(number as u64);
        let said = ChatSays::read(&line.path, line.body.get().as_bytes());
        let unread = || format!("{}: the router would refuse this request", at());
        let asked = (&line.tenant, &said.with_context(unread)?);
        let found = finder.find(asked, fresh, known, now).with_context(at)?;
        finder.answered(&line.tenant, &found, now);
        let index = |call: &CallId| {
            origins
                .get(&(line.tenant.clone(), call.clone()))
                .map(|it| it.0)
        };
        let truth = line.parents.iter().map(|parent| {
            let unknown = || format!("{}: field parents: {parent} does not stand before it", at());
            index(parent).with_context(unknown)
        });
        let identity = found.identity;
        let thread = (
            line.tenant.clone(),
            identity.program.clone(),
            identity.thread.clone(),
        );
        let before = last.insert(thread, number);
        let parents: Vec<usize> = match &identity.lineage {
            Lineage::Calls(Parents::Named(parents)) => parents.iter().filter_map(index).collect(),
            // As the table does where nobody says it.
            _ => before.into_iter().collect(),
        };
        calls.push(Call {
            truth: Place {
                program: format!("{} {}", line.tenant, line.program),
                thread: line.thread.to_string(),
                parents: truth.collect::<anyhow::Result<_>>()?,
            },
            found: Place {
                program: format!("{} {}", line.tenant, identity.program),
                thread: identity.thread.to_string(),
                parents,
            },
            source: identity.source,
        });
        let origin = Origin {
            program: identity.program,
            thread: identity.thread,
            call: line.call.clone(),
        };
        let key = (line.tenant, line.call);
        if origins.insert(key, (number, origin)).is_some() {
            bail!("{}: field call: an earlier line has that name", at());
        }
    }
    Ok(calls)
}
