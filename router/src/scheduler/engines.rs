//! A pool's engines, in the order in which they joined. Owns: a gauge of each, so that a look that asks all of them what
//! could go there reads a few words of each. It must not know calls and programs.

use std::ops::Deref;

use indexmap::IndexMap;
use lps_api::ids::{EngineId, Revision};
use lps_api::quantity::{Micros, Order};
use lps_api::scheduling::Settings;

use super::engine::{Ask, Engine};
use super::lines::Kind;
use super::most::{FIRST, Most, Tree};
use super::residency::share_of;
use crate::message::Intake;

/// How calls share an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    /// Whether a call takes another's slot.
    pub(super) displaces: bool,
    /// Calls beyond the slots that wait in an engine.
    pub(super) oversubscription: u32,
    /// Thousandths of an engine's KV tokens up to which programs are admitted.
    pub(super) kv_watermark_milli: u32,
}

impl From<&Settings> for Sharing {
    fn from(settings: &Settings) -> Self {
        Self {
            displaces: settings.displaces(),
            oversubscription: settings.oversubscription(),
            kv_watermark_milli: settings.kv_watermark_milli,
        }
    }
}

/// Whose calls an engine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taking {
    pub(super) intake: Intake,
    /// What it was made from.
    pub(super) revision: Revision,
}

impl Taking {
    /// Whether it takes any call.
    pub(super) fn any(&self) -> bool {
        self.intake != Intake::Nothing
    }
}

/// What an engine could take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gauge {
    /// Whose calls it takes.
    pub(super) taking: Taking,
    /// Whether a slot is free.
    pub(super) has_slot: bool,
    /// The largest call that could have a slot without displacing anyone; `None`: none could.
    pub(super) room: Option<u64>,
    /// The same for a call that would wait there, behind all that run.
    pub(super) room_behind: Option<u64>,
    /// The last in order of those that run.
    pub(super) worst: Option<Order>,
    /// Whoever stands before this could displace a call.
    pub(super) victims: Order,
    /// The largest call that could go there in queue 1, whatever it displaces; `None`: none could.
    pub(super) room_first: Option<u64>,
    /// Room is kept there for a call or a program, or will be.
    pub(super) keeps: bool,
    /// It is kept from now on.
    pub(super) binds: bool,
    /// Calls wait for it, by kind of line.
    pub(super) has_line: [bool; Kind::ALL.len()],
    /// Tokens up to the watermark that no program takes but those whose leases are over; `None`: the others take more.
    pub(super) free: Option<u64>,
    /// Tokens that its programs take.
    pub(super) used: u64,
    /// The most that a program finds there of what its class shares.
    pub(super) shared: u64,
    /// Tokens of its KV pool.
    pub(super) kv_tokens: u64,
    /// Nobody there has a call, so that a program may come that is too large for company.
    pub(super) is_quiet: bool,
    /// Room in its working set is kept for a program from now on.
    pub(super) is_claimed: bool,
    /// When the next lease there is over.
    pub(super) next_lease: Option<Micros>,
}

impl Gauge {
    /// Whether a call of this size that stands at or behind this order could fit. No call fits where it could not.
    pub(super) fn is_open_at(&self, ask: Ask) -> bool {
        self.taking.any()
            && (ask.order < self.victims
                || self.room.is_some_and(|room| ask.size <= room)
                || self.room_behind.is_some_and(|room| ask.size <= room)
                    && self.worst.is_none_or(|worst| worst < ask.order))
    }

    /// What the engine adds to the tree of all.
    fn most(&self) -> Most {
        let takes = |room: Option<u64>| room.filter(|_| self.taking.any());
        // Whoever needs more than there is takes all of it.
        let takes_all = |free| free >= self.kv_tokens;
        let to_admit = if self.is_quiet || self.free.is_some_and(takes_all) {
            Some(u64::MAX)
        } else {
            self.free
        };
        Most {
            victims: if self.taking.any() {
                self.victims
            } else {
                FIRST
            },
            room: takes(self.room),
            behind: takes(self.room_behind).map(|room| (room, self.worst)),
            to_admit,
            next_lease: self.next_lease,
            keeps: self.keeps,
            binds: self.binds,
        }
    }

    /// Whether slots are all that a call of this order would lack.
    pub(super) fn lacks_slot(&self, order: Order) -> bool {
        let may_wait = self.room_behind.is_some() && self.worst.is_none_or(|worst| worst < order);
        self.room.is_none() && order >= self.victims && !may_wait
    }
}

/// Engines by name.
#[derive(Debug)]
pub(super) struct Engines {
    all: IndexMap<EngineId, Engine>,
    sharing: Sharing,
    /// What each could take when it was renewed.
    gauges: Vec<Gauge>,
    tree: Tree,
    /// Those that may have changed since.
    changed: Vec<usize>,
}

