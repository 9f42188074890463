//! What goes wrong in a simulation. Owns: when which fault happens, by a seed. It must not know what follows from it.

use std::collections::BTreeSet;

use lps_api::quantity::Micros;

use crate::workload::dice::Dice;

/// How often faults happen, and by which chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultPlan {
    /// Faults a minute, in the mean.
    pub per_minute: f64,
    /// Chance.
    pub seed: u64,
}

/// A fault, or the end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// An engine is gone with all that it had.
    Dies(usize),
    /// It is there again, empty.
    Returns(usize),
    /// An engine takes so many times as long.
    Slows(usize, u32),
    /// What engines report is not heard.
    ReportsGetLost,
    /// It is heard seconds later.
    ReportsAreLate,
    /// It is heard twice.
    ReportsComeTwice,
    /// It is heard, once and at once.
    ReportsAreFine,
    /// A client leaves: that one of the open calls, by a number.
    ClientLeaves(u32),
}

/// How long an engine is away, or a disturbance lasts, at most.
const SECONDS_MAX: u32 = 60;

/// The faults to come.
#[derive(Debug)]
pub(super) struct Faults {
    dice: Dice,
    mean_s: f64,
    engines: u32,
    coming: BTreeSet<(Micros, Fault)>,
    next: Micros,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan, engines: u32) -> Self {
        let mut faults = Self {
            dice: Dice::new(plan.seed ^ 0x6661_756c_7473),
            mean_s: 60.0 / plan.per_minute,
            engines,
            coming: BTreeSet::new(),
            next: Micros::ZERO,
        };
        faults.next = faults.after(Micros::ZERO);
        faults
    }

    fn after(&mut self, now: Micros) -> Micros {
        let seconds = self.dice.exponential(self.mean_s);
        now + Micros::from_secs_f64(seconds).unwrap_or(Micros::MAX)
    }

    /// When something goes wrong next, or is right again.
    pub(super) fn next(&self) -> Micros {
        let coming = self.coming.first().map(|(at, _)| *at);
        coming.map_or(self.next, |at| at.min(self.next))
    }

    /// What happens now.
    pub(super) fn due(&mut self, now: Micros) -> Vec<Fault> {
        while self.next <= now {
            let at = self.next;
            self.plan(at);
            self.next = self.after(at).max(Micros(at.0 + 1));
        }
        let mut due = Vec::new();
        while let Some((_, fault)) = self.coming.first().copied().filter(|(at, _)| *at <= now) {
            self.coming.pop_first();
            due.push(fault);
        }
        due
    }

    fn plan(&mut self, at: Micros) {
        let end = at + Micros::from_secs(self.dice.between(1, SECONDS_MAX).into());
        let engine = self.dice.between(0, self.engines - 1) as usize;
        let (begin, ends) = match self.dice.between(0, 6) {
            0 => (Fault::Dies(engine), Some(Fault::Returns(engine))),
            1 => {
                let factor = self.dice.between(2, 10);
                (Fault::Slows(engine, factor), Some(Fault::Slows(engine, 1)))
            }
            2 => (Fault::ReportsGetLost, Some(Fault::ReportsAreFine)),
            3 => (Fault::ReportsAreLate, Some(Fault::ReportsAreFine)),
            4 => (Fault::ReportsComeTwice, Some(Fault::ReportsAreFine)),
            5 => (
                Fault::ClientLeaves(self.dice.between(0, u32::MAX - 1)),
                None,
            ),
            _ => {
                // All engines go, as when a pool is scaled to zero, and come back one after another.
                for engine in 0..self.engines as usize {
                    let back = end + Micros::from_secs(engine as u64);
                    self.coming.insert((at, Fault::Dies(engine)));
                    self.coming.insert((back, Fault::Returns(engine)));
                }
                return;
            }
        };
        self.coming.insert((at, begin));
        self.coming.extend(ends.map(|fault| (end, fault)));
    }
}
