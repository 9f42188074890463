//! What the end-to-end, drift and tidy tests share.
#![forbid(unsafe_code)]

/// The reference of the resource, from its definition.
pub mod kubernetes_api;
/// The tree as text: which files there are, and what stands in them.
pub mod tree;
