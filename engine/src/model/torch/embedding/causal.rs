//! A decoder up to its last norm, run on whole texts: every token sees itself and those before it. Owns: that order. It
//! follows the description that the decoder's family makes of itself, and refuses what it has no way for.

use tch::{TchError, Tensor};

use crate::kernels::Kernels;
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Positions};
use crate::model::torch::config::Fields;
use crate::model::torch::embedding::rows::Rows;
use crate::model::torch::layers::loader::Loader;
use crate::model::torch::layers::mlp::Mlp;
use crate::model::torch::layers::norm::{Norm, Norms};
use crate::model::torch::layers::text_attention::TextAttention;
use crate::model::torch::rope::RopeTables;
use crate::model::torch::weights::{Placement, Weights};

/// See the module.
#[derive(Debug)]
pub(super) struct Causal {
    embedding: Tensor,
    ropes: Vec<RopeTables>,
    layers: Vec<Layer>,
    norm: Norm,
}

#[derive(Debug)]
struct Layer {
    attention_norms: Norms,
    attention: TextAttention,
    mlp_norms: Norms,
    mlp: Mlp,
    /// Which angles it takes.
    rope: usize,
}

impl Causal {
    /// Loads all weights but the output layer; `positions` is the longest text.
    ///
    /// # Errors
    /// One line that names the file and the weight, or a field that asks for more than there is.
    pub(super) fn load(
        architecture: &Architecture,
        weights: &Weights,
        (placement, positions): (Placement, i64),
        fields: &Fields<'_>,
    ) -> Result<Self, Error> {
        let a = architecture;
        // A window that no text outgrows is none.
        let mut windows = a.layers.iter().filter_map(|layer| layer.window);
        if let Some(window) = windows.find(|window| (*window as i64) < positions) {
            let reason = format!(
                "is {window}; supported for embeddings are windows that no text outgrows: {positions} tokens, see --max-model-len"
            );
            return fields.fail("sliding_window", reason);
        }
        let Positions::Rotary(shapes) = &a.positions else {
            let reason = "has learned positions; supported for embeddings are bert and qwen3";
            return fields.fail("model_type", reason.to_owned());
        };
        let loader = Loader {
            weights,
            placement,
            architecture,
        };
        let embedding = loader.table(a.names.embedding, a.vocab_size)?;
        let mut layers = Vec::with_capacity(a.layers.len());
        for (index, kind) in a.layers.iter().enumerate() {
            layers.push(Layer {
                attention_norms: Norms::load(&loader, index, a.names.attention_norms)?,
                attention: TextAttention::load(&loader, index, true)?,
                mlp_norms: Norms::load(&loader, index, a.names.mlp_norms)?,
                mlp: Mlp::load(&loader, index)?,
                rope: kind.rope,
            });
            weights.release();
        }
        let Placement { kind, device, .. } = placement;
        shapes.iter().try_for_each(|shape| shape.check(positions))?;
        let ropes = shapes
            .iter()
            .map(|shape| RopeTables::new(shape, positions, kind, device))
            .collect::<Result<_, _>>();
        Ok(Self {
            embedding,
            ropes: loader.native("rope", ropes)?,
            layers,
            norm: Norm::load(&loader, a.names.last_norm)?,
        })
    }

    /// `[tokens, hidden]` of the rows.
    ///
    /// # Errors
    /// What libtorch says.
    pub(super) fn forward(&self, kernels: &dyn Kernels, rows: &Rows) -> Result<Tensor, TchError> {
        let mut stream = self.embedding.f_index_select(0, &rows.tokens)?;
        let angles = self.ropes.iter().map(|rope| rope.at(&rows.positions));
        let angles = angles.collect::<Result<Vec<_>, _>>()?;
        for layer in &self.layers {
            let seen = (angles.get(layer.rope), &rows.spans[..]);
            let x = layer.attention_norms.enter(kernels, &stream)?;
            let attended = layer.attention.forward(kernels, &x, seen)?;
            layer
                .attention_norms
                .leave(kernels, &mut stream, &attended)?;
            let x = layer.mlp_norms.enter(kernels, &stream)?;
            let x = layer.mlp.forward(kernels, &x)?;
            layer.mlp_norms.leave(kernels, &mut stream, &x)?;
        }
        self.norm.forward(kernels, &stream)
    }
}
