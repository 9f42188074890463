//! How many engines a model should have. Owns: one pool's decisions: the rule, the bounds that stand above it, and what
//! is remembered of earlier changes. Pure: it knows no clock and no engine, only what it is shown.

mod observed;
mod programs;
mod queue;
mod reason;
mod starts;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;

use lps_api::quantity::Micros;
use lps_api::resource::ScalingRule;

use crate::discovery::Scaling;
pub use observed::{Demand, Observed, QuietProgram, Written};
use programs::{Case, Figures, Programs, STABLE, Wish};
use queue::Queue;
pub use reason::{Change, Decision, Reason};
pub use starts::ColdStart;
use starts::Starts;

/// How long nearly all starts are believed to take before one was seen.
const COLD_START_GUESS: Micros = Micros::from_secs(60);
/// Changes that are remembered.
pub const HISTORY_MAX: usize = 5;
/// Time between two evaluations of the rule `Queue`, unless told otherwise.
const QUEUE_PERIOD: Micros = Micros::from_secs(10);

/// Decides for one pool.
#[derive(Debug, Clone)]
pub struct Autoscaler {
    programs: Programs,
    queue: Queue,
    queue_period: Micros,
    starts: Starts,
    /// The settings at the last look.
    scaling: Option<Scaling>,
    /// When this began, the settings changed, or engines were being replaced last.
    disturbed: Micros,
    /// The newest first.
    history: VecDeque<Change>,
    /// The change that stands first in the history, until it is written.
    told: Option<(u32, u32)>,
}

impl Autoscaler {
    /// One that has seen nothing.
    pub fn new(now: Micros) -> Self {
        Self {
            programs: Programs::default(),
            queue: Queue::default(),
            queue_period: QUEUE_PERIOD,
            starts: Starts::default(),
            scaling: None,
            disturbed: now,
            history: VecDeque::new(),
            told: None,
        }
    }

    /// The same with another time between two evaluations of the rule `Queue`.
    #[must_use]
    pub fn with_queue_period(self, queue_period: Micros) -> Self {
        Self {
            queue_period,
            ..self
        }
    }

    /// The last changes, newest first.
    pub fn history(&self) -> impl Iterator<Item = &Change> {
        self.history.iter()
    }

    /// How long engines took to start, as seen here.
    pub fn cold_start(&self) -> Option<ColdStart> {
        self.starts.cold_start()
    }

    /// Looks at the pool and decides. Asked again with the same, it says the same.
    pub fn on(&mut self, seen: &Observed, scaling: &Scaling, now: Micros) -> Decision {
        self.take_settings(scaling, now);
        if seen.written.rolling_out {
            self.disturbed = now;
        }
        self.starts.observe(seen, now);
        let measured = self.cold_start().map(|cold_start| cold_start.p95);
        let cold_start = measured
            .or(seen.written.cold_start)
            .unwrap_or(COLD_START_GUESS);
        let on_time = self
            .starts
            .on_time(cold_start.saturating_add(cold_start), now);
        let case = Case {
            seen,
            scaling,
            capacity: seen.demand.engines_up.saturating_add(on_time),
            cold_start,
            is_settling: now.saturating_sub(self.disturbed) < STABLE,
            now,
        };
        let wish = self.wish(case);
        let max = scaling.max.max(scaling.min);
        let to = wish.to.clamp(scaling.min, max);
        let reason = bounded(&wish, to, seen.written.replicas);
        let text = sentence(&Wish { to, reason, ..wish }, case);
        let changed = self.remember((to, reason, &text), case);
        let desired = if scaling.dry_run {
            seen.written.replicas.clamp(scaling.min, max)
        } else {
            to
        };
        if desired > seen.written.replicas {
            self.starts.asked(desired - seen.written.replicas, now);
            self.programs.raised(seen.written.replicas, now);
        }
        Decision {
            desired,
            to,
            recommended: wish.recommended,
            capacity: case.capacity,
            reason,
            text,
            changed,
        }
    }

    fn take_settings(&mut self, scaling: &Scaling, now: Micros) {
        let before = self.scaling.replace(*scaling);
        if before.is_some_and(|before| before.rule != scaling.rule) {
            (self.programs, self.queue) = (Programs::default(), Queue::default());
        }
        if before.is_some_and(|before| before != *scaling) {
            self.disturbed = now;
        }
    }

    fn wish(&mut self, case: Case<'_>) -> Wish {
        match case.scaling.rule {
            ScalingRule::Programs => self.programs.decide(case),
            ScalingRule::Queue => {
                let settings = (case.scaling, self.queue_period);
                let (to, recommended, reason) = self.queue.decide(case.seen, settings, case.now);
                Wish {
                    to,
                    recommended,
                    reason,
                    figures: Figures::default(),
                }
            }
        }
    }

    /// Writes a change down, once; whether it is new.
    fn remember(&mut self, (to, reason, text): (u32, Reason, &str), case: Case<'_>) -> bool {
        let from = case.seen.written.replicas;
        if self.told.is_some_and(|(before, _)| before != from) {
            self.told = None;
        }
        if to == from || self.told == Some((from, to)) {
            return false;
        }
        self.told = Some((from, to));
        self.history.push_front(Change {
            at: case.now,
            from,
            to,
            reason,
            text: text.to_owned(),
        });
        self.history.truncate(HISTORY_MAX);
        true
    }
}

/// Why it is `to`, where the bounds may have changed the wish.
fn bounded(wish: &Wish, to: u32, replicas: u32) -> Reason {
    if to == wish.to || (to != replicas && to.cmp(&replicas) == wish.to.cmp(&replicas)) {
        wish.reason
    } else if to != replicas {
        Reason::Bounds
    } else if wish.to > to {
        Reason::AtMaximum
    } else {
        Reason::Steady
    }
}

/// Why, with the figures that led to it.
fn sentence(wish: &Wish, case: Case<'_>) -> String {
    let Case { seen, scaling, .. } = case;
    let starting = case.capacity.saturating_sub(seen.demand.engines_up);
    let figures = match scaling.rule {
        ScalingRule::Programs => format!(
            "{} calls over 60 s, {} over 6 s, {} programs expected back within {} s, {} live",
            tenths(wish.figures.stable_milli),
            tenths(wish.figures.burst_milli),
            wish.figures.expected,
            case.cold_start.0.div_ceil(1_000_000),
            seen.demand.live_programs,
        ),
        ScalingRule::Queue => format!(
            "{} calls wait, {} engines hold one",
            seen.demand.waiting, seen.demand.engines_busy
        ),
    };
    let numbers = match (seen.written.replicas, wish.to) {
        (now, to) if now == to => format!("engines stay {now}"),
        (now, to) => format!("engines from {now} to {to}"),
    };
    let dry = if scaling.dry_run {
        "dry run, nothing changes: "
    } else {
        ""
    };
    if wish.reason == Reason::Bounds {
        // Load has no part in it.
        let bound = if wish.to > seen.written.replicas {
            "scaling.min asks for at least so many"
        } else {
            "scaling.max allows no more"
        };
        return format!("{dry}{numbers}: {bound}");
    }
    format!(
        "{dry}{}: {} ({figures}; {} an engine; {} up, {starting} starting, {} draining)",
        wish.reason.sentence(),
        numbers,
        scaling.target,
        seen.demand.engines_up,
        seen.demand.engines_draining,
    )
}

/// Thousandths with one digit behind the point.
fn tenths(milli: u64) -> String {
    format!("{}.{}", milli / 1_000, milli % 1_000 / 100)
}
