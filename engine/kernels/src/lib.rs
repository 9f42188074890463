//! What computes on a processor: products with packed weights, attention over pages, and what stands between them. It
//! knows no tensor library, no model and no sequence: numbers in, numbers out. A crate of its own, so that it is compiled
//! with optimisation in every profile.
//!
//! Each number of a result is computed from one row of the input in one order, whatever other rows there are and however
//! many threads share the work: results are equal to the last bit, alone or in a batch, in one chunk or in many.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Attention over pages.
pub mod attention;
/// Norms, turning and activations of rows.
pub mod rows;
/// The pool of keys and values, and writing to it.
pub mod pages;
/// Products with packed weights.
pub mod product;
/// The innermost loops.
mod tile;
/// Weights in the order in which a product reads them.
pub mod weight;
/// Rows as integers.
mod rounding;
/// Which numbers are multiplied, and how.
pub mod element;
/// Threads that share the work of one product.
pub mod threads;
/// Memory from the system, and back to it.
pub mod memory;
/// What the processor can do.
pub mod level;
/// Vectors of 32-bit floats on each level.
mod simd;
