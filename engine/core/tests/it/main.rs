//! Tests of the core through its public face, with a model on paper.
#![expect(clippy::unwrap_used, reason = "a test that fails shows where")]

mod cancelling;
mod defects;
mod embedding;
mod paging;
mod properties;
mod sampling;
mod scheduling;
mod support;
