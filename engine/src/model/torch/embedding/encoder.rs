//! The encoder: the sum of three tables, then layers in which every token sees every other, a norm after each sum. Owns:
//! that order. Knows no family: it follows what [`bert`](super::bert) read.

use tch::{TchError, Tensor};

use crate::kernels::Kernels;
use crate::model::Error;
use crate::model::torch::embedding::bert::Bert;
use crate::model::torch::embedding::rows::Rows;
use crate::model::torch::layers::loader::Loader;
use crate::model::torch::layers::mlp::Mlp;
use crate::model::torch::layers::norm::Norm;
use crate::model::torch::layers::text_attention::TextAttention;
use crate::model::torch::weights::{Placement, Weights};

/// See the module.
#[derive(Debug)]
pub(super) struct Encoder {
    words: Tensor,
    positions: Tensor,
    /// Of a text that is alone: the first type.
    token_type: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    attention: TextAttention,
    attention_norm: Norm,
    mlp: Mlp,
    mlp_norm: Norm,
}

impl Encoder {
    /// Loads all weights.
    ///
    /// # Errors
    /// One line that names the file and the weight.
    pub(super) fn load(
        bert: &Bert,
        weights: &Weights,
        placement: Placement,
    ) -> Result<Self, Error> {
        let a = &bert.parts;
        let loader = Loader {
            weights,
            placement,
            architecture: a,
        };
        let (types, type_count) = bert.token_types;
        let types_table = loader.table(types, type_count)?;
        let first_type = || types_table.f_select(0, 0)?.f_detach_copy();
        let (positions, position_count) = bert.positions;
        let mut layers = Vec::with_capacity(a.layers.len());
        for index in 0..a.layers.len() {
            let norm = |part| Norm::load(&loader, &loader.name(index, part));
            layers.push(Layer {
                attention: TextAttention::load(&loader, index, false)?,
                attention_norm: norm(a.names.attention_norms.before)?,
                mlp: Mlp::load(&loader, index)?,
                mlp_norm: norm(a.names.mlp_norms.before)?,
            });
            weights.release();
        }
        Ok(Self {
            words: loader.table(a.names.embedding, a.vocab_size)?,
            positions: loader.table(positions, position_count)?,
            token_type: loader.native(types, first_type())?,
            norm: Norm::load(&loader, bert.first_norm)?,
            layers,
        })
    }

    /// `[tokens, hidden]` of the rows.
    ///
    /// # Errors
    /// What libtorch says.
    pub(super) fn forward(&self, kernels: &dyn Kernels, rows: &Rows) -> Result<Tensor, TchError> {
        let mut sum = self.words.f_index_select(0, &rows.tokens)?;
        sum = sum.f_add_(&self.token_type)?;
        sum = sum.f_add_(&self.positions.f_index_select(0, &rows.positions)?)?;
        let mut stream = self.norm.forward(kernels, &sum)?;
        for layer in &self.layers {
            let mut sum = layer
                .attention
                .forward(kernels, &stream, (None, &rows.spans))?;
            stream = layer
                .attention_norm
                .forward(kernels, &sum.f_add_(&stream)?)?;
            let mut sum = layer.mlp.forward(kernels, &stream)?;
            stream = layer.mlp_norm.forward(kernels, &sum.f_add_(&stream)?)?;
        }
        Ok(stream)
    }
}
