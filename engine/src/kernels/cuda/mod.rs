//! Our own kernels on CUDA: attention of single tokens over the pages. All else is libtorch's operators. Owns: which is
//! which.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Steps to try the kernels on.
pub mod cases;
/// Attention of single tokens over the pages.
pub mod paged;
/// The library that has it all, loaded at run time.
pub mod library;

#[cfg(test)]
mod tests;

use tch::{TchError, Tensor};

use crate::kernels::cuda::library::Library;
use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, Reads};
use crate::kernels::reference::{self, Reference};
use crate::kernels::{Activation, Heads, Kernels, Scores};

/// See the module.
#[derive(Debug)]
pub struct Cuda {
    library: Library,
}

impl Cuda {
    /// Runs with the kernels of `library`.
    pub fn new(library: Library) -> Self {
        Self { library }
    }
}

impl Kernels for Cuda {
    fn multiply(&self, x: &Tensor, linear: &Linear) -> Result<Tensor, TchError> {
        Reference.multiply(x, linear)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
        Reference.rms_norm(x, weight, epsilon)
    }

    fn activate(
        &self,
        x: &Tensor,
        activation: Activation,
        gated: bool,
    ) -> Result<Tensor, TchError> {
        Reference.activate(x, activation, gated)
    }

    fn heads(&self, pages: &mut LayerPages, heads: &Heads<'_>) -> Result<Tensor, TchError> {
        Reference.heads(pages, heads)
    }

    fn attend(
        &self,
        query: &Tensor,
        pages: &LayerPages,
        reads: &Reads,
        scores: Scores,
    ) -> Result<Tensor, TchError> {
        let (tokens, heads, head_dim) = query.size3()?;
        if !paged::covers(query.kind(), head_dim) {
            return Reference.attend(query, pages, reads, scores);
        }
        let pages = reference::tensors(pages)?;
        let options = (query.kind(), query.device());
        let mut out = Tensor::f_empty([tokens, heads * head_dim], options)?;
        paged::decode(self.library, (query, pages), (reads, scores), &mut out)?;
        reference::attend_prefills(query, pages, (reads, scores), &mut out)?;
        Ok(out)
    }
}
