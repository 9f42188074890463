//! The one task that owns the state: each turn takes one event, asks the state, and performs the actions. Others hold a
//! [`Handle`]. It must not know HTTP's words for what it does, nor decide anything about order or place.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// What others hold: submit, cancel, read.
mod handle;
/// The task's loop.
mod turn;
/// What clients ask for.
mod requests;
/// What engines and attempts report.
mod reports;
/// What the state wants done.
mod actions;
/// What the task owns.
mod desk;
/// The engines that are listed.
mod fleet;
/// What the rim keeps of an open call.
mod open_call;
/// The retry budget and the estimate for refused clients.
mod pace;
/// The one timer.
mod later;

pub use desk::View;
pub use fleet::{Engine, Fleet};
pub use handle::{CallStream, Ended, Handle};
pub use requests::{PromptSize, SharedAnswer, Submission, WeakAnswer};
pub use turn::{Bounds, Setup, Told, start};
