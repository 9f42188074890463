//! Attention with grouped queries over the KV pages. Owns: its weights; norms and turning of single heads.

use tch::{TchError, Tensor};

use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, Reads};
use crate::kernels::{Kernels, Scores};
use crate::model::Error;
use crate::model::torch::layers::loader::{Loader, Product};
use crate::model::torch::layers::norm;
use crate::model::torch::rope::Angles;

/// See the module.
#[derive(Debug)]
pub struct Attention {
    /// Queries, keys and values in one product.
    qkv: Linear,
    head_norms: Option<HeadNorms>,
    out: Linear,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scores: Scores,
}

/// Norms of single heads: the same for queries and keys, but for the weights that follow.
#[derive(Debug)]
struct HeadNorms {
    /// `[head_dim]`.
    ones: Tensor,
    /// `[heads + kv_heads, head_dim]`.
    weights: Tensor,
    epsilon: f64,
}

/// What a layer sees of a step.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Of its tokens; `None` where positions were added to the embedding.
    pub angles: Option<&'a Angles>,
    /// Where keys and values of its tokens go.
    pub slots: &'a Tensor,
    /// Whose keys and values are read.
    pub reads: &'a Reads,
}

impl Attention {
    /// Loads that of a layer.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn load(loader: &Loader<'_>, layer: usize) -> Result<Self, Error> {
        let a = loader.architecture;
        let (queries, keys) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let qkv = Product {
            names: &loader.names(layer, a.names.qkv),
            outputs: &[queries, keys, keys],
            inputs: a.hidden,
            bias: a.biases.qkv,
        };
        let out = Product {
            names: &loader.names(layer, &[a.names.out]),
            outputs: &[a.hidden],
            inputs: queries,
            bias: a.biases.out,
        };
        let head_norms = match a.names.head_norms {
            None => None,
            Some(parts) => Some(HeadNorms::load(loader, layer, parts)?),
        };
        Ok(Self {
            qkv: loader.linear(&qkv)?,
            head_norms,
            out: loader.linear(&out)?,
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            scores: a.scores,
        })
    }

    /// Runs it on `[tokens, hidden]`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(
        &self,
        kernels: &dyn Kernels,
        pages: &mut LayerPages,
        x: &Tensor,
        sight: &Sight<'_>,
    ) -> Result<Tensor, TchError> {
        let turned = self.heads + self.kv_heads;
        let all = self.qkv.forward(x)?;
        let all = all.f_view([-1, turned + self.kv_heads, self.head_dim])?;
        let mut qk = all.f_narrow(1, 0, turned)?;
        let value = all.f_narrow(1, turned, self.kv_heads)?;
        if let Some(norms) = &self.head_norms {
            qk = norms.forward(kernels, &qk)?;
        }
        if let Some(angles) = sight.angles {
            qk = kernels.rotate(&qk, &angles.cos, &angles.sin)?;
        }
        let key = qk.f_narrow(1, self.heads, self.kv_heads)?;
        kernels.store(pages, &key, &value, sight.slots)?;
        let query = qk.f_narrow(1, 0, self.heads)?;
        let attended = kernels.attend(&query, pages, sight.reads, self.scores)?;
        self.out.forward(&attended)
    }
}

impl HeadNorms {
    fn load(loader: &Loader<'_>, layer: usize, parts: [&str; 2]) -> Result<Self, Error> {
        let a = loader.architecture;
        let [query, key] = parts.map(|part| loader.name(layer, part));
        let of_query = norm::weight(loader, &query, a.head_dim)?;
        let of_key = norm::weight(loader, &key, a.head_dim)?;
        let merged = || {
            let row = |weight: &Tensor, heads| {
                weight.f_unsqueeze(0)?.f_expand([heads, a.head_dim], false)
            };
            let rows = [row(&of_query, a.heads)?, row(&of_key, a.kv_heads)?];
            Tensor::f_cat(&rows, 0)
        };
        let options = (of_query.kind(), of_query.device());
        let ones = Tensor::f_ones([a.head_dim], options);
        Ok(Self {
            ones: loader.native(&query, ones)?,
            weights: loader.native(&query, merged())?,
            epsilon: a.epsilon,
        })
    }

    fn forward(&self, kernels: &dyn Kernels, qk: &Tensor) -> Result<Tensor, TchError> {
        // Where weights are of 32 bits, what they multiply is not rounded before.
        let wide = qk.f_to_kind(self.weights.kind())?;
        let mut normed = kernels.rms_norm(&wide, &self.ones, self.epsilon)?;
        normed.f_mul_(&self.weights)?.f_to_kind(qk.kind())
    }
}
