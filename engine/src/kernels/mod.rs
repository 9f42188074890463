//! What computes on tensors. Owns: the seam between the model's layers and the operations whose speed counts, and all
//! `unsafe` code of the project. Knows no checkpoint, no sequence and no call.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Bytes of files as tensors.
pub mod blob;
/// Matrix products with weights.
pub mod linear;
/// What tch lacks, through the C++ shim.
pub mod native;
/// What one step reads and writes in the KV pool.
pub mod pages;
/// The operations in libtorch's own operators: any device, any type; the oracle in tests.
pub mod reference;

use tch::{TchError, Tensor};

use crate::kernels::pages::{LayerPages, Reads};

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

impl Activation {
    /// Of each number.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn apply(self, x: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Silu => x.f_silu(),
            Self::GeluTanh => x.f_gelu("tanh"),
            Self::Gelu => x.f_gelu("none"),
        }
    }
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

/// The operations behind the seam. Shapes: `tokens` rows in the order of the step.
pub trait Kernels: Send {
    /// Root-mean-square norm over the last dimension, computed in 32 bits; then times `weight`, which is of the type of
    /// `x` or of 32 bits.
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError>;

    /// Turns each head of `x` `[tokens, heads, head_dim]` by its token's angles. `cos` and `sin` are
    /// `[tokens, 1, rotated]`, the first half of `sin` negated; what is beyond `rotated` stays.
    fn rotate(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, TchError>;

    /// `activation(gate) * up` of `[tokens, gate ++ up]`.
    fn gate(&self, gate_up: &Tensor, activation: Activation) -> Result<Tensor, TchError>;

    /// Puts `key` and `value` `[tokens, kv_heads, head_dim]` into their pages.
    fn store(
        &self,
        pages: &mut LayerPages,
        key: &Tensor,
        value: &Tensor,
        slots: &Tensor,
    ) -> Result<(), TchError>;

    /// Attention of `query` `[tokens, heads, head_dim]` over the pages, as `[tokens, heads * head_dim]`.
    fn attend(
        &self,
        query: &Tensor,
        pages: &LayerPages,
        reads: &Reads,
        scores: Scores,
    ) -> Result<Tensor, TchError>;
}
