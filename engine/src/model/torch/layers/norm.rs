//! Norms, alone and around a part of a layer. Owns: their kinds.

use tch::{Kind, TchError, Tensor};

use crate::kernels::Kernels;
use crate::model::Error;
use crate::model::torch::architecture::{Around, NormKind};
use crate::model::torch::layers::loader::Loader;

/// Over the last dimension.
#[derive(Debug)]
pub struct Norm {
    weight: Tensor,
    /// Only norms that take the mean away have one.
    bias: Option<Tensor>,
    epsilon: f64,
}

impl Norm {
    /// Loads it; the name is without `.weight`.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn load(loader: &Loader<'_>, name: &str) -> Result<Self, Error> {
        let a = loader.architecture;
        let bias = match a.norm {
            NormKind::Rms | NormKind::RmsLessOne => None,
            NormKind::Layer => Some(loader.vector(&format!("{name}.bias"), a.hidden)?),
        };
        Ok(Self {
            weight: weight(loader, name, a.hidden)?,
            bias,
            epsilon: a.epsilon,
        })
    }

    /// Runs it.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(&self, kernels: &dyn Kernels, x: &Tensor) -> Result<Tensor, TchError> {
        match &self.bias {
            None => kernels.rms_norm(x, &self.weight, self.epsilon),
            Some(_) => {
                let bias = self.bias.as_ref();
                let size = self.weight.size();
                x.f_layer_norm(size, Some(&self.weight), bias, self.epsilon, false)
            }
        }
    }
}

/// The weight of a norm. Where it is stored less one, the one is added in 32 bits and stays there: in 16 it would round
/// away what the file says.
pub(super) fn weight(loader: &Loader<'_>, name: &str, len: i64) -> Result<Tensor, Error> {
    let stored = loader.vector(&format!("{name}.weight"), len)?;
    match loader.architecture.norm {
        NormKind::Layer => Ok(stored),
        NormKind::Rms => {
            let kind = loader.placement.kernels.small_kind(stored.kind());
            loader.native(name, stored.f_to_kind(kind))
        }
        NormKind::RmsLessOne => {
            let whole = || stored.f_to_kind(Kind::Float)?.f_add_scalar(1.0);
            loader.native(name, whole())
        }
    }
}

/// Norms before and, in some families, after a part.
#[derive(Debug)]
pub struct Norms {
    before: Norm,
    after: Option<Norm>,
}

impl Norms {
    /// Loads those of a layer.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn load(loader: &Loader<'_>, layer: usize, names: Around) -> Result<Self, Error> {
        let norm = |part| Norm::load(loader, &loader.name(layer, part));
        Ok(Self {
            before: norm(names.before)?,
            after: names.after.map(norm).transpose()?,
        })
    }

    /// What the part is given.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn enter(&self, kernels: &dyn Kernels, stream: &Tensor) -> Result<Tensor, TchError> {
        self.before.forward(kernels, stream)
    }

    /// Adds to the stream what the part gave.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn leave(
        &self,
        kernels: &dyn Kernels,
        stream: &mut Tensor,
        given: &Tensor,
    ) -> Result<(), TchError> {
        let _ = match &self.after {
            None => stream.f_add_(given)?,
            Some(norm) => stream.f_add_(&norm.forward(kernels, given)?)?,
        };
        Ok(())
    }
}
