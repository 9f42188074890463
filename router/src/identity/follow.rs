//! Calls that belong behind others because their conversations say so. Owns: what is made of the ids that a conversation
//! echoes. Who said more than that is believed more.

use lps_api::ids::{CallId, ProgramId, ThreadId};

use super::{FRESH_CALL, FRESH_PROGRAM, Identity, Lineage};
use crate::echoes::Echoes;
use crate::message::{Before, IdentitySource, Origin, Parents};

impl Identity {
    /// Whether what a conversation echoes could say more.
    pub fn may_follow(&self) -> bool {
        self.is_alone() || self.is_traced() || self.lineage == Lineage::Calls(Parents::Unsaid)
    }

    fn is_traced(&self) -> bool {
        self.source == IdentitySource::Trace
    }

    /// Whether nothing was said of it, and nothing found: no other call is known of its program.
    pub fn is_alone(&self) -> bool {
        matches!(self.source, IdentitySource::Tools | IdentitySource::Single)
    }

    /// Puts a call that is alone behind the one that its messages go on from; on a thread of its own, named by itself,
    /// where others go on from there already.
    pub fn go_on_from(&mut self, before: Before) {
        let Before { origin, is_fork } = before;
        self.program = origin.program;
        self.source = IdentitySource::Prefix;
        self.go_on_thread(origin.thread, is_fork);
        if self.lineage == Lineage::Calls(Parents::Unsaid) {
            self.lineage = Lineage::Calls(Parents::Named(vec![origin.call]));
        }
    }

    fn go_on_thread(&mut self, thread: ThreadId, is_fork: bool) {
        if self.thread == ThreadId::main() {
            let own = || ThreadId::parse(self.call.as_str()).expect("a call's name is an id");
            self.thread = if is_fork { own() } else { thread };
        }
    }

    /// Where others find it that go on from it.
    pub fn origin(&self) -> Origin {
        Origin {
            program: self.program.clone(),
            thread: self.thread.clone(),
            call: self.call.clone(),
        }
    }

    /// Puts the call behind those that its conversation echoes. `known` tells of each what is known of it. Where somebody
    /// said the program it stays; and so do parents.
    pub fn follow(&mut self, echoes: &Echoes, known: impl Fn(&CallId) -> Option<Before>) {
        let latest = known(&echoes.latest);
        // A trace may be of one request only: a call that is known says more.
        if let Some(latest) = latest.filter(|_| self.is_alone() || self.is_traced()) {
            self.program = latest.origin.program;
            self.source = IdentitySource::Lineage;
            // What came behind it may be this conversation's own, where it does not go on right from there.
            let is_fork = latest.is_fork && !echoes.answered.is_empty();
            self.go_on_thread(latest.origin.thread, is_fork);
        } else if let Some(program) = program_begun_by(&echoes.first).filter(|_| self.is_alone()) {
            // Nobody remembers the calls, as after a new start, but all that echo them come to one place.
            self.program = program;
            self.source = IdentitySource::Lineage;
        }
        if self.lineage == Lineage::Calls(Parents::Unsaid) {
            let answered = echoes.answered.iter().filter_map(known);
            let its = answered
                .map(|before| before.origin)
                .filter(|origin| origin.program == self.program);
            let parents: Vec<CallId> = its.map(|origin| origin.call).collect();
            if !parents.is_empty() {
                self.lineage = Lineage::Calls(Parents::Named(parents));
            }
        }
    }
}

/// The program that a call began whose client named neither, by the call's name at engines.
fn program_begun_by(call: &CallId) -> Option<ProgramId> {
    let (name, _) = call.as_str().rsplit_once('~')?;
    let rest = name.strip_prefix(FRESH_CALL)?;
    ProgramId::parse(&format!("{FRESH_PROGRAM}{rest}")).ok()
}
