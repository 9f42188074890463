//! What scaling reads. Owns: one pool's calls, programs and engines as figures, in time that hardly grows with the
//! number of programs: beyond a bound, some are looked at for all.

use lps_api::ids::ModelName;
use lps_api::quantity::Micros;

use super::State;
use super::view::{Demand, QuietProgram};
use crate::message::Intake;
use crate::process_table::Row;

/// Quiet programs that are looked at, at most; of more, each one looked at stands for several.
const QUIET_MAX: usize = 256;
/// A program's last calls among which its last one of a model is looked for.
const LAST_CALLS: usize = 8;

impl State {
    /// What the pools have to do, in the order of the models given.
    pub fn demands(&self, models: &[ModelName], now: Micros) -> Vec<Demand> {
        let mut demands: Vec<Demand> = models.iter().map(|model| self.present(model)).collect();
        let stride = self.table.quiet_count().div_ceil(QUIET_MAX).max(1);
        for row in self.table.quiet_sample(stride) {
            for (model, demand) in models.iter().zip(&mut demands) {
                if self.table.has_called(row, model) {
                    demand.add(row, model, (stride as u32, now));
                }
            }
        }
        demands
    }

    /// Whether calls wait that no engine could take.
    pub fn is_stranded(&self, model: &ModelName) -> bool {
        self.pools.get(model).is_some_and(|pool| {
            pool.held() > 0 && pool.engines().all(|(_, seats)| seats.intake != Intake::All)
        })
    }

    /// Calls and engines.
    pub(super) fn present(&self, model: &ModelName) -> Demand {
        let mut demand = Demand {
            live_programs: self.table.live_programs(model),
            ..Demand::default()
        };
        let Some(pool) = self.pools.get(model) else {
            return demand;
        };
        demand.waiting = u32::try_from(pool.held()).unwrap_or(u32::MAX);
        for (_, seats) in pool.engines() {
            demand.running += seats.running;
            demand.waiting_in_engine += seats.waiting;
            demand.kv_used_tokens += seats.kv_booked;
            if seats.intake != Intake::All {
                demand.engines_draining += 1;
                continue;
            }
            demand.engines_busy += u32::from(seats.running + seats.waiting > 0);
            demand.kv_tokens_per_engine = match demand.engines_up {
                0 => seats.kv_tokens,
                _ => demand.kv_tokens_per_engine.min(seats.kv_tokens),
            };
            demand.engines_up += 1;
        }
        demand
    }
}

impl Demand {
    /// Adds a program without open calls, which stands for `weight`.
    fn add(&mut self, row: &Row, model: &ModelName, (weight, now): (u32, Micros)) {
        let mut calls = row.ended().rev().take(LAST_CALLS);
        if let Some(last) = calls.find(|call| call.model == *model) {
            let usage = last.usage;
            let tokens = u64::from(usage.prompt_tokens.0) + u64::from(usage.output_tokens.0);
            self.kv_used_tokens += tokens * u64::from(weight);
        }
        if let (Some(usual_gap), Some(since)) = (row.usual_gap(), row.last_completion) {
            self.quiet.push(QuietProgram {
                idle_for: now.saturating_sub(since),
                usual_gap,
                programs: weight,
            });
        }
    }
}
