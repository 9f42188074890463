//! Programs that are part of another. Owns: which program's row a blocking child's calls use: its parent waits for it, so
//! its calls are the parent's, on threads of their own, and its own name has no row.

use std::collections::{BTreeMap, HashMap};

use lps_api::ids::{ProgramId, ThreadId};

use super::row::RowId;
use crate::message::ProgramKey;

/// Children of one program, at most; further ones are programs of their own.
const CHILDREN_MAX: usize = 1_024;

/// Blocking children by name.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// Looked up only.
    parents: HashMap<ProgramKey, (RowId, ProgramKey)>,
    of: BTreeMap<RowId, Vec<ProgramKey>>,
}

impl Children {
    /// The program whose row is used for this one.
    pub(super) fn resolve<'a>(&'a self, program: &'a ProgramKey) -> &'a ProgramKey {
        let parent = self.parents.get(program);
        parent.map_or(program, |(_, parent)| parent)
    }

    pub(super) fn is_child(&self, program: &ProgramKey) -> bool {
        self.parents.contains_key(program)
    }

    /// Whether the child is one from now on.
    pub(super) fn add(&mut self, child: ProgramKey, (row, parent): (RowId, ProgramKey)) -> bool {
        let children = self.of.entry(row).or_default();
        let is_new = children.len() < CHILDREN_MAX && !self.parents.contains_key(&child);
        if is_new {
            children.push(child.clone());
            self.parents.insert(child, (row, parent));
        }
        is_new
    }

    /// The child's name is free again.
    pub(super) fn remove(&mut self, child: &ProgramKey) {
        if let Some((row, _)) = self.parents.remove(child)
            && let Some(children) = self.of.get_mut(&row)
        {
            children.retain(|other| other != child);
        }
    }

    /// A program is over, and its children with it.
    pub(super) fn over(&mut self, row: RowId) {
        for child in self.of.remove(&row).unwrap_or_default() {
            self.parents.remove(&child);
        }
    }

    /// Whether names and lists agree, and every parent is live.
    pub(super) fn check_integrity(&self, is_live: impl Fn(RowId) -> bool) {
        let listed: usize = self.of.values().map(Vec::len).sum();
        assert_eq!(listed, self.parents.len(), "children by name and by parent");
        assert!(self.of.keys().all(|row| is_live(*row)), "parents are live");
    }
}

/// The thread of its parent on which a child's thread goes on. A name too long for that is its own.
pub(super) fn thread_of(child: &ProgramId, thread: &ThreadId) -> ThreadId {
    let joined = format!("{}/{}", child.as_str(), thread.as_str());
    ThreadId::parse(&joined).unwrap_or_else(|_| thread.clone())
}

/// Whether a thread is one of a child's.
pub(super) fn is_of(child: &ProgramId, thread: &ThreadId) -> bool {
    let rest = thread.as_str().strip_prefix(child.as_str());
    rest.is_some_and(|rest| rest.starts_with('/'))
}
