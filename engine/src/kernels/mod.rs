//! What computes on tensors. Owns: the seam between the model's layers and the operations whose speed counts, and, with
//! `lps-engine-kernels`, all `unsafe` code of the project. Knows no checkpoint, no sequence and no call.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Which kernels a model runs on.
pub mod choice;
/// Our own kernels on CUDA.
pub mod cuda;
/// Our own kernels on a processor, on tensors.
pub mod processor;
/// The operations in libtorch's own operators: any device, any type; the oracle in tests.
pub mod reference;
/// Matrix products with weights.
pub mod linear;
/// What one step reads and writes in the KV pool.
pub mod pages;
/// Bytes of files as tensors.
pub mod blob;
/// What tch lacks, through the C++ shim.
pub mod native;

use tch::{TchError, Tensor};

use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, Reads, Slots};

/// What stands between products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Φ(x)` by way of tanh.
    GeluTanh,
    /// `x * Φ(x)`.
    Gelu,
}

/// From products of queries and keys to what softmax takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// They are multiplied with this.
    pub scale: f64,
    /// Then `cap * tanh(score / cap)`, before masks.
    pub cap: Option<f64>,
}

impl Scores {
    /// As most models have them.
    pub fn of_head(head_dim: i64) -> Self {
        Self {
            scale: 1.0 / (head_dim as f64).sqrt(),
            cap: None,
        }
    }
}

/// Norms of single heads.
#[derive(Debug)]
pub struct HeadNorms {
    /// `[heads + kv_heads, head_dim]`: what follows the norm, queries first.
    pub weights: Tensor,
    /// Added to the mean of squares.
    pub epsilon: f64,
}

/// Cosines and sines of a step's tokens, `[tokens, 1, rotated]` each; the first half of the sines is negated.
#[derive(Debug)]
pub struct Angles {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

/// Queries, keys and values of a layer on their way to attention.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// `[tokens, (heads + 2 * kv_heads) * head_dim]`: queries, keys, values.
    pub qkv: &'a Tensor,
    /// Query heads.
    pub heads: i64,
    /// Numbers of a head.
    pub head_dim: i64,
    /// In some families.
    pub norms: Option<&'a HeadNorms>,
    /// `None` where positions were added to the embedding.
    pub angles: Option<&'a Angles>,
    /// Where keys and values go.
    pub slots: &'a Slots,
}

/// The operations behind the seam. Shapes: `tokens` rows in the order of the step.
pub trait Kernels: Send {
    /// `x` `[tokens, in]` times a weight, plus its bias.
    fn multiply(&self, x: &Tensor, linear: &Linear) -> Result<Tensor, TchError>;

    /// Root-mean-square norm over the last dimension, computed in 32 bits; then times `weight`, which is of the type of
    /// `x` or of 32 bits.
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError>;

    /// `activation(x)` of `[tokens, width]`, or, of `[tokens, gate ++ up]` where that is `gated`, `activation(gate) * up`.
    fn activate(&self, x: &Tensor, activation: Activation, gated: bool)
    -> Result<Tensor, TchError>;

    /// Norms and turns queries and keys, puts keys and values into their pages, and gives the queries,
    /// `[tokens, heads, head_dim]`.
    fn heads(&self, pages: &mut LayerPages, heads: &Heads<'_>) -> Result<Tensor, TchError>;

    /// Attention of `query` `[tokens, heads, head_dim]` over the pages, as `[tokens, heads * head_dim]`.
    fn attend(
        &self,
        query: &Tensor,
        pages: &LayerPages,
        reads: &Reads,
        scores: Scores,
    ) -> Result<Tensor, TchError>;
}
