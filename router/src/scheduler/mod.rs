//! Which call runs where and when. Owns: each pool's queues, its engines' bookings, and the rules between them
//! (Autellix, arXiv 2502.13965, algorithms 1 and 2, as `scheduling` in the design repairs them). It must not know who
//! feeds it, nor how a call gets to its engine.

mod dispatch;
mod engine;
mod intake;
mod look;
mod patience;
mod placement;
mod pool;

pub use engine::Limits;
pub use look::Seats;
pub use pool::Pool;
