//! What held calls wait for. Owns: the lines in which they stand, so that a look meets only calls that what changed can
//! help: those for anywhere, and for each engine those of programs whose home it is; in both, calls of admitted
//! programs apart from those whose programs have yet to be admitted. It must not know who fits.

use std::collections::BTreeMap;

use lps_api::quantity::Micros;

use super::pool::{Member, Pool};
use crate::message::CallKey;
use crate::process_table::{Call, Line, ProcessTable, Reason, RowId, Scan, Stage};

/// Calls of one line: tenant by tenant, in the order of the scan.
pub(super) type Queue = BTreeMap<(u32, Scan), CallKey>;

/// Calls of a program that are told at once that it may have another slot, at most. Only where so many of them cannot go
/// does one behind them that could have to wait for the next event.
const TOLD_MAX: u32 = 32;

/// Before all places.
const FIRST: Scan = Scan {
    queue: 0,
    urgency: Micros::ZERO,
    program: RowId(0),
    turn: 0,
    rank: i64::MIN,
};

/// What distinguishes calls that wait for the same engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Their programs are admitted.
    Flow,
    /// Their programs wait to be admitted.
    Admission,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Flow, Self::Admission];

    const fn of(line: &Line) -> Self {
        match line {
            Line::Admission { .. } => Self::Admission,
            Line::Anywhere | Line::Home(_) | Line::Limited => Self::Flow,
        }
    }
}

/// The lines of calls that wait for one engine, or for any.
#[derive(Debug, Default)]
pub(super) struct Lines {
    queues: [Queue; Kind::ALL.len()],
}

impl Lines {
    pub(super) fn of(&self, kind: Kind) -> &Queue {
        &self.queues[kind as usize]
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Queue {
        &mut self.queues[kind as usize]
    }

    fn clear(&mut self) {
        self.queues.iter_mut().for_each(Queue::clear);
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }
}

/// Groups of held calls whose ages and sizes are known apart.
pub(super) const GROUPS: usize = 3;

/// Which group a line belongs to: flowing, to be admitted, limited.
pub(super) const fn group(line: &Line) -> usize {
    match line {
        Line::Anywhere | Line::Home(_) => 0,
        Line::Admission { .. } => 1,
        Line::Limited => 2,
    }
}

/// The first call of a tenant behind a place.
pub(super) fn first(queue: &Queue, tenant: u32, after: Option<Scan>) -> Option<(Scan, CallKey)> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let begin = match after {
        Some(scan) => Excluded((tenant, scan)),
        None => Included((tenant, FIRST)),
    };
    let next = queue.range((begin, Unbounded)).next();
    next.filter(|((of, _), _)| *of == tenant)
        .map(|((_, scan), key)| (*scan, *key))
}

impl Pool {
    /// The line that a held call belongs to now, and whether it may go elsewhere, too.
    fn line_of(&self, call: &Call, table: &ProcessTable, now: Micros) -> (Line, bool) {
        if self.is_limited(call.row) {
            return (Line::Limited, false);
        }
        let Some(row) = table.row(call.row) else {
            return (Line::Anywhere, false);
        };
        let home = self.home(call, row).map(|(_, id, engine)| (id, engine));
        let is_admitted = match &home {
            Some((_, engine)) => engine.set.holds(row.id),
            None => self.is_resident(row.id),
        };
        let roams = home.is_some() && self.may_move(call, now);
        let home = home.map(|(id, _)| id.clone());
        let line = match home {
            home if self.settings.working_set && !is_admitted => Line::Admission { home },
            Some(home) => Line::Home(home),
            None => Line::Anywhere,
        };
        (line, roams)
    }

    fn queue_mut(&mut self, line: &Line) -> Option<&mut Queue> {
        let home = match line {
            Line::Anywhere => None,
            Line::Home(home) => Some(home),
            Line::Admission { home } => home.as_ref(),
            Line::Limited => return None,
        };
        let lines = match home {
            None => &mut self.lines,
            Some(home) => &mut self.engines.get_mut(home)?.lines,
        };
        Some(lines.of_mut(Kind::of(line)))
    }

    /// A held call takes its place in the line that it belongs to.
    pub(super) fn line_up(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table.call(key) else { return };
        let (line, roams) = self.line_of(call, table, now);
        let (row, place) = (call.row, (call.tenant(), call.place.scan));
        let group = group(&line);
        self.ages[group].insert((call.ready_at, key));
        *self.sizes[group].entry(call.size()).or_default() += 1;
        if roams {
            self.roaming.of_mut(Kind::of(&line)).insert(place, key);
        }
        match self.queue_mut(&line) {
            Some(queue) => drop(queue.insert(place, key)),
            None => {
                let is_long = self.is_long(call);
                self.limited.insert((row, is_long, place.1), key);
                self.count_member(row, |member| member.limited += 1);
            }
        }
        if let Some(call) = table.call_mut(key) {
            (call.place.line, call.place.roams) = (line, roams);
        }
    }

    /// A call stands in no line any more.
    pub(super) fn step_out(&mut self, call: &Call) {
        let place = (call.tenant(), call.place.scan);
        let group = group(&call.place.line);
        self.ages[group].remove(&(call.ready_at, call.key));
        if let Some(count) = self.sizes[group].get_mut(&call.size()) {
            *count -= 1;
            if *count == 0 {
                self.sizes[group].remove(&call.size());
            }
        }
        if call.place.roams {
            let kind = Kind::of(&call.place.line);
            self.roaming.of_mut(kind).remove(&place);
        }
        match self.queue_mut(&call.place.line) {
            Some(queue) => drop(queue.remove(&place)),
            None => {
                let is_long = self.is_long(call);
                self.limited.remove(&(call.row, is_long, place.1));
                self.count_member(call.row, |member| member.limited -= 1);
            }
        }
    }

