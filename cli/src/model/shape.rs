//! What a model of a family is made of: its numbers, and the name and shape of each weight. Owns: the weights' names.

use serde::{Deserialize, Serialize};

use super::bert;

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 2 and 3.
    Llama,
    /// Mistral: a window in each layer.
    Mistral,
    /// Qwen2 and 2.5: biases on queries, keys and values; windows in upper layers.
    Qwen2,
    /// Qwen3: a norm for each head of queries and keys.
    Qwen3,
    /// Phi-3: queries, keys and values in one weight, gate and up in another.
    Phi3,
    /// Gemma 2: norms on both sides, caps, a window in every other layer.
    Gemma2,
    /// Gemma 3, text: norms on both sides and of heads; most layers have a window and angles of their own.
    Gemma3,
    /// GPT-2: learned positions, no gate, matrices stored transposed.
    Gpt2,
    /// BERT: an encoder, for vectors.
    Bert,
    /// Qwen3 without its output layer, for vectors.
    #[serde(rename = "qwen3-embedding")]
    Qwen3Embedding,
}

impl Family {
    /// All that `model_type` tells apart.
    pub const ALL: [Self; 9] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Phi3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Gpt2,
        Self::Bert,
    ];

    /// As `config.json` has it.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 | Self::Qwen3Embedding => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Gpt2 => "gpt2",
            Self::Bert => "bert",
        }
    }

    /// Whether it makes vectors.
    pub fn makes_vectors(self) -> bool {
        matches!(self, Self::Bert | Self::Qwen3Embedding)
    }

    pub(super) fn is_qwen3(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Embedding)
    }

    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether a file can choose to have biases around attention.
    pub(super) fn chooses_biases(self) -> bool {
        self == Self::Llama || self.is_qwen3() || self.is_gemma()
    }

    /// Whether a head has its share of the hidden size and no other.
    pub(super) fn divides_hidden(self) -> bool {
        matches!(self, Self::Phi3 | Self::Gpt2 | Self::Bert)
    }
}

/// How rotation angles are stretched, as `config.json` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum Rope {
    /// Not at all.
    Default,
    /// All frequencies are divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// Only beyond the context.
    Dynamic {
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
    /// As Qwen2.5 does it.
    Yarn {
        /// By how much low frequencies are divided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        factor: Option<f64>,
        /// Context of training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_max_position_embeddings: Option<u32>,
    },
    /// As Phi-3 does it.
    #[serde(alias = "su")]
    Longrope {
        /// Of each frequency, within the context of training.
        short_factor: Vec<f64>,
        /// Beyond it.
        long_factor: Vec<f64>,
        /// Context of training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_max_position_embeddings: Option<u32>,
    },
}

/// All numbers of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// Kind of model.
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
    /// Share of each head that is turned.
    pub partial_rotary: f64,
    /// Tokens that layers with a window see.
    pub window: Option<u32>,
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
    /// The same, where embeddings are multiplied before the first layer.
    ScaledVocabulary,
    /// Matrix of a layer.
    Product,
    /// The same, stored `[in, out]`.
    TransposedProduct,
    /// Weight of a norm.
    Norm,
    /// The same, stored less one.
    NormLessOne,
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

