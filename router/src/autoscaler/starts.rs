//! Engines that were asked for and are not up yet. Owns: how long starts take, and which engines still count as
//! coming. It must not know rules.

use std::collections::VecDeque;

use lps_api::quantity::Micros;

use super::observed::Observed;

/// Starts whose durations are remembered.
const REMEMBERED_MAX: usize = 32;
/// Engines that are waited for; further ones count as late.
const PENDING_MAX: usize = 1_024;

/// How long engines took from being asked for to being up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColdStart {
    /// Half of the starts took no longer.
    pub p50: Micros,
    /// 95 of 100 starts took no longer.
    pub p95: Micros,
}

/// One engine that is waited for.
#[derive(Debug, Clone, Copy)]
struct Start {
    since: Micros,
    /// Whether it was seen from its beginning, so that its duration says something.
    is_whole: bool,
}

/// Engines that are waited for, and how long others took.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    /// The oldest first. As many as are asked for and not up.
    pending: VecDeque<Start>,
    took: VecDeque<Micros>,
    /// Engines up, draining and asked for at the last look.
    seen: Option<(u32, u32, u32)>,
}

impl Starts {
    /// Takes the engines of now.
    pub(super) fn observe(&mut self, seen: &Observed, now: Micros) {
        let (up, draining, replicas) = (
            seen.demand.engines_up,
            seen.demand.engines_draining,
            seen.written.replicas,
        );
        let before = self.seen.replace((up, draining, replicas));
        let (up_before, draining_before, replicas_before) = before.unwrap_or((up, 0, replicas));
        let came = up.saturating_sub(up_before);
        // One whose drain was cancelled did not start.
        let stayed = came.min(draining_before.saturating_sub(draining));
        for _ in 0..stayed {
            self.pending.pop_back();
        }
        for _ in stayed..came {
            if let Some(start) = self.pending.pop_front().filter(|start| start.is_whole) {
                self.took.push_back(now.saturating_sub(start.since));
            }
        }
        while self.took.len() > REMEMBERED_MAX {
            self.took.pop_front();
        }
        let missing = replicas.saturating_sub(up) as usize;
        self.pending.truncate(missing);
        // Those that nobody here asked for, or whose ask was written late; in place of one that was lost, its start
        // began at another time.
        let start = Start {
            since: now,
            is_whole: replicas > replicas_before,
        };
        self.pending.resize(missing.min(PENDING_MAX), start);
    }

    /// So many more are asked for.
    pub(super) fn asked(&mut self, more: u32, now: Micros) {
        let start = Start {
            since: now,
            is_whole: true,
        };
        let room = PENDING_MAX.saturating_sub(self.pending.len());
        self.pending
            .extend(std::iter::repeat_n(start, (more as usize).min(room)));
    }

    /// Engines that are waited for not longer than `limit`.
    pub(super) fn on_time(&self, limit: Micros, now: Micros) -> u32 {
        let is_on_time = |start: &&Start| now.saturating_sub(start.since) < limit;
        self.pending.iter().filter(is_on_time).count() as u32
    }

    /// How long starts took; `None` before the first.
    pub(super) fn cold_start(&self) -> Option<ColdStart> {
        let mut sorted: Vec<Micros> = self.took.iter().copied().collect();
        sorted.sort();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1);
        Some(ColdStart {
            p50: *rank(50)?,
            p95: *rank(95)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscaler::{Demand, Written};

    const S: fn(u64) -> Micros = Micros::from_secs;

    fn seen(replicas: u32, engines_up: u32, engines_draining: u32) -> Observed {
        Observed {
            demand: Demand {
                engines_up,
                engines_draining,
                ..Demand::default()
            },
            written: Written {
                replicas,
                ..Written::default()
            },
        }
    }

    #[test]
    fn a_start_is_measured_from_the_ask_to_the_engine() {
        let mut starts = Starts::default();
        // Asked for before this began: waited for, but not measured.
        starts.observe(&seen(2, 1, 0), S(0));
        assert_eq!(starts.on_time(S(10), S(9)), 1);
        assert_eq!(starts.on_time(S(10), S(10)), 0, "it is late");
        starts.observe(&seen(2, 2, 0), S(20));
        assert_eq!(starts.cold_start(), None);
        starts.asked(2, S(20));
        starts.observe(&seen(4, 2, 0), S(21));
        starts.observe(&seen(4, 3, 0), S(50));
        starts.observe(&seen(4, 4, 0), S(60));
        let expected = ColdStart {
            p50: S(30),
            p95: S(40),
        };
        assert_eq!(starts.cold_start(), Some(expected));
        // A drain that is cancelled is no start, nor is the replacement of an engine that was lost.
        starts.observe(&seen(3, 3, 1), S(70));
        starts.asked(1, S(71));
        starts.observe(&seen(4, 4, 0), S(72));
        starts.observe(&seen(4, 3, 0), S(80));
        assert_eq!(starts.on_time(S(10), S(81)), 1);
        starts.observe(&seen(4, 4, 0), S(82));
        assert_eq!(starts.cold_start(), Some(expected));
        // An ask that was not written is forgotten.
        starts.asked(3, S(90));
        starts.observe(&seen(4, 4, 0), S(91));
        assert_eq!(starts.on_time(S(10), S(91)), 0);
    }

    #[test]
    fn the_last_thirty_two_starts_count() {
        let mut starts = Starts::default();
        starts.observe(&seen(0, 0, 0), S(0));
        for index in 0..100_u32 {
            let at = u64::from(index) * 100;
            starts.asked(1, S(at));
            starts.observe(&seen(1, 1, 0), S(at + u64::from(index)));
            starts.observe(&seen(0, 0, 0), S(at + 99));
        }
        let expected = ColdStart {
            p50: S(83),
            p95: S(98),
        };
        assert_eq!(starts.cold_start(), Some(expected));
    }
}
