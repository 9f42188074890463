//! From a checkpoint's weights to what parts of layers multiply with. Owns: merging products, turning matrices, and the
//! line that is said when something does not fit.

use tch::{TchError, Tensor};

use crate::kernels::linear::Linear;
use crate::kernels::native;
use crate::model::Error;
use crate::model::torch::architecture::Architecture;
use crate::model::torch::weights::{Placement, Weights};

/// Where weights come from, and what they are for.
#[derive(Debug, Clone, Copy)]
pub struct Loader<'a> {
    /// The checkpoint.
    pub weights: &'a Weights,
    /// Where they go.
    pub placement: Placement,
    /// Whose they are.
    pub architecture: &'a Architecture,
}

/// Products with equal inputs that are computed as one.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// Their names.
    pub names: &'a [String],
    /// Outputs of each; where there is one name for all, their sum is taken.
    pub outputs: &'a [i64],
    /// Inputs.
    pub inputs: i64,
    /// Whether there are biases.
    pub bias: bool,
}

impl Loader<'_> {
    /// The name of a part of a layer.
    pub fn name(&self, layer: usize, part: &str) -> String {
        format!("{}.{layer}.{part}", self.architecture.names.layers)
    }

    /// Several names of a layer.
    pub fn names(&self, layer: usize, parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| self.name(layer, part)).collect()
    }

    /// Products of a layer as one.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn linear(&self, product: &Product<'_>) -> Result<Linear, Error> {
        let Product {
            names,
            outputs,
            inputs,
            bias,
        } = *product;
        let whole = [outputs.iter().sum()];
        let outputs = if names.len() == 1 { &whole } else { outputs };
        let mut weights = Vec::new();
        let mut biases = Vec::new();
        for (name, outputs) in names.iter().zip(outputs) {
            weights.push(self.matrix(&format!("{name}.weight"), *outputs, inputs)?);
            if bias {
                biases.push(self.vector(&format!("{name}.bias"), *outputs)?);
            }
        }
        let kernels = self.placement.kernels;
        let merged = || {
            let bias = if bias {
                Some(Tensor::f_cat(&biases, 0)?)
            } else {
                None
            };
            kernels.linear(&weights, bias)
        };
        self.native(&names[0], merged())
    }

    /// The products around a layer's attention: queries, keys and values as one, and what follows.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn attention(&self, layer: usize) -> Result<(Linear, Linear), Error> {
        let a = self.architecture;
        let (queries, keys) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let qkv = self.linear(&Product {
            names: &self.names(layer, a.names.qkv),
            outputs: &[queries, keys, keys],
            inputs: a.hidden,
            bias: a.biases.qkv,
        })?;
        let out = self.linear(&Product {
            names: &self.names(layer, &[a.names.out]),
            outputs: &[a.hidden],
            inputs: queries,
            bias: a.biases.out,
        })?;
        Ok((qkv, out))
    }

    /// `[outputs, inputs]`, however it is stored.
    fn matrix(&self, name: &str, outputs: i64, inputs: i64) -> Result<Tensor, Error> {
        if self.architecture.names.transposed {
            let stored = self.weights.get(name, &[inputs, outputs], self.placement)?;
            self.native(name, stored.f_transpose(0, 1))
        } else {
            self.weights.get(name, &[outputs, inputs], self.placement)
        }
    }

    /// A table of vectors, a view of the file where it can be.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub fn table(&self, name: &str, rows: i64) -> Result<Tensor, Error> {
        let shape = [rows, self.architecture.hidden];
        self.weights
            .get(&format!("{name}.weight"), &shape, self.placement)
    }

    /// A small weight, copied, so that the file's pages can go.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub fn vector(&self, name: &str, len: i64) -> Result<Tensor, Error> {
        let view = self.weights.get(name, &[len], self.placement)?;
        self.native(name, view.f_detach_copy())
    }

    /// Names the weight at which libtorch gave up.
    ///
    /// # Errors
    /// When it did.
    pub fn native<T>(&self, name: &str, result: Result<T, TchError>) -> Result<T, Error> {
        result.map_err(|error| Error::Field {
            file: self.weights.main_file().to_owned(),
            field: name.to_owned(),
            reason: format!("cannot be loaded: {}", native::reason(error)),
        })
    }
}
