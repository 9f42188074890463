//! What a model of a family is made of: its numbers, and the name and shape of each weight. Owns: the weights' names.

use serde::{Deserialize, Serialize};

/// A kind of decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 2 and 3.
    Llama,
    /// Qwen3: a norm for each head of queries and keys.
    Qwen3,
}

impl Family {
    /// As `config.json` has it.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// How rotation angles are stretched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum Rope {
    /// Not at all.
    Default,
    /// All frequencies are divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// As Llama 3.1 does it.
    Llama3 {
        /// By how much low frequencies are divided.
        factor: f64,
        /// Where low ones begin.
        low_freq_factor: f64,
        /// Where high ones begin.
        high_freq_factor: f64,
        /// Context of training.
        original_max_position_embeddings: u32,
    },
}

/// All numbers of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// Kind of decoder.
    pub family: Family,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Width of the gated layer.
    pub intermediate: u32,
    /// Layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads.
    pub kv_heads: u32,
    /// Numbers of a head.
    pub head_dim: u32,
    /// Longest sequence.
    pub context: u32,
    /// Added to the mean square in norms.
    pub epsilon: f64,
    /// Base of the rotation angles.
    pub rope_theta: f64,
    /// Their stretching.
    pub rope: Rope,
    /// Whether attention's products have a bias.
    pub attention_bias: bool,
    /// Whether the gated layer's have.
    pub mlp_bias: bool,
    /// Whether the embedding is the output layer too.
    pub tied: bool,
}

/// What a weight is for, which says how large its numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Embedding or output layer.
    Vocabulary,
    /// Matrix of a layer.
    Product,
    /// Weight of a norm.
    Norm,
    /// Bias.
    Bias,
}

/// One weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// As in the file.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// What it is for.
    pub role: Role,
}

impl Weight {
    /// How many numbers it has.
    pub fn numbers(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl Shape {
    /// All weights, in the order in which they are written.
    pub fn weights(&self) -> Vec<Weight> {
        let (vocab, hidden) = (u64::from(self.vocab), u64::from(self.hidden));
        let mut list = List::default();
        list.push(
            "model.embed_tokens.weight",
            &[vocab, hidden],
            Role::Vocabulary,
        );
        for layer in 0..self.layers {
            self.layer(&format!("model.layers.{layer}"), &mut list);
        }
        list.push("model.norm.weight", &[hidden], Role::Norm);
        if !self.tied {
            list.push("lm_head.weight", &[vocab, hidden], Role::Vocabulary);
        }
        list.0
    }

    fn layer(&self, prefix: &str, list: &mut List) {
        let (hidden, head_dim) = (u64::from(self.hidden), u64::from(self.head_dim));
        let queries = u64::from(self.heads) * head_dim;
        let keys = u64::from(self.kv_heads) * head_dim;
        let intermediate = u64::from(self.intermediate);
        let products = [
            ("self_attn.q_proj", queries, hidden, self.attention_bias),
            ("self_attn.k_proj", keys, hidden, self.attention_bias),
            ("self_attn.v_proj", keys, hidden, self.attention_bias),
            ("self_attn.o_proj", hidden, queries, self.attention_bias),
            ("mlp.gate_proj", intermediate, hidden, self.mlp_bias),
            ("mlp.up_proj", intermediate, hidden, self.mlp_bias),
            ("mlp.down_proj", hidden, intermediate, self.mlp_bias),
        ];
        for (part, outputs, inputs, bias) in products {
            list.push(
                &format!("{prefix}.{part}.weight"),
                &[outputs, inputs],
                Role::Product,
            );
            if bias {
                list.push(&format!("{prefix}.{part}.bias"), &[outputs], Role::Bias);
            }
        }
        if self.family == Family::Qwen3 {
            for part in ["q_norm", "k_norm"] {
                list.push(
                    &format!("{prefix}.self_attn.{part}.weight"),
                    &[head_dim],
                    Role::Norm,
                );
            }
        }
        for part in ["input_layernorm", "post_attention_layernorm"] {
            list.push(&format!("{prefix}.{part}.weight"), &[hidden], Role::Norm);
        }
    }

    /// Numbers of a token's keys and values over all layers.
    pub fn kv_numbers_per_token(&self) -> u64 {
        2 * u64::from(self.layers) * u64::from(self.kv_heads) * u64::from(self.head_dim)
    }
}

#[derive(Default)]
struct List(Vec<Weight>);

impl List {
    fn push(&mut self, name: &str, shape: &[u64], role: Role) {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.0.push(Weight { name, shape, role });
    }
}
