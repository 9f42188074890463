//! What a decoder is made of: the description that a family's file fills in and that layers, weights and steps follow.
//! Owns: its words. Knows no file and no tensor.

use crate::kernels::{Activation, Scores};
use crate::model::Dtype;
use crate::model::torch::rope::RopeShape;

/// What a decoder is made of. All sizes are at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Tokens of the vocabulary.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden: i64,
    /// Width of the layer between attentions.
    pub intermediate: i64,
    /// Query heads.
    pub heads: i64,
    /// Key-value heads; divides `heads`.
    pub kv_heads: i64,
    /// Numbers of a head.
    pub head_dim: i64,
    /// One entry a layer.
    pub layers: Vec<LayerKind>,
    /// How a token knows where it stands.
    pub positions: Positions,
    /// Kind of all norms.
    pub norm: NormKind,
    /// Added to the mean square in norms.
    pub epsilon: f64,
    /// Between the products of the layer between attentions.
    pub activation: Activation,
    /// Whether that layer is `activation(gate) * up`, or one product alone.
    pub gated: bool,
    /// From products of queries and keys to scores.
    pub scores: Scores,
    /// Logits are bent to stay within this.
    pub logit_cap: Option<f64>,
    /// Embeddings are multiplied with this.
    pub embedding_scale: Option<f64>,
    /// Which products have biases.
    pub biases: Biases,
    /// What weights are called.
    pub names: Names,
    /// Whether the embedding is the output layer too.
    pub tied: bool,
    /// The type that the file asks for.
    pub dtype: Option<Dtype>,
}

/// What sets a layer apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerKind {
    /// How many tokens a token sees, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Which of [`Positions::Rotary`].
    pub rope: usize,
}

/// How a token knows where it stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// Queries and keys are turned, in each layer by one of these.
    Rotary(Vec<RopeShape>),
    /// A vector for each of so many positions is added to the embedding.
    Learned {
        /// The weight's name.
        name: &'static str,
        /// Positions.
        count: i64,
    },
}

/// Kinds of norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Root-mean-square norm.
    Rms,
    /// The same; weights are stored less one.
    RmsLessOne,
    /// Mean and deviation, with a bias.
    Layer,
}

/// Which products have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// What leaves attention.
    pub out: bool,
    /// The layer between attentions.
    pub mlp: bool,
}

/// What weights are called, in a layer without its prefix. What has no name is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// Of tokens.
    pub embedding: &'static str,
    /// Of a layer, before its number.
    pub layers: &'static str,
    /// Around attention.
    pub attention_norms: Around,
    /// Queries, keys and values: one name each, or one for all.
    pub qkv: &'static [&'static str],
    /// Of single heads of queries and of keys.
    pub head_norms: Option<[&'static str; 2]>,
    /// What leaves attention.
    pub out: &'static str,
    /// Around the layer between attentions.
    pub mlp_norms: Around,
    /// Gate and up: one name each, or one for both; up alone where there is no gate.
    pub up: &'static [&'static str],
    /// What leaves that layer.
    pub down: &'static str,
    /// After the last layer.
    pub last_norm: &'static str,
    /// The output layer, unless the embedding is.
    pub output: &'static str,
    /// Whether matrices of layers are stored `[in, out]`.
    pub transposed: bool,
}

/// Norms around a part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    /// Of what enters.
    pub before: &'static str,
    /// Of what leaves, before it is added to the stream.
    pub after: Option<&'static str>,
}

impl Architecture {
    /// Numbers that one token is multiplied with, as far as they can be counted.
    pub fn multiplied(&self) -> i64 {
        let attention = 2 * (self.heads + self.kv_heads) * self.head_dim * self.hidden;
        let mlp = (if self.gated { 3 } else { 2 }) * self.intermediate * self.hidden;
        let layers = (attention + mlp).saturating_mul(self.layers.len() as i64);
        layers.saturating_add(self.vocab_size.saturating_mul(self.hidden))
    }
}
