//! The truth about programs and calls. Owns: rows, what they are charged, and when they end. It must not know engines'
//! slots and queues.

mod call;
mod calls;
mod children;
mod ended;
mod journal;
mod kept;
mod lives;
mod models;
mod names;
mod numbered;
mod priority;
mod reason;
mod row;
mod stays;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lps_api::ids::{CallId, ClassName, ModelName, TenantId, ThreadId};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros};
use lps_api::scheduling::{Settings, Unit};

use crate::message::{CallKey, NewCall, Outcome, Parents, ProgramKey};
pub use call::{Call, ClassId, Line, Place, Scan, Stage};
use calls::Calls;
use children::Children;
pub use ended::Ended;
use journal::Journal;
pub use journal::Note;
use kept::Kept;
pub use lives::{IDLE_LIMIT, IDLE_LIMIT_OPENED, Opening, Over};
use models::Models;
use names::Names;
pub use numbered::ByNumber;
pub use reason::{CallCounts, Phase, ProgramState, Reason};
pub use row::{Row, RowId};
use usage::Usage;
pub use usage::Used;

/// Threads that a row remembers.
const THREADS_MAX: usize = 1_024;

/// Rows and calls.
#[derive(Debug, Default)]
pub struct ProcessTable {
    /// Each in a box: a tree of large nodes holds half of them empty.
    rows: BTreeMap<RowId, Box<Row>>,
    /// Open calls.
    calls: Calls,
    /// The last life of each name. Looked up only.
    names: HashMap<ProgramKey, RowId>,
    call_names: Names,
    /// Rows without open calls, by the time at which they expire.
    expiring: BTreeSet<(Micros, RowId)>,
    kept: Kept,
    models: Models,
    children: Children,
    /// Live programs by tenant. Looked up only.
    live_of: HashMap<TenantId, u32>,
    over: Vec<Over>,
    usage: Usage,
    journal: Journal,
    last_row: u64,
}

impl ProcessTable {
    /// The live row of a name.
    pub fn live(&self, program: &ProgramKey) -> Option<&Row> {
        self.last(program).filter(|row| row.end.is_none())
    }

    /// The last row of a name that is remembered.
    pub fn last(&self, program: &ProgramKey) -> Option<&Row> {
        let name = self.resolve(program);
        self.row(*self.names.get(name)?)
    }

    /// The program whose row is used for this one.
    pub fn resolve<'a>(&'a self, program: &'a ProgramKey) -> &'a ProgramKey {
        self.children.resolve(program)
    }

    /// Programs of a tenant that have not ended.
    pub fn live_of(&self, tenant: &TenantId) -> u32 {
        self.live_of.get(tenant).copied().unwrap_or(0)
    }

    /// A row.
    pub fn row(&self, row: RowId) -> Option<&Row> {
        self.rows.get(&row).map(Box::as_ref)
    }

    pub(crate) fn row_mut(&mut self, row: RowId) -> Option<&mut Row> {
        self.rows.get_mut(&row).map(Box::as_mut)
    }