    /// A held call stands in the line that it belongs to. Of those that wait for a slot of their program only the first
    /// ones are told that there is one.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn check_line(&self, call: &Call, table: &ProcessTable, now: Micros) {
        let (line, _) = self.line_of(call, table, now);
        let is_behind = || {
            let told = self.members.get(&call.row).map_or(0, Member::told);
            call.place.line == Line::Limited && told > 0 && self.half_told.contains(&call.row)
        };
        assert!(
            call.place.line == line || is_behind(),
            "{:?} stands in {:?} and belongs to {line:?}",
            call.key,
            call.place.line
        );
    }

    /// Whether a held call stands in another line than it belongs to now.
    pub(super) fn is_astray(&self, key: CallKey, table: &ProcessTable, now: Micros) -> bool {
        let held = table.call(key).filter(|call| call.stage == Stage::Held);
        held.is_some_and(|call| {
            let (line, roams) = self.line_of(call, table, now);
            (&line, roams) != (&call.place.line, call.place.roams)
        })
    }

    /// What a held call waits for may have changed.
    pub(super) fn realign(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table.call(key).filter(|call| call.stage == Stage::Held) else {
            return;
        };
        let (line, roams) = self.line_of(call, table, now);
        if (&line, roams) == (&call.place.line, call.place.roams) {
            return;
        }
        let was_limited = call.place.line == Line::Limited;
        let is_limited = line == Line::Limited;
        self.step_out(call);
        self.line_up(key, table, now);
        if is_limited {
            table.wait(key, Reason::ProgramLimit, now);
        } else if was_limited {
            table.wait(key, self.reason_to_hold(), now);
            self.fresh.push(key);
        }
    }

    /// The same for all held calls of a program.
    pub(super) fn realign_program(&mut self, row: RowId, table: &mut ProcessTable, now: Micros) {
        if self.members.get(&row).is_none_or(|member| member.held == 0) {
            return;
        }
        let Some(found) = table.row(row) else { return };
        let open: Vec<CallKey> = found.open().collect();
        for key in open {
            // Who waits for a slot of the program is told in turn.
            let is_ours =
                |call: &Call| call.model == self.model && call.place.line != Line::Limited;
            if table.call(key).is_some_and(is_ours) {
                self.realign(key, table, now);
            }
        }
    }

    /// A program may have another slot: the first of its calls that wait for one are told, the short one, which may go
    /// anywhere, and the long one, which may have to wait for its home.
    pub(super) fn unlimit(&mut self, row: RowId, table: &mut ProcessTable, now: Micros) {
        if self.limited.is_empty() || self.is_limited(row) {
            return;
        }
        for is_long in [false, true] {
            self.tell_first(row, is_long, (table, now));
        }
        if self.has_limited(row) {
            self.half_told.insert(row);
        }
    }

    /// Those who were told did not go, and others behind them may: more are told, up to a bound. Whether any was.
    pub(super) fn tell_more(&mut self, table: &mut ProcessTable, now: Micros) -> bool {
        let mut is_any_told = false;
        for row in std::mem::take(&mut self.half_told) {
            let is_over = |pool: &Self| pool.is_limited(row) || !pool.has_limited(row);
            let told = |pool: &Self| pool.members.get(&row).map_or(0, Member::told);
            while !is_over(self) && told(self) < TOLD_MAX {
                for is_long in [false, true] {
                    is_any_told |= self.tell_first(row, is_long, (table, now));
                }
            }
            if !is_over(self) {
                self.half_told.insert(row);
            }
        }
        is_any_told
    }

    /// The first of a program's short or long calls that wait for a slot of it is told that there is one. Whether there
    /// was such a call.
    fn tell_first(
        &mut self,
        row: RowId,
        is_long: bool,
        (table, now): (&mut ProcessTable, Micros),
    ) -> bool {
        let mut limited = self.limited.range((row, is_long, FIRST)..);
        let next = limited
            .next()
            .filter(|((of, kind, _), _)| (*of, *kind) == (row, is_long));
        let next = next.map(|(_, key)| *key);
        if let Some(key) = next {
            self.realign(key, table, now);
        }
        next.is_some()
    }

    fn has_limited(&self, row: RowId) -> bool {
        self.members
            .get(&row)
            .is_some_and(|member| member.limited > 0)
    }

    /// Engines changed: everybody lines up anew.
    pub(super) fn line_up_all(&mut self, table: &mut ProcessTable, now: Micros) {
        self.lines.clear();
        self.roaming.clear();
        self.limited.clear();
        self.members
            .values_mut()
            .for_each(|member| member.limited = 0);
        self.engines
            .values_mut()
            .for_each(|engine| engine.lines.clear());
        self.ages
            .iter_mut()
            .for_each(std::collections::BTreeSet::clear);
        self.sizes.iter_mut().for_each(BTreeMap::clear);
        let held: Vec<CallKey> = self.held.values().copied().collect();
        for key in held {
            self.line_up(key, table, now);
        }
    }

    /// Calls in lines.
    pub(super) fn lined_up(&self) -> usize {
        let at_engines: usize = self.engines.values().map(|engine| engine.lines.len()).sum();
        self.lines.len() + at_engines + self.limited.len()
    }
}
