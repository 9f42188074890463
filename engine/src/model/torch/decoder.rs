//! The decoder of all families: tokens to embeddings, layers of attention and what is between, the last norm, logits.
//! Owns: the order of the parts, and which reads and angles each layer takes. Knows no sequence (a step is rows, places
//! and reads) and no family: it follows an [`Architecture`].

use tch::{Kind, TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, PoolShape};
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Positions};
use crate::model::torch::layers::attention::{Attention, Sight};
use crate::model::torch::layers::loader::Loader;
use crate::model::torch::layers::mlp::Mlp;
use crate::model::torch::layers::norm::{Norm, Norms};
use crate::model::torch::rope::RopeTables;
use crate::model::torch::step::Inputs;
use crate::model::torch::weights::{Placement, Weights};

/// A decoder without its KV pages.
#[derive(Debug)]
pub struct Decoder {
    architecture: Architecture,
    embedding: Tensor,
    /// As the weights' type rounds it.
    embedding_scale: Option<f64>,
    /// A vector for each position, where positions are learned.
    positions: Option<Tensor>,
    ropes: Vec<RopeTables>,
    /// Windows that differ; layers name theirs by its place.
    windows: Vec<Option<usize>>,
    layers: Vec<Layer>,
    norm: Norm,
    output: Linear,
}

#[derive(Debug)]
struct Layer {
    attention_norms: Norms,
    attention: Attention,
    mlp_norms: Norms,
    mlp: Mlp,
    /// Which angles it takes, if any.
    rope: usize,
    /// Which reads.
    reads: usize,
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
            architecture: &architecture,
        };
        let a = &architecture;
        let embedding = loader.table(a.names.embedding, a.vocab_size)?;
        let mut windows = Vec::new();
        let mut layers = Vec::with_capacity(a.layers.len());
        for (index, kind) in a.layers.iter().enumerate() {
            // A window that no sequence outgrows is none.
            let window = kind.window.filter(|window| (*window as i64) < positions);
            let known = windows.iter().position(|other| *other == window);
            let reads = known.unwrap_or_else(|| {
                windows.push(window);
                windows.len() - 1
            });
            layers.push(Layer {
                attention_norms: Norms::load(&loader, index, a.names.attention_norms)?,
                attention: Attention::load(&loader, index)?,
                mlp_norms: Norms::load(&loader, index, a.names.mlp_norms)?,
                mlp: Mlp::load(&loader, index)?,
                rope: kind.rope,
                reads,
            });
            weights.release();
        }
        let output = output(&loader, &embedding)?;
        weights.release();
        let (learned, ropes) = position_tables(&loader, positions)?;
        Ok(Self {
            embedding_scale: loader.native("embedding", rounded_scale(a, placement.kind))?,
            norm: Norm::load(&loader, a.names.last_norm)?,
            positions: learned,
            embedding,
            ropes,
            windows,
            layers,
            output,
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

    /// How many tokens a token sees, itself included, in layers of each kind; `None`: all. A step has reads for each.
    pub fn windows(&self) -> &[Option<usize>] {
        &self.windows
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
        let mut stream = self.embed(inputs)?;
        let angles = self.ropes.iter().map(|rope| rope.at(&inputs.positions));
        let angles = angles.collect::<Result<Vec<_>, _>>()?;
        for (layer, pages) in self.layers.iter().zip(pages) {
            let sight = Sight {
                angles: angles.get(layer.rope),
                slots: &inputs.slots,
                reads: &inputs.reads[layer.reads],
            };
            let x = layer.attention_norms.enter(kernels, &stream)?;
            let attended = layer.attention.forward(kernels, pages, &x, &sight)?;
            layer
                .attention_norms
                .leave(kernels, &mut stream, &attended)?;

            let x = layer.mlp_norms.enter(kernels, &stream)?;
            let x = layer.mlp.forward(kernels, &x)?;
            layer.mlp_norms.leave(kernels, &mut stream, &x)?;
        }
        let rows = match &inputs.sampled {
            None => stream,
            Some(rows) if rows.numel() == 0 => return Ok(None),
            Some(rows) => stream.f_index_select(0, rows)?,
        };
        let rows = self.norm.forward(kernels, &rows)?;
        let mut logits = kernels.multiply(&rows, &self.output)?;
        if let Some(cap) = self.architecture.logit_cap {
            logits = logits.f_div_scalar_(cap)?.f_tanh_()?.f_mul_scalar_(cap)?;
        }
        Ok(Some(logits))
    }

    fn embed(&self, inputs: &Inputs) -> Result<Tensor, TchError> {
        let mut stream = self.embedding.f_index_select(0, &inputs.tokens)?;
        if let Some(scale) = self.embedding_scale {
            stream = stream.f_mul_scalar_(scale)?;
        }
        if let Some(table) = &self.positions {
            stream = stream.f_add_(&table.f_index_select(0, &inputs.positions)?)?;
        }
        Ok(stream)
    }
}

/// The output layer: a weight of its own, or the embedding.
fn output(loader: &Loader<'_>, embedding: &Tensor) -> Result<Linear, Error> {
    let a = loader.architecture;
    let name = a.names.output;
    if a.tied {
        let linear = loader
            .placement
            .kernels
            .linear(std::slice::from_ref(embedding), None);
        return Ok(loader.native(name, linear)?.wide());
    }
    let weight = loader.table(name, a.vocab_size)?;
    let linear = loader.placement.kernels.linear(&[weight], None);
    Ok(loader.native(name, linear)?.wide())
}

/// Learned positions, or angles.
fn position_tables(
    loader: &Loader<'_>,
    positions: i64,
) -> Result<(Option<Tensor>, Vec<RopeTables>), Error> {
    let Placement {
        kind,
        device,
        kernels,
    } = loader.placement;
    match &loader.architecture.positions {
        Positions::Learned { name, count } => Ok((Some(loader.table(name, *count)?), Vec::new())),
        Positions::Rotary(shapes) => {
            shapes.iter().try_for_each(|shape| shape.check(positions))?;
            let tables = shapes
                .iter()
                .map(|shape| RopeTables::new(shape, positions, kernels.small_kind(kind), device))
                .collect::<Result<_, _>>();
            Ok((None, loader.native("rope", tables)?))
        }
    }
}

/// Transformers keeps the scale in the type of the weights.
fn rounded_scale(a: &Architecture, kind: Kind) -> Result<Option<f64>, TchError> {
    let round = |scale: f64| {
        let scale = Tensor::f_from_slice(&[scale as f32])?.f_to_kind(kind)?;
        scale.f_double_value(&[0])
    };
    a.embedding_scale.map(round).transpose()
}
