//! What a rule looks at. Owns: the figures of one pool at one instant, and what is known of the engines that are asked
//! for.

pub use crate::discovery::Written;
pub use crate::state::view::{Demand, QuietProgram};

/// One pool at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Its calls, programs and engines.
    pub demand: Demand,
    /// What is written where engines are made.
    pub written: Written,
}
