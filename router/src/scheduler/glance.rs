//! What a look knows of all engines before it tries a call. Owns: which lines of calls could move at all, so that the
//! others are not read. It must not know who is next.

use lps_api::quantity::Micros;

use super::engine::Ask;
use super::engines::Gauge;
use super::lines::Kind;
use super::pool::Pool;
use crate::message::CallKey;
use crate::process_table::Scan;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Of those for whom any engine would do, or of those who wait for one.
    Line(Option<usize>, Kind),
    /// Of those who need not wait for their homes any longer.
    Roaming(Kind),
}

impl At {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Line(_, kind) | Self::Roaming(kind) => kind,
        }
    }

    /// Lines that there are.
    pub(super) const fn count(engines: usize) -> usize {
        (engines + 2) * Kind::ALL.len()
    }

    /// A number for each.
    pub(super) const fn number(self) -> usize {
        match self {
            Self::Roaming(kind) => kind as usize,
            Self::Line(None, kind) => Kind::ALL.len() + kind as usize,
            Self::Line(Some(engine), kind) => (engine + 2) * Kind::ALL.len() + kind as usize,
        }
    }
}

/// What holds for all calls until one is dispatched.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// Lines to be read: those of which a call could go, or all where room is kept, since who wants it is to be told.
    pub(super) lines: Vec<At>,
    /// Those with calls of which none could go, whoever it is.
    pub(super) skipped: Vec<At>,
    /// Of each engine, whether the smallest of those who wait for admission could be admitted.
    pub(super) could_admit: Vec<bool>,
    /// Room is kept for someone.
    pub(super) is_bound: bool,
}

impl Glance {
    fn note(&mut self, at: At, could_go: bool) {
        if could_go || self.is_bound {
            self.lines.push(at);
        } else {
            self.skipped.push(at);
        }
    }
}

impl Pool {
    /// What can be said now.
    pub(super) fn glance(&self, now: Micros) -> Glance {
        let first = self.held.first_key_value().map(|(scan, _)| scan.queue);
        let (ends, all_ends) = (first.map(|queue| self.ends_from(queue)), self.ends_from(0));
        let is_open =
            |gauge: &Gauge, ends: &[Ask; 2]| ends.iter().any(|ask| gauge.is_open_at(*ask));
        let could_go = |(_, gauge): (usize, &Gauge)| ends.is_some_and(|ends| is_open(gauge, &ends));
        let mut glance = Glance {
            could_admit: self.who_could_admit(now),
            is_bound: self.engines.gauges().any(|(_, gauge)| gauge.binds),
            ..Glance::default()
        };
        let any_flows = self.engines.gauges().any(could_go);
        let could_admit = |index: usize| glance.could_admit.get(index) == Some(&true);
        let mut engines = self.engines.gauges();
        let any_admits =
            engines.any(|(index, gauge)| could_admit(index) && could_go((index, gauge)));
        for kind in Kind::ALL {
            let could_go = match kind {
                Kind::Flow => any_flows,
                Kind::Admission => any_admits,
            };
            if !self.roaming.of(kind).is_empty() {
                glance.note(At::Roaming(kind), could_go);
            }
            if !self.lines.of(kind).is_empty() {
                glance.note(At::Line(None, kind), could_go);
            }
        }
        let mut is_anything_open = false;
        for (index, gauge) in self.engines.gauges() {
            if !is_open(gauge, &all_ends) {
                continue;
            }
            is_anything_open = true;
            let flows = could_go((index, gauge));
            let admits = flows && glance.could_admit.get(index) == Some(&true);
            for kind in Kind::ALL {
                if gauge.has_line[kind as usize] {
                    let could_go = match kind {
                        Kind::Flow => flows,
                        Kind::Admission => admits,
                    };
                    glance.note(At::Line(Some(index), kind), could_go);
                }
            }
        }
        if !is_anything_open {
            glance.lines.clear();
        }
        glance
    }

    /// Of each engine, whether the smallest of those who wait for admission could be admitted; empty if nobody does.
    fn who_could_admit(&self, now: Micros) -> Vec<bool> {
        if self.ages[1].is_empty() {
            return Vec::new();
        }
        let least = self.sizes[1].first_key_value().map_or(0, |(size, _)| *size);
        let is_overdue = self.is_anyone_overdue(now);
        let could = self.engines.gauges().map(|(index, gauge)| {
            let room = self.engines.room_to_admit(index, now);
            let least = least.saturating_sub(gauge.shared);
            !gauge.is_claimed && (is_overdue || room.is_some_and(|room| least <= room))
        });
        could.collect()
    }

    /// What the smallest call would ask that stood first of a queue, or last of all: whoever is open for neither is open
    /// for none of that queue and those behind it.
    pub(super) fn ends_from(&self, queue: u8) -> [Ask; 2] {
        [(queue, i64::MIN), (u8::MAX, i64::MAX)].map(|(queue, rank)| {
            let scan = Scan {
                queue,
                rank,
                ..Scan::default()
            };
            self.ask((CallKey(0), 0), scan, self.least_size())
        })
    }

    /// Whether the smallest call could go anywhere if it stood first, or wait if it stood last.
    pub(super) fn is_anything_open(&self) -> bool {
        let ends = self.ends_from(0);
        let mut gauges = self.engines.gauges();
        gauges.any(|(_, gauge)| ends.iter().any(|ask| gauge.is_open_at(*ask)))
    }
}
