//! The working set of one engine: the programs whose contexts it keeps. Owns: what each of them takes there, and who
//! goes first where room lacks. It must not know queues, policies and other engines.

use std::collections::{BTreeMap, BTreeSet};

use lps_api::ids::ThreadId;
use lps_api::quantity::Micros;

use crate::message::CallKey;
use crate::process_table::{ClassId, RowId};

/// Threads of one program that are remembered at an engine.
const THREADS_MAX: usize = 1_024;

/// What a program brings to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    /// Tokens of a call: its prompt and what it is expected to produce.
    pub(super) tokens: u64,
    /// What programs of its kind are called.
    pub(super) class: ClassId,
    /// Tokens at the beginning that all programs of the class share: they take room once.
    pub(super) shared: u64,
}

impl Context {
    /// What it takes wherever its class is.
    pub(super) fn own(&self) -> u64 {
        self.tokens.saturating_sub(self.shared)
    }
}

/// One program there.
#[derive(Debug)]
struct Resident {
    class: ClassId,
    shared: u64,
    /// Calls there, with what is booked for each.
    calls: Vec<(CallKey, u64)>,
    /// What the last calls of threads left that have none there now.
    threads: Vec<(ThreadId, u64)>,
    /// The sum of both, without what is shared.
    own: u64,
    /// Which admission it was.
    admitted: u64,
    /// While it is between two calls: when its lease ends.
    lease_end: Option<Micros>,
}

impl Resident {
    fn own_of(&self, tokens: u64) -> u64 {
        tokens.saturating_sub(self.shared)
    }
}

/// Programs whose contexts an engine keeps.
#[derive(Debug, Default)]
pub(super) struct WorkingSet {
    residents: BTreeMap<RowId, Resident>,
    own: u64,
    /// By class: how many residents share a beginning of so many tokens.
    prefixes: BTreeMap<ClassId, BTreeMap<u64, u32>>,
    prefix: u64,
    /// Residents between two calls, by the end of their leases.
    leases: BTreeSet<(Micros, RowId)>,
    /// Leases that end by then are over.
    now: Micros,
    /// What those take whose leases are over.
    over: u64,
    /// The same, by what they take.
    quiet: BTreeSet<(u64, RowId)>,
    admissions: u64,
}

impl WorkingSet {
    /// Tokens that all of them take.
    pub(super) fn used(&self) -> u64 {
        self.own + self.prefix
    }

    pub(super) fn holds(&self, row: RowId) -> bool {
        self.residents.contains_key(&row)
    }

    /// Programs there.
    pub(super) fn programs(&self) -> u32 {
        self.residents.len() as u32
    }

    /// Whether a resident has a call, here or held.
    fn is_busy(&self) -> bool {
        self.residents.len() > self.leases.len()
    }

    /// Time goes on: leases that end by now are over.
    pub(super) fn pass(&mut self, now: Micros) {
        if now <= self.now {
            return;
        }
        let ended = self.later_leases().take_while(|(end, _)| *end <= now);
        let ended: u64 = ended.map(|(_, row)| self.residents[row].own).sum();
        (self.now, self.over) = (now, self.over + ended);
    }

    /// Leases that are not over.
    fn later_leases(&self) -> impl Iterator<Item = &(Micros, RowId)> {
        let later = (Micros(self.now.0.saturating_add(1)), RowId(0))..;
        self.leases.range(later)
    }

    /// When the next lease is over.
    pub(super) fn next_lease_end(&self) -> Option<Micros> {
        self.later_leases().next().map(|(end, _)| *end)
    }

    /// No program finds more than this here.
    pub(super) fn longest_shared(&self) -> u64 {
        self.prefix
    }

    /// What a program that is not there would take.
    pub(super) fn need(&self, context: Context) -> u64 {
        if context.shared == 0 {
            return context.tokens;
        }
        let known = self.longest_prefix(context.class);
        context.tokens.saturating_sub(context.shared) + context.shared.saturating_sub(known)
    }

