//! The truth about programs and calls. Owns: rows, what they are charged, and when they end. It must not know engines'
//! slots and queues.

mod reason;

pub use reason::{Phase, ProgramState, Reason};
