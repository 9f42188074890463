//! Attention with grouped queries over the KV pages. Owns: its weights.

use tch::{TchError, Tensor};

use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, Reads, Slots};
use crate::kernels::{Angles, HeadNorms, Heads, Kernels, Scores};
use crate::model::Error;
use crate::model::torch::layers::loader::Loader;
use crate::model::torch::layers::norm;

/// See the module.
#[derive(Debug)]
pub struct Attention {
    /// Queries, keys and values in one product.
    qkv: Linear,
    head_norms: Option<HeadNorms>,
    out: Linear,
    heads: i64,
    head_dim: i64,
    scores: Scores,
}

/// What a layer sees of a step.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Of its tokens; `None` where positions were added to the embedding.
    pub angles: Option<&'a Angles>,
    /// Where keys and values of its tokens go.
    pub slots: &'a Slots,
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
        let (qkv, out) = loader.attention(layer)?;
        let head_norms = match a.names.head_norms {
            None => None,
            Some(parts) => Some(head_norms(loader, layer, parts)?),
        };
        Ok(Self {
            qkv,
            head_norms,
            out,
            heads: a.heads,
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
        let qkv = kernels.multiply(x, &self.qkv)?;
        let heads = Heads {
            qkv: &qkv,
            heads: self.heads,
            head_dim: self.head_dim,
            norms: self.head_norms.as_ref(),
            angles: sight.angles,
            slots: sight.slots,
        };
        let query = kernels.heads(pages, &heads)?;
        let attended = kernels.attend(&query, pages, sight.reads, self.scores)?;
        kernels.multiply(&attended, &self.out)
    }
}

fn head_norms(loader: &Loader<'_>, layer: usize, parts: [&str; 2]) -> Result<HeadNorms, Error> {
    let a = loader.architecture;
    let [query, key] = parts.map(|part| loader.name(layer, part));
    let of_query = norm::weight(loader, &query, a.head_dim)?;
    let of_key = norm::weight(loader, &key, a.head_dim)?;
    let merged = || {
        let row =
            |weight: &Tensor, heads| weight.f_unsqueeze(0)?.f_expand([heads, a.head_dim], false);
        let rows = [row(&of_query, a.heads)?, row(&of_key, a.kv_heads)?];
        Tensor::f_cat(&rows, 0)
    };
    Ok(HeadNorms {
        weights: loader.native(&query, merged())?,
        epsilon: a.epsilon,
    })
}
