//! The task that keeps responses. Owns: how much it is for.

use lps_runtime::clock::Clock;

use crate::owner::{self, Owner};
use crate::responses::store::Store;

/// A handle to the task; clones are the same.
pub type Shelf = Owner<Store>;

/// A place among the task's requests.
pub type Place = owner::Place<Store>;

/// How much a shelf is for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes that are kept.
    pub bytes: usize,
    /// Most streams at once.
    pub streams: usize,
}

/// Starts the task.
pub fn start(limits: Limits, clock: Clock) -> Shelf {
    // A stream holds two places: for its response's beginning, and for its end.
    let held = 2 * limits.streams;
    Owner::start("responses", Store::new(limits.bytes), held, clock)
}
