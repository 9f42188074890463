//! The rule `Programs`. Owns: engines for the calls of the last minute, or seconds, and for programs that are expected
//! back; when more and when fewer are asked for. The windows are Knative's (stable and panic), tolerance and steps
//! those of Kubernetes' HPA, the look at one engine less is WVA's; what programs say is ours.

use std::collections::VecDeque;

use lps_api::quantity::Micros;

use super::observed::{Observed, QuietProgram};
use super::reason::Reason;
use super::window::{Peaks, Window};
use crate::discovery::Scaling;

/// Time over which calls count.
pub(super) const STABLE: Micros = Micros::from_secs(60);
/// Time over which a burst shows.
const BURST: Micros = Micros::from_secs(6);
/// So many times the capacity are a burst.
const BURST_TIMES: u32 = 2;
/// In thousandths of what the engines are for: load that is not worth a change.
const TOLERANCE_MILLI: u64 = 1_100;
/// In thousandths: how full the engines may be that are left.
const FULL_MILLI: u64 = 800;
/// Time over which a step is measured.
const STEP_PERIOD: Micros = Micros::from_secs(15);
/// A step that is always allowed; else the number doubles at most.
const STEP_MIN: u32 = 4;
/// Raises that are remembered for the step.
const RAISES_MAX: usize = 64;

/// What is wanted, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) to: u32,
    pub(super) recommended: u32,
    pub(super) reason: Reason,
    pub(super) figures: Figures,
}

/// What led to it. Loads are in thousandths of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Figures {
    pub(super) stable_milli: u64,
    pub(super) burst_milli: u64,
    pub(super) expected: u32,
}

/// What is decided about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) seen: &'a Observed,
    pub(super) scaling: &'a Scaling,
    /// Engines that are up, and those that start and are not late.
    pub(super) capacity: u32,
    /// How long nearly all starts take.
    pub(super) cold_start: Micros,
    /// Whether all is too recent to give engines up.
    pub(super) is_settling: bool,
    pub(super) now: Micros,
}

/// The rule and its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Programs {
    load: Window,
    peaks: Peaks,
    burst_until: Option<Micros>,
    /// When and from how many more were asked for lately.
    raises: VecDeque<(Micros, u32)>,
    /// Since when no program is live.
    idle_since: Option<Micros>,
    has_begun: bool,
}

impl Programs {
    pub(super) fn decide(&mut self, case: Case<'_>) -> Wish {
        let Case {
            seen, scaling, now, ..
        } = case;
        self.load.push(seen.demand.load(), STABLE, now);
        let figures = Figures {
            stable_milli: self.load.mean_milli(STABLE, now),
            burst_milli: self.load.mean_milli(BURST, now),
            expected: expected(&seen.demand.quiet, case.cold_start),
        };
        let needed = self.needed(&figures, case);
        if !std::mem::replace(&mut self.has_begun, true) {
            // What was wanted before this began is not known; it may have been all there is.
            self.peaks
                .push(seen.written.replicas, scaling.scale_down_delay, now);
        }
        self.peaks
            .push(needed.engines, scaling.scale_down_delay, now);
        if seen.demand.live_programs == 0 && seen.demand.load() == 0 {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
        let (to, reason) = self
            .more(&needed, case)
            .unwrap_or_else(|| self.fewer(&needed, &figures, case));
        Wish {
            to,
            recommended: needed.engines,
            reason,
            figures,
        }
    }

    /// More are asked for from now on.
    pub(super) fn raised(&mut self, from: u32, now: Micros) {
        if self.raises.back().is_none_or(|(_, last)| *last != from) {
            self.raises.push_back((now, from));
        }
        if self.raises.len() > RAISES_MAX {
            self.raises.pop_front();
        }
    }

    fn needed(&mut self, figures: &Figures, case: Case<'_>) -> Needed {
        let target = case.scaling.target;
        let load = figures.stable_milli + u64::from(figures.expected) * 1_000;
        let (for_now, for_soon) = (engines(figures.stable_milli, target), engines(load, target));
        let for_burst = engines(figures.burst_milli, target);
        if for_burst >= case.capacity.max(1).saturating_mul(BURST_TIMES) {
            self.burst_until = Some(case.now + STABLE);
        }
        let is_burst = self.burst_until.is_some_and(|until| case.now < until);
        let (engines, load_milli) = if is_burst && for_burst > for_soon {
            (for_burst, figures.burst_milli)
        } else {
            (for_soon, load)
        };
        let reason = if engines > for_soon {
            Reason::Burst
        } else if for_soon > for_now {
            Reason::Prewarm
        } else {
            Reason::Load
        };
        Needed {
            engines,
            load_milli,
            reason,
            is_burst,
        }
    }

    /// More engines, or why not although they are needed; `None` where they are not.
    fn more(&mut self, needed: &Needed, case: Case<'_>) -> Option<(u32, Reason)> {
        let Case {
            seen, scaling, now, ..
        } = case;
        let replicas = seen.written.replicas;
        if replicas == 0 && seen.demand.load() > 0 {
            // Who waits for a first engine is not averaged.
            let load = u64::from(seen.demand.load()) * 1_000;
            return Some((engines(load, scaling.target), Reason::FromZero));
        }
        if replicas == 0 && seen.demand.live_programs > 0 && needed.engines == 0 {
            return Some((1, Reason::LivePrograms));
        }
        let is_tolerable =
            needed.load_milli <= TOLERANCE_MILLI * u64::from(scaling.target) * u64::from(replicas);
        if needed.engines <= replicas || is_tolerable {
            return None;
        }
        if replicas >= scaling.max {
            return Some((replicas, Reason::AtMaximum));
        }
        while self
            .raises
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= STEP_PERIOD)
        {
            self.raises.pop_front();
        }
        let base = self.raises.front().map_or(replicas, |(_, from)| *from);
        let limit = base.saturating_add(base.max(STEP_MIN));
        if limit <= replicas {
            return Some((replicas, Reason::StepLimit));
        }
        Some((needed.engines.min(limit), needed.reason))
    }

