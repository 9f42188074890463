//! What a look knows of all engines before it tries a call. Owns: which lines of calls could move at all, so that the
//! others are not read. It must not know who is next.

use lps_api::quantity::Micros;

use super::engine::Ask;
use super::engines::Gauge;
use super::lines::Kind;
use super::most::Most;
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

/// Those who wait for admission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitting {
    /// The smallest of them.
    least: u64,
    /// One of them has waited long enough.
    is_overdue: bool,
}

/// What holds for all calls until one is dispatched.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// Lines to be read: those of which a call could go, or all where room is kept, since who wants it is to be told.
    pub(super) lines: Vec<At>,
    /// Those with calls of which none could go, whoever it is.
    pub(super) skipped: Vec<At>,
    /// Whoever waits for admission, if anybody does.
    pub(super) admitting: Option<Admitting>,
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
        let ends = first.map(|queue| self.ends_from(queue));
        let could_go = |gauge: &Gauge| ends.iter().flatten().any(|ask| gauge.is_open_at(*ask));
        let admitting = self.admitting(now);
        let mut glance = Glance {
            admitting,
            is_bound: self.engines.most().binds,
            ..Glance::default()
        };
        let open_to_first = || self.open_to_any(ends.unwrap_or(self.ends_from(0)));
        let any_flows = first.is_some() && open_to_first().next().is_some();
        let any_admits =
            any_flows && open_to_first().any(|(index, _)| self.could_admit(admitting, index));
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
        for (index, gauge) in self.open_to_any(self.ends_from(0)) {
            is_anything_open = true;
            let flows = could_go(gauge);
            let admits = flows && self.could_admit(admitting, index);
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

    fn admitting(&self, now: Micros) -> Option<Admitting> {
        let (least, _) = self.sizes[1].first_key_value()?;
        Some(Admitting {
            least: *least,
            is_overdue: self.is_anyone_overdue(now),
        })
    }

    /// Whether an engine could admit the smallest of those who wait for admission.
    pub(super) fn could_admit(&self, admitting: Option<Admitting>, index: usize) -> bool {
        let gauge = self.engines.gauge(index);
        admitting.filter(|_| !gauge.is_claimed).is_some_and(|it| {
            let room = self.engines.room_to_admit(index);
            let least = it.least.saturating_sub(gauge.shared);
            it.is_overdue || room.is_some_and(|room| least <= room)
        })
    }

    /// Engines that are open for one of these.
    fn open_to_any(&self, ends: [Ask; 2]) -> impl Iterator<Item = (usize, &Gauge)> {
        let is_open = move |ask: &Ask, most: &Most| most.is_open_at(ask.order, ask.size);
        self.engines
            .find(move |most| ends.iter().any(|ask| is_open(ask, most)))
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
        self.open_to_any(self.ends_from(0)).next().is_some()
    }
}
