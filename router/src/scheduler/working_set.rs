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

    /// When the first lease ends, or ended.
    pub(super) fn first_lease_end(&self) -> Option<Micros> {
        self.leases.first().map(|(at, _)| *at)
    }

    /// The first lease that ends later.
    pub(super) fn next_lease_end(&self, now: Micros) -> Option<Micros> {
        let later = (Micros(now.0.saturating_add(1)), RowId(0))..;
        self.leases.range(later).next().map(|(at, _)| *at)
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

    /// Whether so much can be had below `most`: as it is, or when those go whose leases are over.
    pub(super) fn has_room(&self, need: u64, most: u64, now: Micros) -> bool {
        let mut used = self.used() + need;
        for (end, row) in &self.leases {
            if used <= most || *end > now {
                break;
            }
            used -= self.residents[row].own;
        }
        used <= most
    }

    /// The most that a program could take below `most` when all go whose leases are over.
    pub(super) fn room(&self, most: u64, now: Micros) -> Option<u64> {
        let over = self.leases.iter().take_while(|(end, _)| *end <= now);
        let over: u64 = over.map(|(_, row)| self.residents[row].own).sum();
        most.checked_sub(self.used() - over)
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
        now: Micros,
    ) -> Vec<RowId> {
        let mut gone = Vec::new();
        while self.used() + self.need(context).min(kv_tokens) > mark
            && let Some((_, row)) = self.leases.first().copied().filter(|(end, _)| *end <= now)
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
        }
    }

    /// The program calls.
    pub(super) fn wake(&mut self, row: RowId) {
        if let Some(resident) = self.residents.get_mut(&row)
            && let Some(end) = resident.lease_end.take()
        {
            self.leases.remove(&(end, row));
            self.quiet.remove(&(resident.own, row));
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
        if resident.lease_end.is_some() {
            self.quiet.remove(&(before, row));
            self.quiet.insert((resident.own, row));
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
mod tests {
    use super::*;

    const CLASS: ClassId = ClassId(0);

    fn context(tokens: u64, shared: u64) -> Context {
        Context {
            tokens,
            class: CLASS,
            shared,
        }
    }

    /// A program that came with a call and left it, so that it is between two calls.
    fn rested(set: &mut WorkingSet, row: u64, tokens: u64, lease_end: u64) {
        let (row, call) = (RowId(row), CallKey(row));
        set.admit(row, context(tokens, 0));
        set.sit(row, (call, &ThreadId::main()), tokens);
        set.stand_up(row, call, (ThreadId::main(), tokens));
        set.rest(row, Micros(lease_end));
        set.check_integrity();
    }

    #[test]
    fn a_shared_beginning_counts_once() {
        let mut set = WorkingSet::default();
        for row in 1..=3 {
            let need = set.need(context(100, 60));
            assert_eq!(need, if row == 1 { 100 } else { 40 });
            set.admit(RowId(row), context(100, 60));
            set.sit(RowId(row), (CallKey(row), &ThreadId::main()), 100);
            set.check_integrity();
        }
        assert_eq!(set.used(), 60 + 3 * 40);
        for row in 1..=3 {
            assert!(set.remove(RowId(row)));
            set.check_integrity();
        }
        assert_eq!(set.used(), 0);
        assert!(!set.remove(RowId(1)));
    }

    #[test]
    fn room_comes_from_leases_that_are_over_the_oldest_first() {
        let mut set = WorkingSet::default();
        rested(&mut set, 1, 40, 30);
        rested(&mut set, 2, 40, 10);
        assert!(!set.has_room(50, 100, Micros(9)));
        assert!(set.has_room(50, 100, Micros(10)));
        assert_eq!(
            set.make_room(context(50, 0), (100, 100), Micros(30)),
            [RowId(2)]
        );
        assert_eq!(
            (set.used(), set.next_lease_end(Micros(29))),
            (40, Some(Micros(30)))
        );
    }

    #[test]
    fn who_goes_may_take_the_shared_beginning_along() {
        let mut set = WorkingSet::default();
        for row in 1..=2 {
            set.admit(RowId(row), context(60, if row == 1 { 50 } else { 0 }));
            set.sit(RowId(row), (CallKey(row), &ThreadId::main()), 60);
            set.stand_up(RowId(row), CallKey(row), (ThreadId::main(), 60));
            set.rest(RowId(row), Micros(row));
        }
        assert_eq!(set.used(), 120, "50 are shared");
        let newcomer = context(80, 50);
        assert!(set.has_room(set.need(newcomer), 90, Micros(9)));
        assert_eq!(
            set.make_room(newcomer, (90, 120), Micros(9)),
            [RowId(1), RowId(2)]
        );
        set.admit(RowId(3), newcomer);
        set.sit(RowId(3), (CallKey(3), &ThreadId::main()), 80);
        assert_eq!(set.used(), 80);
    }

    #[test]
    fn growth_sends_the_smallest_quiet_one_and_then_the_last_admitted_away() {
        let mut set = WorkingSet::default();
        rested(&mut set, 1, 30, 1_000);
        rested(&mut set, 2, 20, 1_000);
        for row in 3..=5 {
            set.admit(RowId(row), context(0, 0));
        }
        set.sit(RowId(3), (CallKey(3), &ThreadId::main()), 50);
        set.grow(RowId(3), CallKey(3), 70);
        set.grow(RowId(3), CallKey(3), 60);
        assert_eq!(set.used(), 120);
        assert_eq!(set.shrink(100, RowId(3)), [RowId(2)]);
        assert_eq!(
            set.shrink(50, RowId(3)),
            [RowId(1), RowId(5), RowId(4)],
            "a stream in flight stays"
        );
        assert_eq!(set.used(), 70);
    }

    proptest::proptest! {
        /// Who has a call there stays, whatever else happens, and what can be freed is freed.
        #[test]
        fn a_program_with_a_call_stays(steps in proptest::collection::vec((0_u64..5, 0_u8..4, 1_u64..60), 1..60)) {
            let (mut set, thread) = (WorkingSet::default(), ThreadId::main());
            for (row, what, tokens) in steps {
                let (row, call) = (RowId(row), CallKey(row));
                let is_there = set.holds(row);
                let has_call = |set: &WorkingSet, row| set.residents.get(&row).is_some_and(|it| !it.calls.is_empty());
                match what {
                    0 if !is_there => set.admit(row, context(tokens, tokens / 2)),
                    1 if is_there && !has_call(&set, row) => {
                        set.wake(row);
                        set.sit(row, (call, &thread), tokens);
                    }
                    2 if has_call(&set, row) => {
                        set.stand_up(row, call, (thread.clone(), tokens));
                        set.rest(row, Micros(tokens));
                    }
                    _ => set.grow(row, call, tokens * 2),
                }
                let busy: Vec<RowId> = (0..5).map(RowId).filter(|row| has_call(&set, *row)).collect();
                set.shrink(100, row);
                assert!(busy.iter().all(|row| set.holds(*row)));
                assert!(set.used() <= 100 || set.programs() as usize <= busy.len() + 1);
                set.check_integrity();
            }
        }
    }

    #[test]
    fn a_thread_that_goes_on_is_not_counted_twice() {
        let mut set = WorkingSet::default();
        rested(&mut set, 1, 40, 10);
        set.wake(RowId(1));
        set.sit(RowId(1), (CallKey(9), &ThreadId::main()), 55);
        assert_eq!((set.used(), set.programs()), (55, 1));
        assert!(!set.is_free_for_one());
        set.stand_up(RowId(1), CallKey(9), (ThreadId::main(), 50));
        assert!(set.forget_thread(RowId(1), &ThreadId::main()));
        assert_eq!(set.used(), 0);
        set.check_integrity();
    }
}
