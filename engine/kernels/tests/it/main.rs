//! Every kernel on every level that this processor has, beside plain loops in 64 bits.

/// Attention over pages.
mod attention;
/// Products with packed weights.
mod product;
/// Norms, turning and activations.
mod rows;
/// Random numbers, levels, distances.
mod support;
