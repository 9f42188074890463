//! Which call runs where and when. Owns: each pool's queues, its engines' bookings, and the rules between them
//! (Autellix, arXiv 2502.13965, algorithms 1 and 2, as `scheduling` in the design repairs them). It must not know who
//! feeds it, nor how a call gets to its engine.

mod backfill;
mod classes;
mod dispatch;
mod engine;
mod engines;
mod glance;
mod intake;
mod learned;
mod lines;
mod look;
mod most;
mod oldest;
mod patience;
mod placement;
mod places;
mod pool;
mod residency;
mod sizes;
mod tenants;
mod working_set;

pub use classes::Classes;
pub use engine::Limits;
pub use learned::{Error as LearnedError, Learned};
pub use look::Seats;
pub use pool::Pool;
pub use residency::Residency;
