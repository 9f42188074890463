//! The layer between attentions: `down(activation(gate) * up)`, or without the gate. Owns: its weights.

use tch::{TchError, Tensor};

use crate::kernels::linear::Linear;
use crate::kernels::{Activation, Kernels};
use crate::model::Error;
use crate::model::torch::layers::loader::{Loader, Product};

/// See the module.
#[derive(Debug)]
pub struct Mlp {
    /// Gate and up in one product, or up alone.
    up: Linear,
    down: Linear,
    activation: Activation,
    gated: bool,
}

impl Mlp {
    /// Loads that of a layer.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn load(loader: &Loader<'_>, layer: usize) -> Result<Self, Error> {
        let a = loader.architecture;
        let outputs = [a.intermediate, a.intermediate];
        let up = Product {
            names: &loader.names(layer, a.names.up),
            outputs: if a.gated { &outputs } else { &outputs[..1] },
            inputs: a.hidden,
            bias: a.biases.mlp,
        };
        let down = Product {
            names: &loader.names(layer, &[a.names.down]),
            outputs: &[a.hidden],
            inputs: a.intermediate,
            bias: a.biases.mlp,
        };
        Ok(Self {
            up: loader.linear(&up)?,
            down: loader.linear(&down)?,
            activation: a.activation,
            gated: a.gated,
        })
    }

    /// Runs it on `[tokens, hidden]`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(&self, kernels: &dyn Kernels, x: &Tensor) -> Result<Tensor, TchError> {
        let up = kernels.multiply(x, &self.up)?;
        let between = kernels.activate(&up, self.activation, self.gated)?;
        kernels.multiply(&between, &self.down)
    }
}