    fn longest_prefix(&self, class: ClassId) -> u64 {
        let lengths = self.prefixes.get(&class);
        let longest = lengths.and_then(|lengths| lengths.last_key_value());
        longest.map_or(0, |(length, _)| *length)
    }

    /// The most that a program could take below `most` when all go whose leases are over.
    pub(super) fn room(&self, most: u64) -> Option<u64> {
        most.checked_sub(self.used() - self.over)
    }

    /// Whether a program that is too large for company may come: those who are there have no calls.
    pub(super) fn is_free_for_one(&self) -> bool {
        !self.is_busy()
    }

    /// Makes room for a program, those first whose leases ended first. Gives back who has to go. Whoever goes may take
    /// along the beginning that the program would have shared.
    pub(super) fn make_room(
        &mut self,
        context: Context,
        (mark, kv_tokens): (u64, u64),
    ) -> Vec<RowId> {
        let mut gone = Vec::new();
        while self.used() + self.need(context).min(kv_tokens) > mark
            && let Some((_, row)) = self
                .leases
                .first()
                .copied()
                .filter(|(end, _)| *end <= self.now)
        {
            self.remove(row);
            gone.push(row);
        }
        gone
    }

    /// Sends away all who have no call, so that one that is too large may come.
    pub(super) fn clear_quiet(&mut self) -> Vec<RowId> {
        let quiet: Vec<RowId> = self.leases.iter().map(|(_, row)| *row).collect();
        for row in &quiet {
            self.remove(*row);
        }
        quiet
    }

    /// Growth beyond the engine's pool: those between two calls go, the smallest first, since they cost least to
    /// compute again; then those whose calls are all held elsewhere, the last admitted first.
    pub(super) fn shrink(&mut self, most: u64, spared: RowId) -> Vec<RowId> {
        let mut gone = Vec::new();
        while self.used() > most {
            let quiet = self.quiet.iter().map(|(_, row)| *row);
            let idle = || {
                let idle = self.residents.iter().filter(|(_, it)| it.calls.is_empty());
                let idle = idle.filter(|(row, _)| **row != spared);
                idle.max_by_key(|(_, it)| it.admitted).map(|(row, _)| *row)
            };
            let Some(row) = quiet.clone().find(|row| *row != spared).or_else(idle) else {
                break;
            };
            self.remove(row);
            gone.push(row);
        }
        gone
    }

    /// A program comes, without a call yet.
    pub(super) fn admit(&mut self, row: RowId, context: Context) {
        self.admissions += 1;
        let resident = Resident {
            class: context.class,
            shared: context.shared,
            calls: Vec::new(),
            threads: Vec::new(),
            own: 0,
            admitted: self.admissions,
            lease_end: None,
        };
        let lengths = self.prefixes.entry(context.class).or_default();
        let before = lengths.last_key_value().map_or(0, |(length, _)| *length);
        *lengths.entry(context.shared).or_default() += 1;
        self.prefix += context.shared.saturating_sub(before);
        let earlier = self.residents.insert(row, resident);
        assert!(earlier.is_none(), "a program is admitted once");
    }

    /// A call comes: it takes over what its thread had.
    pub(super) fn sit(&mut self, row: RowId, (call, thread): (CallKey, &ThreadId), tokens: u64) {
        self.forget_thread(row, thread);
        self.change(row, |it| it.calls.push((call, tokens)));
    }

    /// A call takes more than was booked for it.
    pub(super) fn grow(&mut self, row: RowId, call: CallKey, tokens: u64) {
        self.change(row, |it| {
            let booked = it.calls.iter_mut().find(|(key, _)| *key == call);
            if let Some((_, booked)) = booked {
                *booked = tokens.max(*booked);
            }
        });
    }

    /// A call leaves, and its thread keeps so much.
    pub(super) fn stand_up(&mut self, row: RowId, call: CallKey, left: (ThreadId, u64)) {
        let is_here = self
            .residents
            .get(&row)
            .is_some_and(|it| it.calls.iter().any(|(key, _)| *key == call));
        if is_here {
            self.change(row, |it| {
                it.calls.retain(|(key, _)| *key != call);
                it.threads.retain(|(thread, _)| *thread != left.0);
                it.threads.push(left);
                if it.threads.len() > THREADS_MAX {
                    it.threads.remove(0);
                }
            });
        }
    }

