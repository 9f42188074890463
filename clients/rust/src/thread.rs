//! Chains of calls, and what depends on what. Owns: the parents of each call.

use std::sync::Arc;

use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use lps_api::ids::{CallId, ThreadId};

use crate::error::Error;
use crate::run::Run;
use crate::wire::Headers;

/// Most parents that a router takes of one call; of more, the last are named.
const PARENTS_MAX: usize = 256;

/// A chain of calls: each depends on the one before.
#[derive(Debug)]
pub struct Thread {
    run: Arc<Run>,
    name: ThreadId,
    /// Where it began.
    origin: Vec<CallId>,
    /// What its next call depends on.
    after: Vec<CallId>,
}

impl Thread {
    pub(crate) fn new(run: Arc<Run>, name: ThreadId, origin: Vec<CallId>) -> Self {
        let after = origin.clone();
        Self {
            run,
            name,
            origin,
            after,
        }
    }

    /// A thread that goes on from here, beside this one.
    pub fn fork(&self) -> Self {
        Self::new(
            Arc::clone(&self.run),
            self.run.new_fork(),
            self.after.clone(),
        )
    }

    /// What comes next depends on where these threads are, too.
    pub fn join<'a>(&mut self, threads: impl IntoIterator<Item = &'a Self>) {
        let before = self.after.clone();
        let mut after = Vec::new();
        let mut is_covered = false;
        for thread in threads {
            is_covered |= thread.origin == before;
            after.extend(thread.after.iter().cloned());
        }
        self.after = merged(if is_covered { Vec::new() } else { before }, after);
    }

    /// Makes a call: the one request that `ask` makes of OpenAI's client. Once it is answered, or its stream has begun,
    /// what comes next depends on it. Its other tries are the same call.
    ///
    /// # Errors
    /// When it is not answered; then what comes next does not depend on it.
    pub async fn call<T, Asked>(
        &mut self,
        ask: impl FnOnce(async_openai::Client<OpenAIConfig>) -> Asked,
    ) -> Result<T, Error>
    where
        Asked: Future<Output = Result<T, OpenAIError>>,
    {
        let call = self.run.new_call()?;
        let client = self.run.wire.client_of(&Headers {
            program: &self.run.id,
            thread: &self.name,
            call: &call,
            parents: &self.after,
        })?;
        let answer = ask(client).await;
        let answer = answer.map_err(|error| self.run.wire.explained(error))?;
        self.after = vec![call];
        Ok(answer)
    }
}

/// Both lists, each call once, and no more than a router takes.
fn merged(before: Vec<CallId>, after: Vec<CallId>) -> Vec<CallId> {
    let mut calls = before;
    for call in after {
        if !calls.contains(&call) {
            calls.push(call);
        }
    }
    calls.split_off(calls.len().saturating_sub(PARENTS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: impl IntoIterator<Item = u32>) -> Vec<CallId> {
        let parse = |name: u32| CallId::parse(&format!("c{name}")).expect("a name");
        names.into_iter().map(parse).collect()
    }

    #[test]
    fn parents_are_named_once_and_bounded() {
        assert_eq!(merged(calls([1, 2]), calls([2, 3, 3])), calls([1, 2, 3]));
        assert_eq!(merged(calls([0]), calls(1..1_000)), calls(744..1_000));
    }
}
