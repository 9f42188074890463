//! Which kernels a model runs on. Owns: that weights, pages and operations are all of one kind.

use std::num::NonZeroUsize;

use lps_engine_kernels::level::{Available, Level};
use lps_engine_kernels::pages as own;
use tch::{Kind, TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::cuda::Cuda;
use crate::kernels::cuda::library::Library;
use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, PoolShape, TensorPages};
use crate::kernels::processor::Processor;
use crate::kernels::reference::Reference;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Libtorch's operators.
    Operators,
    /// Our own on CUDA, beside libtorch's operators.
    Cuda(Library),
    /// Our own, on a processor.
    Own {
        /// With which instructions.
        level: Available,
        /// Whether weights are rounded to 8 bits.
        bytes: bool,
        /// On how many threads.
        threads: NonZeroUsize,
    },
}

impl Choice {
    /// Our own, on a given level or on the best that the processor has.
    ///
    /// # Errors
    /// When the processor has not that level.
    pub fn own(level: Option<Level>, bytes: bool, threads: NonZeroUsize) -> Result<Self, String> {
        let level = match level {
            Some(level) => Available::of(level)?,
            None => Available::best(),
        };
        Ok(Self::Own {
            level,
            bytes,
            threads,
        })
    }

    /// The operations.
    pub fn kernels(self) -> Box<dyn Kernels> {
        match self {
            Self::Operators => Box::new(Reference),
            Self::Cuda(library) => Box::new(Cuda::new(library)),
            Self::Own { level, threads, .. } => Box::new(Processor::new(level, threads)),
        }
    }

    /// A weight `[out, in]` to multiply with, in parts that follow each other, and its bias `[out]`.
    ///
    /// # Errors
    /// What libtorch says, or that there is not that much memory.
    pub fn linear(self, parts: &[Tensor], bias: Option<Tensor>) -> Result<Linear, TchError> {
        match self {
            Self::Operators | Self::Cuda(_) => Linear::for_operators(parts, bias),
            Self::Own { bytes, threads, .. } => Linear::for_own(parts, bias, (bytes, threads)),
        }
    }

    /// Bytes of one weight, in a model of `kind`.
    pub fn weight_bytes(self, kind: Kind) -> u64 {
        match self {
            Self::Own { bytes: true, .. } => 1,
            Self::Own { .. } | Self::Operators | Self::Cuda(_) => kind.elt_size_in_bytes() as u64,
        }
    }

    /// Keys and values of one layer.
    ///
    /// # Errors
    /// When there is not that much memory, or a page has not the tokens that the kernels want.
    pub fn pages(self, shape: &PoolShape) -> Result<LayerPages, TchError> {
        match self {
            Self::Operators | Self::Cuda(_) => Ok(LayerPages::Tensors(TensorPages::new(shape)?)),
            Self::Own { .. } if shape.block_tokens != own::PAGE_TOKENS as i64 => {
                Err(TchError::Shape(format!(
                    "pages of {} tokens, where the kernels want {}",
                    shape.block_tokens,
                    own::PAGE_TOKENS
                )))
            }
            Self::Own { .. } => Ok(LayerPages::Own(own::Pool::new(shape.own())?)),
        }
    }

    /// Bytes of one page in one layer, keys and values.
    pub fn block_bytes(self, shape: &PoolShape) -> u64 {
        match self {
            Self::Operators | Self::Cuda(_) => {
                let numbers = 2 * shape.block_tokens * shape.kv_heads * shape.head_dim;
                numbers.unsigned_abs() * shape.kind.elt_size_in_bytes() as u64
            }
            Self::Own { .. } => shape.own().page_bytes() as u64,
        }
    }

    /// The type of norms' weights and of angles, in a model whose activations are of `kind`: our own kernels compute what
    /// is between products in 32 bits.
    pub fn small_kind(self, kind: Kind) -> Kind {
        match self {
            Self::Operators | Self::Cuda(_) => kind,
            Self::Own { .. } => Kind::Float,
        }
    }
}