    /// A thread goes on elsewhere, or not at all. Gives back whether its program has nothing left here.
    pub(super) fn forget_thread(&mut self, row: RowId, thread: &ThreadId) -> bool {
        self.change(row, |it| it.threads.retain(|(other, _)| other != thread));
        let resident = self.residents.get(&row);
        resident.is_some_and(|it| it.calls.is_empty() && it.threads.is_empty())
    }

    /// The program is between two calls: it may stay until then at least.
    pub(super) fn rest(&mut self, row: RowId, lease_end: Micros) {
        self.wake(row);
        if let Some(resident) = self.residents.get_mut(&row) {
            resident.lease_end = Some(lease_end);
            self.leases.insert((lease_end, row));
            self.quiet.insert((resident.own, row));
            if lease_end <= self.now {
                self.over += resident.own;
            }
        }
    }

    /// The program calls.
    pub(super) fn wake(&mut self, row: RowId) {
        if let Some(resident) = self.residents.get_mut(&row)
            && let Some(end) = resident.lease_end.take()
        {
            self.leases.remove(&(end, row));
            self.quiet.remove(&(resident.own, row));
            if end <= self.now {
                self.over -= resident.own;
            }
        }
    }

    /// The program keeps nothing here any more; whether it did.
    pub(super) fn remove(&mut self, row: RowId) -> bool {
        self.wake(row);
        let Some(resident) = self.residents.remove(&row) else {
            return false;
        };
        self.own -= resident.own;
        let before = self.longest_prefix(resident.class);
        if let Some(lengths) = self.prefixes.get_mut(&resident.class) {
            if let Some(count) = lengths.get_mut(&resident.shared) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&resident.shared);
                }
            }
            if lengths.is_empty() {
                self.prefixes.remove(&resident.class);
            }
        }
        self.prefix -= before - self.longest_prefix(resident.class);
        true
    }

    fn change(&mut self, row: RowId, change: impl FnOnce(&mut Resident)) {
        let Some(resident) = self.residents.get_mut(&row) else {
            return;
        };
        let before = resident.own;
        change(resident);
        let calls = resident.calls.iter().map(|(_, tokens)| *tokens);
        let threads = resident.threads.iter().map(|(_, tokens)| *tokens);
        let own = calls.chain(threads).map(|tokens| resident.own_of(tokens));
        resident.own = own.sum();
        self.own = self.own - before + resident.own;
        if let Some(end) = resident.lease_end {
            self.quiet.remove(&(before, row));
            self.quiet.insert((resident.own, row));
            if end <= self.now {
                self.over = self.over - before + resident.own;
            }
        }
    }

    /// Whether all sums and sets agree.
    ///
    /// # Panics
    /// When they do not.
    pub(super) fn check_integrity(&self) {
        let own: u64 = self.residents.values().map(|it| it.own).sum();
        assert_eq!(self.own, own, "tokens of residents");
        let quiet = self
            .residents
            .iter()
            .filter(|(_, it)| it.lease_end.is_some());
        let quiet: BTreeSet<_> = quiet.map(|(row, it)| (it.own, *row)).collect();
        assert_eq!(self.quiet, quiet, "residents between two calls");
        assert_eq!(self.leases.len(), quiet.len(), "leases");
        let over = self.leases.iter().filter(|(end, _)| *end <= self.now);
        let over: u64 = over.map(|(_, row)| self.residents[row].own).sum();
        assert_eq!(self.over, over, "tokens of those whose leases are over");
        let prefix: u64 = self
            .prefixes
            .values()
            .filter_map(|lengths| lengths.last_key_value())
            .map(|(length, _)| *length)
            .sum();
        assert_eq!(self.prefix, prefix, "shared beginnings");
    }
}

#[cfg(test)]
mod tests;