impl Deref for Engines {
    type Target = IndexMap<EngineId, Engine>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Engines {
    pub(super) fn new(sharing: Sharing) -> Self {
        Self {
            all: IndexMap::new(),
            sharing,
            gauges: Vec::new(),
            tree: Tree::of(std::iter::empty()),
            changed: Vec::new(),
        }
    }

    /// Other rules hold from now on.
    pub(super) fn share(&mut self, sharing: Sharing) {
        self.sharing = sharing;
        self.gauge_all();
    }

    pub(super) fn insert(&mut self, id: EngineId, engine: Engine) {
        self.all.insert(id, engine);
        self.gauge_all();
    }

    pub(super) fn remove(&mut self, id: &EngineId) {
        self.all.shift_remove(id);
        self.gauge_all();
    }

    pub(super) fn get_mut(&mut self, id: &EngineId) -> Option<&mut Engine> {
        let (index, _, engine) = self.all.get_full_mut(id)?;
        note(&mut self.changed, index);
        Some(engine)
    }

    pub(super) fn get_index_mut(&mut self, index: usize) -> Option<(&EngineId, &mut Engine)> {
        note(&mut self.changed, index);
        self.all.get_index_mut(index)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Engine> {
        self.changed = (0..self.all.len()).collect();
        self.all.values_mut()
    }

    /// What an engine could take, as of the last renewal.
    pub(super) fn gauge(&self, index: usize) -> &Gauge {
        &self.gauges[index]
    }

    /// Tokens of an engine that a program could take that is not there, has not waited too long, and for which no room is
    /// kept.
    pub(super) fn room_to_admit(&self, index: usize) -> Option<u64> {
        let gauge = &self.gauges[index];
        if gauge.is_claimed {
            return None;
        }
        if gauge.is_quiet {
            return Some(u64::MAX);
        }
        gauge.free
    }

    /// Whether surely no engine could admit a program that needs so much wherever it comes.
    pub(super) fn are_too_full(&self, own: u64) -> bool {
        let Most {
            to_admit, keeps, ..
        } = self.tree.all();
        !keeps && to_admit.is_none_or(|most| most < own)
    }

    /// What no engine exceeds.
    pub(super) fn most(&self) -> Most {
        self.tree.all()
    }

    /// Engines that could take this call, or one that asks for less behind it.
    pub(super) fn open_to(&self, ask: Ask) -> impl Iterator<Item = (usize, &Gauge)> {
        self.find(move |most| most.is_open_at(ask.order, ask.size))
    }

    /// Engines where a call of this order could have a slot or wait for one, that take calls at all.
    pub(super) fn with_seat(&self, order: Order) -> impl Iterator<Item = (usize, &Gauge)> {
        self.find(move |most| most.has_seat(order))
    }

    /// Engines that answer a test which no group fails that one of it passes.
    pub(super) fn find(
        &self,
        test: impl Fn(&Most) -> bool,
    ) -> impl Iterator<Item = (usize, &Gauge)> {
        let found = self.tree.find(test);
        found.map(|index| (index, &self.gauges[index]))
    }

    /// What all of them could take.
    pub(super) fn gauges(&self) -> impl Iterator<Item = (usize, &Gauge)> + Clone {
        self.gauges.iter().enumerate()
    }

    /// Time goes on: whoever rests at an engine longer than its lease makes room there.
    pub(super) fn pass(&mut self, now: Micros) {
        self.renew();
        let is_over = |most: &Most| most.next_lease.is_some_and(|end| end <= now);
        let ended: Vec<usize> = self.tree.find(is_over).collect();
        for index in ended {
            self.all[index].set.pass(now);
            note(&mut self.changed, index);
        }
        self.renew();
    }

    /// Reads again those that may have changed. Whether there were any.
    pub(super) fn renew(&mut self) -> bool {
        let any = !self.changed.is_empty();
        for index in self.changed.drain(..) {
            if let (Some(gauge), Some((_, engine))) =
                (self.gauges.get_mut(index), self.all.get_index(index))
            {
                let next = engine.gauge(self.sharing);
                if *gauge != next {
                    *gauge = next;
                    self.tree.set(index, next.most());
                }
            }
        }
        any
    }

    fn gauge_all(&mut self) {
        self.changed.clear();
        let gauges = self.all.values().map(|it| it.gauge(self.sharing));
        self.gauges = gauges.collect();
        self.tree = Tree::of(self.gauges.iter().map(Gauge::most));
    }

    /// Whether every gauge shows what its engine could take.
    ///
    /// # Panics
    /// When one does not.
    pub(super) fn check_integrity(&self) {
        assert!(self.changed.is_empty(), "a gauge was not renewed");
        for (index, engine) in self.all.values().enumerate() {
            engine.check_integrity();
            assert_eq!(self.gauges[index], engine.gauge(self.sharing), "a gauge");
        }
        let anew = Tree::of(self.gauges.iter().map(Gauge::most));
        assert_eq!(self.tree, anew, "the tree of engines");
    }
}

/// KV tokens up to which an engine admits.
fn watermark(engine: &Engine, sharing: Sharing) -> u64 {
    share_of(engine.limits.kv_tokens, sharing.kv_watermark_milli)
}

/// Engines that changed, each once.
fn note(changed: &mut Vec<usize>, index: usize) {
    if !changed.contains(&index) {
        changed.push(index);
    }
}

impl Engine {
    /// What it could take.
    fn gauge(&self, sharing: Sharing) -> Gauge {
        let gauge = if sharing.displaces {
            self.gauge_displacing(sharing.oversubscription)
        } else {
            self.gauge_in_turn(sharing.oversubscription)
        };
        let keepers = [self.reserve, self.claim];
        Gauge {
            keeps: keepers.iter().any(Option::is_some),
            binds: keepers.iter().flatten().any(|kept| kept.left == 0),
            has_line: Kind::ALL.map(|kind| !self.lines.of(kind).is_empty()),
            free: self.set.room(watermark(self, sharing)),
            used: self.set.used(),
            shared: self.set.longest_shared(),
            kv_tokens: self.limits.kv_tokens,
            is_quiet: self.set.is_free_for_one(),
            is_claimed: self.claim.is_some_and(|claim| claim.left == 0),
            next_lease: self.set.next_lease_end(),
            ..gauge
        }
    }
}
