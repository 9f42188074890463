//! The rule `Queue`, which is ServerlessLLM's plain one: one engine for every `target` waiting calls, looked at every
//! few seconds, but never fewer than the engines that hold a call (an engine that works is not given up because its
//! queue is short). Owns: that fewer must have been enough for a while, and none for longer.

use lps_api::quantity::Micros;

use super::observed::Observed;
use super::reason::Reason;
use super::window::Peaks;
use crate::discovery::Scaling;

/// The rule and its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    /// What was wanted at the last evaluation, and when that was.
    asked: Option<(Micros, u32)>,
    peaks: Peaks,
}

impl Queue {
    /// Engines to have, engines that the queue asks for, and why.
    pub(super) fn decide(
        &mut self,
        seen: &Observed,
        (scaling, period): (&Scaling, Micros),
        now: Micros,
    ) -> (u32, u32, Reason) {
        // A call that found no engine is not kept waiting for the next round.
        let is_stranded = seen.demand.engines_up == 0 && seen.demand.waiting > 0;
        let asked = match self.asked {
            Some((at, asked)) if now.saturating_sub(at) < period && !is_stranded => asked,
            _ => {
                let for_the_queue = seen.demand.waiting.div_ceil(scaling.target.max(1));
                let asked = for_the_queue.max(seen.demand.engines_busy);
                self.asked = Some((now, asked));
                asked
            }
        };
        let (down, idle) = (scaling.scale_down_delay, scaling.idle_after);
        self.peaks.push(asked, down.max(idle), now);
        let to = match self.peaks.since(down, now) {
            0 => self.peaks.since(idle, now).min(1),
            peak => peak,
        };
        let reason = match to.cmp(&seen.written.replicas) {
            std::cmp::Ordering::Equal => Reason::Steady,
            std::cmp::Ordering::Greater if seen.written.replicas == 0 => Reason::FromZero,
            std::cmp::Ordering::Greater => Reason::Queue,
            std::cmp::Ordering::Less if to == 0 => Reason::Idle,
            std::cmp::Ordering::Less => Reason::LessLoad,
        };
        (to, asked, reason)
    }
}