    /// All rows, in order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().map(Box::as_ref)
    }

    /// Programs that are live and have called a model.
    pub fn live_programs(&self, model: &ModelName) -> u32 {
        self.models.live(model)
    }

    /// Whether a program has called a model.
    pub fn has_called(&self, row: &Row, model: &ModelName) -> bool {
        row.models & self.models.bit(model) != 0
    }

    /// Whether a program that ended had called a model.
    pub fn had_called(&self, over: &Over, model: &ModelName) -> bool {
        over.models & self.models.bit(model) != 0
    }

    /// How many live programs have no open call.
    pub fn quiet_count(&self) -> usize {
        self.expiring.len()
    }

    /// One in so many of them, those that expire first first.
    pub fn quiet_sample(&self, one_in: usize) -> impl Iterator<Item = &Row> {
        let sample = self.expiring.iter().step_by(one_in);
        sample.filter_map(|(_, id)| self.row(*id))
    }

    /// How much is kept.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            live_programs: self.rows.len() - self.kept.rows(),
            ended_programs: self.kept.rows(),
            open_calls: self.calls.len(),
            known_calls: self.call_names.len(),
        }
    }

    /// An open call.
    pub fn call(&self, call: CallKey) -> Option<&Call> {
        self.calls.get(call)
    }

    pub(crate) fn call_mut(&mut self, call: CallKey) -> Option<&mut Call> {
        self.calls.get_mut(call)
    }

    /// A call by its client's name, open or remembered, and its row.
    pub fn named_call(&self, tenant: &TenantId, call: &CallId) -> Option<(&Row, Known<'_>)> {
        let (row, key) = self.call_names.get(tenant, call)?;
        let row = self.row(row)?;
        Some((row, self.known(row, key)?))
    }

    /// A call of a row, open or remembered.
    pub fn known<'a>(&'a self, row: &'a Row, key: CallKey) -> Option<Known<'a>> {
        let open = self.calls.get(key).map(Known::Open);
        open.or_else(|| row.ended.get(key).map(Known::Ended))
    }

    /// Takes a call in and fixes its priority.
    pub fn arrive(&mut self, mut new: NewCall, settings: &Settings, now: Micros) -> RowId {
        if self.children.is_child(&new.program) {
            new.thread = children::thread_of(&new.program.program, &new.thread);
            new.program = self.children.resolve(&new.program).clone();
        }
        let row_id = match self.live(&new.program) {
            Some(row) => row.id,
            None => self.begin(&new.program, new.class.clone(), new.source, now),
        };
        let mut call = Call::new(new, row_id, now);
        let (p, is_known) = self.priority(&call, settings);
        call.p = p;
        let row = self.rows.get_mut(&row_id).expect("it was found or begun");
        row.share_names(&mut call);
        call.path_before = row.critical_path();
        row.end_gap(now);
        (row.models, call.model) = self.models.called(row.models, call.model);
        row.unknown_parents += u64::from(!is_known);
        row.count(None, Phase::Pending);
        row.open.insert(call.key);
        row.ids.insert(call.id.clone(), call.key);
        row.threads.insert(call.thread.clone(), call.id.clone());
        if row.threads.len() > THREADS_MAX {
            row.threads.shift_remove_index(0);
        }
        if let Some(at) = row.expires_at.take() {
            self.expiring.remove(&(at, row_id));
        }
        let (tenant, id) = (&row.key.tenant, call.id.clone());
        self.call_names.add(tenant, id, (row_id, call.key));
        self.journal.note(Note::Moved(row_id, call.key));
        self.calls.insert(call);
        row_id
    }

    /// Takes figures of a call. Those of another attempt, and of calls that are not open, change nothing. Gives back
    /// what was charged.
    pub fn charge(&mut self, of: (CallKey, Attempt), usage: CallUsage, unit: Unit) -> Charge {
        let (key, attempt) = of;
        let Some(call) = self
            .calls
            .get_mut(key)
            .filter(|call| call.attempt == attempt)
        else {
            return Charge::default();
        };
        let (service, executor) = call.absorb(usage, unit);
        let row = self
            .rows
            .get_mut(&call.row)
            .expect("an open call has a row");
        row.grow(call, service);
        Charge { service, executor }
    }

    /// A call begins to wait.
    pub fn wait(&mut self, key: CallKey, reason: Reason, now: Micros) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if call.wait.since().is_some() {
            call.wait.change(reason, now);
            return;
        }
        call.wait.begin(reason, now);
        let row = self
            .rows
            .get_mut(&call.row)
            .expect("an open call has a row");
        row.wait_begun(now);
        row.count(Some(call.phase), Phase::Pending);
        if call.phase != Phase::Pending {
            self.journal.note(Note::Moved(row.id, key));
        }
        call.phase = Phase::Pending;
    }

    /// A call is in a batch, since `executor` before now.
    pub fn run(&mut self, key: CallKey, executor: Micros, now: Micros) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        let row = self
            .rows
            .get_mut(&call.row)
            .expect("an open call has a row");
        if let Some(since) = call.wait.since()
            && let Some(wait) = call.wait.end(now.saturating_sub(executor).max(since))
        {
            row.wait_ended(wait);
        }
        row.count(Some(call.phase), Phase::Running);
        if call.phase != Phase::Running {
            self.journal.note(Note::Moved(row.id, key));
        }
        call.phase = Phase::Running;
    }

    /// An attempt failed: what it used is forgotten; the wait goes on.
    pub fn drop_attempt(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        let path = call.path();
        let service = call.drop_attempt();
        let row = self
            .rows
            .get_mut(&call.row)
            .expect("an open call has a row");
        row.shrink(key, path, service);
        call.stage = Stage::Held;
    }

    /// A call ended for good.
    pub fn end(&mut self, key: CallKey, outcome: Outcome, now: Micros) -> Option<RowId> {
        let mut call = self.calls.remove(key)?;
        let row = self
            .rows
            .get_mut(&call.row)
            .expect("an open call has a row");
        if let Some(wait) = call.wait.end(now) {
            row.wait_ended(wait);
        }
        let phase = match outcome {
            Outcome::Completed => Phase::Completed,
            Outcome::Cancelled => Phase::Cancelled,
            Outcome::Failed => Phase::Failed,
        };
        row.count(Some(call.phase), phase);
        row.settle(&call);
        row.open.remove(&key);
        row.last_completion = Some(now);
        let id = row.id;
        let ended = Ended::new(call, phase, now);
        self.usage.count(row, &ended);
        self.journal.note(Note::Moved(id, key));
        if let Some(oldest) = row.ended.add(ended) {
            let tenant = &row.key.tenant;
            self.call_names.remove(tenant, &oldest.id, oldest.key);
            row.ids.remove(&oldest.id);
        }
        self.rest(id, now);
        Some(id)
    }

    /// Programs that ended since this was last asked.
    pub fn take_over(&mut self) -> Vec<Over> {
        std::mem::take(&mut self.over)
    }

    /// What ended calls used, of one tenant or of all: tenant, class and model with their sum. No tenant or no class: of those
    /// that came when there were too many.
    pub fn usage(
        &self,
        tenant: Option<&TenantId>,
    ) -> impl Iterator<Item = (Option<&TenantId>, Option<&ClassName>, &ModelName, &Used)> {
        self.usage.sums(tenant)
    }

    /// From now on changes are noted for [`Self::take_notes`], or are not.
    pub fn keep_notes(&mut self, are_kept: bool) {
        self.journal.keep(are_kept);
    }

    /// What changed since this was last asked.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.journal.take()
    }

    /// Threads that end in a new call: those whose last calls it names as parents, and that are not its own.
    pub(crate) fn joined_by(&self, call: &Call) -> Vec<ThreadId> {
        let (Parents::Named(parents), Some(row)) = (&call.parents, self.rows.get(&call.row)) else {
            return Vec::new();
        };
        let thread = |parent: &CallId| {
            let ended = row.ended.get(*row.ids.get(parent)?)?;
            let is_last = row.last_call(&ended.thread) == Some(parent);
            (is_last && ended.thread != call.thread).then(|| ended.thread.clone())
        };
        parents.iter().filter_map(thread).collect()
    }

    /// Whether all sums, sets and names agree.
    ///
    /// # Panics
    /// When they do not.
    pub fn check_integrity(&self) {
        for row in self.rows.values() {
            let open = row.open.iter().map(|key| self.calls.get(*key));
            let open: Vec<&Call> = open.map(|call| call.expect("it is open")).collect();
            assert!(open.iter().all(|call| call.row == row.id));
            row.check_integrity(&open);
            if let Some(at) = row.expires_at {
                assert!(open.is_empty() && self.expiring.contains(&(at, row.id)));
            }
        }
        self.calls.check_integrity();
        let open: usize = self.rows.values().map(|row| row.open.len()).sum();
        assert_eq!(open, self.calls.len(), "every open call is in one row");
        let expiring = self
            .rows
            .values()
            .filter(|row| row.expires_at.is_some())
            .count();
        assert_eq!(expiring, self.expiring.len(), "rows that expire");
        let live = self.rows.values().filter(|row| !row.state().is_end());
        let counted: u32 = self.live_of.values().sum();
        assert_eq!(
            counted as usize,
            live.clone().count(),
            "live programs of tenants"
        );
        self.models.check_integrity(live.map(|row| row.models));
        let rows = &self.rows;
        self.children
            .check_integrity(|row| rows.get(&row).is_some_and(|row| !row.state().is_end()));
    }
}

/// A call that the table knows.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// It is held or at an engine.
    Open(&'a Call),
    /// It ended lately.
    Ended(&'a Ended),
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Programs that have not ended.
    pub live_programs: usize,
    /// Programs that ended and can be looked at.
    pub ended_programs: usize,
    /// Calls that are held or at engines.
    pub open_calls: usize,
    /// Calls that a name leads to: open ones, and those that ended of all these programs.
    pub known_calls: usize,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// Service charged to the row.
    pub service: Micros,
    /// Executor time since the report before.
    pub executor: Micros,
}
