//! Tests of the core through its public face, with a model on paper.

mod cancelling;
mod embedding;
mod paging;
mod properties;
mod sampling;
mod scheduling;
mod support;