    /// One engine less, or why not.
    fn fewer(&self, needed: &Needed, figures: &Figures, case: Case<'_>) -> (u32, Reason) {
        let Case {
            seen, scaling, now, ..
        } = case;
        let replicas = seen.written.replicas;
        let idle_limit = scaling
            .idle_after
            .max(case.cold_start.saturating_add(case.cold_start));
        let is_idle = self
            .idle_since
            .is_some_and(|since| now.saturating_sub(since) >= idle_limit);
        let peak = self.peaks.since(scaling.scale_down_delay, now);
        let enough = if is_idle { 0 } else { peak.max(1) };
        let held = |reason| (replicas, reason);
        if enough.max(scaling.min) >= replicas {
            // Fewer would have been enough, and one program is why the last stays.
            let is_last =
                replicas == 1 && scaling.min == 0 && peak == 0 && seen.demand.live_programs > 0;
            let is_late = case.capacity < replicas && case.capacity < needed.engines;
            return held(if is_late {
                Reason::StartsLate
            } else if is_last {
                Reason::LivePrograms
            } else {
                Reason::Steady
            });
        }
        if needed.is_burst {
            return held(Reason::Burst);
        }
        if case.is_settling {
            return held(Reason::Settling);
        }
        if seen.demand.engines_draining > 0 || seen.demand.engines_up > replicas {
            return held(Reason::Draining);
        }
        let left = u64::from(replicas - 1);
        let load = needed.load_milli.max(figures.burst_milli);
        let has_slots = load <= FULL_MILLI * u64::from(scaling.target) * left;
        let kv = seen.demand.kv_tokens_per_engine;
        let has_kv = kv == 0
            || u128::from(seen.demand.kv_used_tokens) * 1_000
                <= u128::from(FULL_MILLI) * u128::from(kv) * u128::from(left);
        let fits = is_idle || (has_slots && has_kv);
        if !fits {
            return held(Reason::TooFull);
        }
        let reason = if is_idle {
            Reason::Idle
        } else {
            Reason::LessLoad
        };
        (replicas - 1, reason)
    }
}

/// Engines that a load needs.
#[derive(Debug, Clone, Copy)]
struct Needed {
    engines: u32,
    load_milli: u64,
    /// Why, where they are more than there are.
    reason: Reason,
    is_burst: bool,
}

fn engines(load_milli: u64, target: u32) -> u32 {
    let engines = load_milli.div_ceil(1_000 * u64::from(target.max(1)));
    u32::try_from(engines).unwrap_or(u32::MAX)
}

/// Programs that are expected to call within `horizon`. A program whose gaps are shorter than the stable window is in
/// its mean already, at the share of time for which it really calls; one that is overdue by a gap has probably left.
fn expected(quiet: &[QuietProgram], horizon: Micros) -> u32 {
    let is_expected = |program: &&QuietProgram| {
        let QuietProgram {
            idle_for,
            usual_gap,
            ..
        } = **program;
        usual_gap > STABLE
            && usual_gap.saturating_sub(idle_for) <= horizon
            && idle_for <= usual_gap.saturating_add(usual_gap)
    };
    quiet
        .iter()
        .filter(is_expected)
        .fold(0, |sum, program| program.programs.saturating_add(sum))
}
