//! What a program's threads share. Owns: the names of its calls and threads.

use std::sync::atomic::{AtomicU64, Ordering};

use lps_api::ids::{CallId, ProgramId, ThreadId};

use crate::error::Error;
use crate::wire::Wire;

/// A program, as its threads need it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) wire: Wire,
    pub(crate) id: ProgramId,
    calls: AtomicU64,
    forks: AtomicU64,
}

impl Run {
    pub(crate) fn new(wire: Wire, id: ProgramId) -> Self {
        Self {
            wire,
            id,
            calls: AtomicU64::new(1),
            forks: AtomicU64::new(1),
        }
    }

    /// The next call's name. It begins with the program's, because a call's name is its tenant's.
    pub(crate) fn new_call(&self) -> Result<CallId, Error> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(CallId::parse(&format!("{}.{number}", self.id))?)
    }

    /// The next fork's name.
    pub(crate) fn new_fork(&self) -> ThreadId {
        let number = self.forks.fetch_add(1, Ordering::Relaxed);
        ThreadId::parse(&format!("fork-{number}")).expect("made of letters, digits and a dash")
    }
}
