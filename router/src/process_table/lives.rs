//! How programs begin, rest and end. Owns: their lives' lengths, and what is told of one that is over.

use std::collections::BTreeSet;

use lps_api::ids::{ClassName, EngineId, TenantId};
use lps_api::quantity::Micros;

use super::ProcessTable;
use super::children;
use super::journal::Note;
use super::reason::ProgramState;
use super::row::{Birth, Row, RowId};
use crate::message::{CallKey, IdentitySource, ProgramKey};

/// How long a program lives without a call that nobody opened by name.
pub const IDLE_LIMIT: Micros = Micros::from_secs(5 * 60);
/// How long a program lives without a call that was opened by name, where its client does not say.
pub const IDLE_LIMIT_OPENED: Micros = Micros::from_secs(30 * 60);
/// Live programs, at most: beyond it the one that would expire next does so early.
const LIVE_ROWS_MAX: usize = 65_536;
/// A client's wish to open a program.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Which program.
    pub program: ProgramKey,
    /// Its class.
    pub class: ClassName,
    /// How long it lives without a call.
    pub idle_limit: Micros,
    /// The program that waits for it, if one does: its calls are that one's.
    pub blocks: Option<ProgramKey>,
}

/// A program that ended.
#[derive(Debug, Clone)]
pub struct Over {
    /// Its row, which is kept for a while.
    pub row: RowId,
    /// Its name.
    pub program: ProgramKey,
    /// What programs of its kind are called, and by whom.
    pub tenant_class: (TenantId, ClassName),
    /// The models that it called, as the table counts them.
    pub(super) models: u64,
    /// What its calls had.
    pub service: Micros,
    /// Nobody said that it was a program: it was one call.
    pub is_single: bool,
    /// Engines that hold its context.
    pub homes: BTreeSet<EngineId>,
}

impl ProcessTable {
    /// Opens a program, or renews it.
    pub fn open(&mut self, opening: Opening, now: Micros) {
        let Opening {
            program,
            class,
            idle_limit,
            blocks,
        } = opening;
        let parent = blocks.filter(|_| self.live(&program).is_none());
        if let Some(parent) = parent.and_then(|parent| self.live(&parent)) {
            let parent = (parent.id, parent.key.clone());
            if self.children.add(program.clone(), parent) {
                return;
            }
        }
        if self.children.is_child(&program) {
            return;
        }
        let id = match self.live(&program) {
            Some(row) => row.id,
            None => self.begin(&program, class, IdentitySource::Body, now),
        };
        if let Some(row) = self.rows.get_mut(&id) {
            row.idle_limit = idle_limit;
        }
        self.rest(id, now);
    }

    /// A program takes no new calls. Gives back its open ones. A child's end leaves its parent as it is.
    pub fn close(&mut self, program: &ProgramKey, now: Micros) -> Vec<CallKey> {
        if self.children.is_child(program) {
            let row = self.live(program);
            let open = row.into_iter().flat_map(Row::open);
            let is_its = |key: &CallKey| {
                let call = self.calls.get(*key);
                call.is_some_and(|call| children::is_of(&program.program, &call.thread))
            };
            let open = open.filter(is_its).collect();
            self.children.remove(program);
            return open;
        }
        let Some(id) = self.live(program).map(|row| row.id) else {
            return Vec::new();
        };
        let row = self.rows.get_mut(&id).expect("it is live");
        row.end = Some(ProgramState::Ended);
        let open: Vec<CallKey> = row.open.iter().copied().collect();
        self.rest(id, now);
        open
    }

    /// Ends what had no call for too long.
    pub fn expire(&mut self, now: Micros) {
        while let Some((at, id)) = self.expiring.first().copied() {
            let live = self.rows.len() - self.kept.rows();
            if at > now && live <= LIVE_ROWS_MAX {
                return;
            }
            self.expiring.remove(&(at, id));
            if let Some(row) = self.rows.get_mut(&id) {
                row.expires_at = None;
                row.end = Some(ProgramState::Expired);
            }
            self.finish(id);
        }
    }

