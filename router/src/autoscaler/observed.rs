//! What a rule looks at. Owns: the figures of one pool at one instant, and what is known of the engines that are asked
//! for.

use lps_api::quantity::Micros;

pub use crate::state::view::{Demand, QuietProgram};

/// One pool at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Its calls, programs and engines.
    pub demand: Demand,
    /// What is written where engines are made.
    pub written: Written,
}

/// What is known where engines are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Engines that are asked for now.
    pub replicas: u32,
    /// How long nearly all starts take, as known from elsewhere (an earlier router's status). It counts until the
    /// autoscaler has seen a start itself.
    pub cold_start: Option<Micros>,
    /// Whether engines are being replaced.
    pub rolling_out: bool,
}
