//! The parts of a layer, which all families share. Owns: their weights, and in which order kernels run on them. Knows no
//! sequence and no family: what differs is said by the architecture.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Queries, keys and values, and what is attended to.
pub mod attention;
/// The same within whole texts, whose keys and values nobody reads later.
pub mod text_attention;
/// The layer between attentions.
pub mod mlp;
/// Norms, alone and around a part.
pub mod norm;
/// Weights by name in the shape that parts want.
pub mod loader;
