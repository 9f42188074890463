//! The autoscaler, decision by decision, as properties, and under loads that are simulated over time.

mod decisions;
mod loads;
mod properties;
mod world;

use lps_api::quantity::Micros;
use lps_api::resource::ScalingRule;

use super::{Demand, Observed, QuietProgram, Written};
use crate::discovery::Scaling;

const S: fn(u64) -> Micros = Micros::from_secs;

/// Eight calls an engine, none to ten engines.
fn scaling() -> Scaling {
    Scaling {
        rule: ScalingRule::Programs,
        target: 8,
        min: 0,
        max: 10,
        idle_after: S(120),
        scale_down_delay: S(300),
        dry_run: false,
    }
}

/// So many engines asked for and up, and so many running calls of one program each.
fn seen(engines: u32, running: u32) -> Observed {
    Observed {
        demand: Demand {
            running,
            live_programs: running,
            engines_up: engines,
            engines_busy: engines.min(running),
            ..Demand::default()
        },
        written: Written {
            replicas: engines,
            ..Written::default()
        },
    }
}

fn quiet(idle_for: u64, usual_gap: u64, programs: u32) -> QuietProgram {
    QuietProgram {
        idle_for: S(idle_for),
        usual_gap: S(usual_gap),
        programs,
    }
}
