//! Tests of the core through its public face, with a model on paper.

mod scheduling;
mod support;