/// A product of a layer: name, outputs, inputs, whether it has a bias.
type Product = (&'static str, u64, u64, bool);

impl Shape {
    /// All weights, in the order in which they are written.
    pub fn weights(&self) -> Vec<Weight> {
        if self.family == Family::Bert {
            return bert::weights(self);
        }
        let (vocab, hidden) = (u64::from(self.vocab), u64::from(self.hidden));
        let vocabulary = if self.family.is_gemma() {
            Role::ScaledVocabulary
        } else {
            Role::Vocabulary
        };
        let mut list = List::default();
        if self.family == Family::Gpt2 {
            let context = u64::from(self.context);
            list.push("transformer.wte.weight", &[vocab, hidden], vocabulary);
            list.push("transformer.wpe.weight", &[context, hidden], vocabulary);
        } else {
            list.push("model.embed_tokens.weight", &[vocab, hidden], vocabulary);
        }
        for layer in 0..self.layers {
            let (prefix, products, norms) = if self.family == Family::Gpt2 {
                let norms = vec!["ln_1", "ln_2"];
                (
                    format!("transformer.h.{layer}"),
                    self.gpt2_products(),
                    norms,
                )
            } else {
                (
                    format!("model.layers.{layer}"),
                    self.products(),
                    self.norms(),
                )
            };
            for product in products {
                self.product(&prefix, product, &mut list);
            }
            if self.family.is_qwen3() || self.family == Family::Gemma3 {
                for part in ["self_attn.q_norm", "self_attn.k_norm"] {
                    self.norm(&format!("{prefix}.{part}"), self.head_dim, &mut list);
                }
            }
            for part in norms {
                self.norm(&format!("{prefix}.{part}"), self.hidden, &mut list);
            }
        }
        let last = if self.family == Family::Gpt2 {
            "transformer.ln_f"
        } else {
            "model.norm"
        };
        self.norm(last, self.hidden, &mut list);
        if !self.tied {
            list.push("lm_head.weight", &[vocab, hidden], vocabulary);
        }
        list.0
    }

    fn products(&self) -> Vec<Product> {
        let (hidden, head_dim) = (u64::from(self.hidden), u64::from(self.head_dim));
        let queries = u64::from(self.heads) * head_dim;
        let keys = u64::from(self.kv_heads) * head_dim;
        let intermediate = u64::from(self.intermediate);
        let bias = self.attention_bias || self.family == Family::Qwen2;
        let out = ("self_attn.o_proj", hidden, queries, self.attention_bias);
        let down = ("mlp.down_proj", hidden, intermediate, self.mlp_bias);
        if self.family == Family::Phi3 {
            let qkv = ("self_attn.qkv_proj", queries + 2 * keys, hidden, false);
            let gate_up = ("mlp.gate_up_proj", 2 * intermediate, hidden, false);
            return vec![qkv, out, gate_up, down];
        }
        vec![
            ("self_attn.q_proj", queries, hidden, bias),
            ("self_attn.k_proj", keys, hidden, bias),
            ("self_attn.v_proj", keys, hidden, bias),
            out,
            ("mlp.gate_proj", intermediate, hidden, self.mlp_bias),
            ("mlp.up_proj", intermediate, hidden, self.mlp_bias),
            down,
        ]
    }

    fn gpt2_products(&self) -> Vec<Product> {
        let (hidden, intermediate) = (u64::from(self.hidden), u64::from(self.intermediate));
        vec![
            ("attn.c_attn", 3 * hidden, hidden, true),
            ("attn.c_proj", hidden, hidden, true),
            ("mlp.c_fc", intermediate, hidden, true),
            ("mlp.c_proj", hidden, intermediate, true),
        ]
    }

    fn norms(&self) -> Vec<&'static str> {
        let mut norms = vec!["input_layernorm", "post_attention_layernorm"];
        if self.family.is_gemma() {
            norms.extend(["pre_feedforward_layernorm", "post_feedforward_layernorm"]);
        }
        norms
    }

    fn product(&self, prefix: &str, product: Product, list: &mut List) {
        let (part, outputs, inputs, bias) = product;
        let (shape, role) = if self.family == Family::Gpt2 {
            ([inputs, outputs], Role::TransposedProduct)
        } else {
            ([outputs, inputs], Role::Product)
        };
        list.push(&format!("{prefix}.{part}.weight"), &shape, role);
        if bias {
            list.push(&format!("{prefix}.{part}.bias"), &[outputs], Role::Bias);
        }
    }

    fn norm(&self, name: &str, len: u32, list: &mut List) {
        let role = if self.family.is_gemma() {
            Role::NormLessOne
        } else {
            Role::Norm
        };
        list.push(&format!("{name}.weight"), &[u64::from(len)], role);
        if self.family == Family::Gpt2 {
            list.push(&format!("{name}.bias"), &[u64::from(len)], Role::Bias);
        }
    }

    /// Whether a layer has a window.
    pub(super) fn windowed(&self, layer: u32) -> bool {
        match self.family {
            Family::Llama | Family::Gpt2 | Family::Bert => false,
            Family::Mistral | Family::Phi3 => self.window.is_some(),
            Family::Qwen2 | Family::Qwen3 | Family::Qwen3Embedding => {
                self.window.is_some() && layer >= self.first_windowed()
            }
            Family::Gemma2 => layer.is_multiple_of(2),
            Family::Gemma3 => !(layer + 1).is_multiple_of(GEMMA3_PATTERN),
        }
    }

    /// In families whose upper layers have windows.
    pub(super) fn first_windowed(&self) -> u32 {
        self.layers / 2
    }

    /// Numbers of a token's keys and values over all layers; none where they are not kept.
    pub fn kv_numbers_per_token(&self) -> u64 {
        if self.family.makes_vectors() {
            return 0;
        }
        2 * u64::from(self.layers) * u64::from(self.kv_heads) * u64::from(self.head_dim)
    }
}

/// In made models every so many layers have no window. Google's have six, which takes more layers than a test needs.
pub(super) const GEMMA3_PATTERN: u32 = 3;

#[derive(Default)]
pub(super) struct List(pub(super) Vec<Weight>);

impl List {
    pub(super) fn push(&mut self, name: &str, shape: &[u64], role: Role) {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.0.push(Weight { name, shape, role });
    }
}