    /// When the next program expires.
    pub fn next_expiry(&self) -> Option<Micros> {
        self.expiring.first().map(|(at, _)| *at)
    }

    pub(super) fn begin(
        &mut self,
        program: &ProgramKey,
        class: ClassName,
        source: IdentitySource,
        now: Micros,
    ) -> RowId {
        let idle_limit = if source == IdentitySource::Single {
            Micros::ZERO
        } else {
            IDLE_LIMIT
        };
        if let Some(id) = self.go_on(program, source, idle_limit) {
            return id;
        }
        self.last_row += 1;
        let id = RowId(self.last_row);
        let generation = self.last(program).map_or(1, |row| row.generation + 1);
        *self.live_of.entry(program.tenant.clone()).or_default() += 1;
        let birth = Birth {
            key: program.clone(),
            class,
            source,
            idle_limit,
            generation,
        };
        self.rows.insert(id, Box::new(Row::new(id, birth, now)));
        self.names.insert(program.clone(), id);
        self.journal.note(Note::Began(id));
        id
    }

    /// A program that ended with its only call, because nobody said that it was more, goes on with all that it had.
    fn go_on(
        &mut self,
        program: &ProgramKey,
        source: IdentitySource,
        idle_limit: Micros,
    ) -> Option<RowId> {
        let id = *self.names.get(program)?;
        let row = self.rows.get_mut(&id)?;
        let was_single = row.source == IdentitySource::Single && row.end.is_some();
        if !was_single || !row.open.is_empty() {
            return None;
        }
        (row.end, row.source, row.idle_limit) = (None, source, idle_limit);
        self.over.retain(|over| over.row != id);
        self.kept.remove(id);
        self.models.again(row.models);
        *self.live_of.entry(program.tenant.clone()).or_default() += 1;
        self.journal.note(Note::Began(id));
        Some(id)
    }

    /// A row may have no open call: then it ends, or begins to expire.
    pub(super) fn rest(&mut self, id: RowId, now: Micros) {
        let Some(row) = self.rows.get_mut(&id).filter(|row| row.open.is_empty()) else {
            return;
        };
        row.rest();
        if let Some(at) = row.expires_at.take() {
            self.expiring.remove(&(at, id));
        }
        if row.idle_limit == Micros::ZERO {
            row.end = row.end.or(Some(ProgramState::Ended));
        }
        if row.end.is_some() {
            self.finish(id);
            return;
        }
        let at = now.saturating_add(row.idle_limit);
        row.expires_at = Some(at);
        self.expiring.insert((at, id));
    }

    /// A row has ended: it is kept for a while to be looked at.
    fn finish(&mut self, id: RowId) {
        let Some(row) = self.rows.get(&id) else {
            return;
        };
        self.children.over(id);
        self.journal.note(Note::Ended(id));
        if let Some(live) = self.live_of.get_mut(&row.key.tenant) {
            *live -= 1;
            if *live == 0 {
                self.live_of.remove(&row.key.tenant);
            }
        }
        self.over.push(Over {
            row: id,
            program: row.key.clone(),
            tenant_class: (row.key.tenant.clone(), row.class.clone()),
            models: row.models,
            service: row.service_total(),
            is_single: row.source == IdentitySource::Single,
            homes: row
                .stays
                .homes()
                .map(|(_, engine)| engine.clone())
                .collect(),
        });
        self.models.ended(row.models);
        self.kept.add(id, row.ended.len());
    }

    /// Forgets programs that ended, the oldest first, where there are too many of them.
    pub fn forget_ended(&mut self) {
        while let Some(evicted) = self.kept.evict() {
            let Some(row) = self.rows.remove(&evicted) else {
                continue;
            };
            for call in row.ended.iter() {
                let tenant = &row.key.tenant;
                self.call_names.remove(tenant, &call.id, call.key);
            }
            if self.names.get(&row.key) == Some(&evicted) {
                self.names.remove(&row.key);
            }
        }
    }
}
