//! The layers of a decoder with pre-norms, grouped-query attention and a gated layer: Llama 2 and 3, Qwen3. Owns:
//! weights and the KV pages of each layer. Knows no sequence: a step is rows, places and reads.

use tch::{TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, PoolShape, Reads};
use crate::model::Error;
use crate::model::torch::config::Architecture;
use crate::model::torch::rope::{RopeShape, RopeTables};
use crate::model::torch::weights::{Placement, Weights};

/// A decoder without its KV pages.
#[derive(Debug)]
pub struct Decoder {
    architecture: Architecture,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Linear,
    rope: RopeTables,
}

/// One step as the layers see it.
#[derive(Debug)]
pub struct Inputs {
    /// `[tokens]`.
    pub tokens: Tensor,
    /// `[tokens]`.
    pub positions: Tensor,
    /// `[tokens]`: where their keys and values go.
    pub slots: Tensor,
    /// Which rows get logits; `None` when all, in order.
    pub sampled: Option<Tensor>,
    /// Whose keys and values are read.
    pub reads: Reads,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    /// Queries, keys and values in one product.
    qkv: Linear,
    /// `[heads + kv_heads, head_dim]`: the weights of the norms of single heads.
    head_norms: Option<Tensor>,
    attention_out: Linear,
    mlp_norm: Tensor,
    /// Gate and up in one product.
    gate_up: Linear,
    down: Linear,
}

impl Decoder {
    /// Loads all weights; `positions` is the longest sequence.
    ///
    /// # Errors
    /// One line that names the file and the weight.
    pub fn load(
        architecture: Architecture,
        weights: &Weights,
        placement: Placement,
        positions: i64,
    ) -> Result<Self, Error> {
        let loader = Loader {
            weights,
            placement,
            a: &architecture,
        };
        let (vocab, hidden) = (architecture.vocab_size, architecture.hidden);
        let embedding = weights.get("model.embed_tokens.weight", &[vocab, hidden], placement)?;
        let layers = (0..architecture.layers)
            .map(|index| {
                let layer = loader.layer(index);
                weights.release();
                layer
            })
            .collect::<Result<_, _>>()?;
        let output = if architecture.tied {
            loader.native("lm_head", Linear::new(&embedding, None))?
        } else {
            let weight = weights.get("lm_head.weight", &[vocab, hidden], placement)?;
            loader.native("lm_head", Linear::new(&weight, None))?
        };
        weights.release();
        let shape = RopeShape {
            positions,
            head_dim: architecture.head_dim,
            theta: architecture.rope_theta,
            scaling: architecture.rope_scaling,
        };
        let rope = RopeTables::new(&shape, placement.kind, placement.device);
        Ok(Self {
            embedding,
            layers,
            norm: loader.vector("model.norm.weight", hidden)?,
            output,
            rope: loader.native("rope", rope)?,
            architecture,
        })
    }

    /// Shape of the KV pool with so many pages.
    pub fn pool(&self, blocks: i64, block_tokens: i64) -> PoolShape {
        PoolShape {
            blocks,
            block_tokens,
            kv_heads: self.architecture.kv_heads,
            head_dim: self.architecture.head_dim,
            kind: self.embedding.kind(),
            device: self.embedding.device(),
        }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Runs the layers over one step: `[sampled rows, vocab]`, or `None` when no row is sampled. `pages` has one entry a
    /// layer.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(
        &self,
        kernels: &dyn Kernels,
        pages: &mut [LayerPages],
        inputs: &Inputs,
    ) -> Result<Option<Tensor>, TchError> {
        let epsilon = self.architecture.epsilon;
        let mut stream = self.embedding.f_index_select(0, &inputs.tokens)?;
        let (cos, sin) = self.rope.at(&inputs.positions)?;
        for (layer, pages) in self.layers.iter().zip(pages) {
            let x = kernels.rms_norm(&stream, &layer.attention_norm, epsilon)?;
            let (qk, value) = self.queries_keys_values(kernels, layer, &x)?;
            let qk = kernels.rotate(&qk, &cos, &sin)?;
            let (heads, kv_heads) = (self.architecture.heads, self.architecture.kv_heads);
            kernels.store(
                pages,
                &qk.f_narrow(1, heads, kv_heads)?,
                &value,
                &inputs.slots,
            )?;
            let attended = kernels.attend(&qk.f_narrow(1, 0, heads)?, pages, &inputs.reads)?;
            let _ = stream.f_add_(&layer.attention_out.forward(&attended)?)?;

            let x = kernels.rms_norm(&stream, &layer.mlp_norm, epsilon)?;
            let gated = kernels.gate(&layer.gate_up.forward(&x)?)?;
            let _ = stream.f_add_(&layer.down.forward(&gated)?)?;
        }
        let rows = match &inputs.sampled {
            None => stream,
            Some(rows) if rows.numel() == 0 => return Ok(None),
            Some(rows) => stream.f_index_select(0, rows)?,
        };
        let x = kernels.rms_norm(&rows, &self.norm, epsilon)?;
        self.output.forward(&x).map(Some)
    }

