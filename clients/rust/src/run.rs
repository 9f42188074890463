//! What a program's threads share. Owns: the names of its calls and threads.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use lps_api::ids::{CallId, ProgramId, ThreadId};

use crate::error::Error;
use crate::wire::Wire;

/// A program, as its threads need it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) wire: Wire,
    pub(crate) id: ProgramId,
    /// Of this handle alone: a program that is live may be opened again, here or elsewhere.
    own: u32,
    calls: AtomicU64,
    forks: AtomicU64,
}

impl Run {
    pub(crate) fn new(wire: Wire, id: ProgramId) -> Self {
        Self {
            wire,
            id,
            // The standard library's hashes are keyed at random.
            own: RandomState::new().hash_one(()) as u32,
            calls: AtomicU64::new(1),
            forks: AtomicU64::new(1),
        }
    }

    /// The next call's name. It begins with the program's, because a call's name is its tenant's.
    pub(crate) fn new_call(&self) -> Result<CallId, Error> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(CallId::parse(&format!(
            "{}.{:08x}.{number}",
            self.id, self.own
        ))?)
    }

    /// The next fork's name.
    pub(crate) fn new_fork(&self) -> ThreadId {
        let number = self.forks.fetch_add(1, Ordering::Relaxed);
        ThreadId::parse(&format!("fork-{:08x}-{number}", self.own))
            .expect("made of letters, digits and a dash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_handles_of_one_program_name_no_call_or_fork_alike() {
        let names = || {
            let wire = Wire {
                config: async_openai::config::OpenAIConfig::new(),
                http: reqwest::Client::new(),
            };
            let run = Run::new(wire, ProgramId::parse("p").unwrap());
            let call = run.new_call().unwrap();
            (call.as_str().to_owned(), run.new_fork().as_str().to_owned())
        };
        let (first, second) = (names(), names());
        assert_ne!(first.0, second.0);
        assert_ne!(first.1, second.1);
    }
}