    /// `[tokens, heads + kv_heads, head_dim]` and `[tokens, kv_heads, head_dim]`.
    fn queries_keys_values(
        &self,
        kernels: &dyn Kernels,
        layer: &Layer,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor), TchError> {
        let a = &self.architecture;
        let all = layer
            .qkv
            .forward(x)?
            .f_view([-1, a.heads + 2 * a.kv_heads, a.head_dim])?;
        let turned = all.f_narrow(1, 0, a.heads + a.kv_heads)?;
        let value = all.f_narrow(1, a.heads + a.kv_heads, a.kv_heads)?;
        match &layer.head_norms {
            None => Ok((turned, value)),
            Some(weights) => {
                // The norm is over the last dimension alone; queries and keys differ in the weights that follow.
                let unit = Tensor::f_ones([a.head_dim], (turned.kind(), turned.device()))?;
                let mut normed = kernels.rms_norm(&turned, &unit, a.epsilon)?;
                Ok((normed.f_mul_(weights)?, value))
            }
        }
    }
}

struct Loader<'a> {
    weights: &'a Weights,
    placement: Placement,
    a: &'a Architecture,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<Layer, Error> {
        let a = self.a;
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let (queries, keys) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let attention = [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)]
            .map(|(part, rows)| (name(&format!("self_attn.{part}")), rows));
        let mlp =
            ["gate_proj", "up_proj"].map(|part| (name(&format!("mlp.{part}")), a.intermediate));
        let out = [(name("self_attn.o_proj"), a.hidden)];
        let down = [(name("mlp.down_proj"), a.hidden)];
        Ok(Layer {
            attention_norm: self.vector(&name("input_layernorm.weight"), a.hidden)?,
            qkv: self.linear(&attention, a.hidden, a.attention_bias)?,
            head_norms: a.head_norm.then(|| self.head_norms(index)).transpose()?,
            attention_out: self.linear(&out, queries, a.attention_bias)?,
            mlp_norm: self.vector(&name("post_attention_layernorm.weight"), a.hidden)?,
            gate_up: self.linear(&mlp, a.hidden, a.mlp_bias)?,
            down: self.linear(&down, a.intermediate, a.mlp_bias)?,
        })
    }

    /// Several weights with equal inputs as one product.
    fn linear(&self, parts: &[(String, i64)], inputs: i64, bias: bool) -> Result<Linear, Error> {
        let first = &parts[0].0;
        let mut weights = Vec::new();
        let mut biases = Vec::new();
        for (name, rows) in parts {
            weights.push(self.weights.get(
                &format!("{name}.weight"),
                &[*rows, inputs],
                self.placement,
            )?);
            if bias {
                biases.push(self.vector(&format!("{name}.bias"), *rows)?);
            }
        }
        let merged = || {
            let bias = if bias {
                Some(Tensor::f_cat(&biases, 0)?)
            } else {
                None
            };
            match &weights[..] {
                [weight] => Linear::new(weight, bias),
                several => Linear::new(&Tensor::f_cat(several, 0)?, bias),
            }
        };
        self.native(first, merged())
    }

    fn head_norms(&self, index: usize) -> Result<Tensor, Error> {
        let a = self.a;
        let name = |part: &str| format!("model.layers.{index}.self_attn.{part}.weight");
        let query = self.vector(&name("q_norm"), a.head_dim)?;
        let key = self.vector(&name("k_norm"), a.head_dim)?;
        let merged = || {
            let query = query
                .f_unsqueeze(0)?
                .f_expand([a.heads, a.head_dim], false)?;
            let key = key
                .f_unsqueeze(0)?
                .f_expand([a.kv_heads, a.head_dim], false)?;
            Tensor::f_cat(&[query, key], 0)
        };
        self.native(&name("q_norm"), merged())
    }

    /// A small weight, copied, so that the file's pages can go.
    fn vector(&self, name: &str, len: i64) -> Result<Tensor, Error> {
        let view = self.weights.get(name, &[len], self.placement)?;
        self.native(name, view.f_detach_copy())
    }

    fn native<T>(&self, name: &str, result: Result<T, TchError>) -> Result<T, Error> {
        result.map_err(|error| Error::Field {
            file: self.weights.main_file().to_owned(),
            field: name.to_owned(),
            reason: format!("cannot be loaded: {error}"),
        })
    }
}
