//! Weights of matrix products. Owns: their form, chosen once, when they are loaded.

use lps_engine_kernels::weight::Weight as OwnWeight;
use std::num::NonZeroUsize;

use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::native::PackedWeight;
use crate::kernels::processor::numbers;

/// What multiplies: `x · weightᵀ + bias`.
#[derive(Debug)]
pub struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Option<Tensor>,
    /// Whether results are of 32 bits, where the kernels can give them.
    pub(super) wide: bool,
}

#[derive(Debug)]
pub(super) enum Weight {
    /// In the layout of our own kernels; the bias is of 32 bits.
    Own(OwnWeight),
    /// In oneDNN's.
    Packed(PackedWeight),
    /// As it is stored.
    Plain(Tensor),
}

impl Linear {
    /// For libtorch's operators. Takes `[out, in]`, in parts that follow each other, and, if there is one, the bias `[out]`.
    ///
    /// On a processor the weight is packed for oneDNN: 1.5 to 7 times the speed of the plain product for few rows.
    /// Where oneDNN has no kernel (bfloat16 on old processors) the plain product is used.
    ///
    /// # Errors
    /// What libtorch says.
    pub(super) fn for_operators(parts: &[Tensor], bias: Option<Tensor>) -> Result<Self, TchError> {
        let weight = match parts {
            [weight] => weight.shallow_clone(),
            several => Tensor::f_cat(several, 0)?,
        };
        let packed = if weight.device() == Device::Cpu {
            PackedWeight::new(&weight.f_contiguous()?)
                .inspect_err(|error| tracing::debug!(%error, "weight stays unpacked"))
                .ok()
        } else {
            None
        };
        let weight = match packed {
            Some(packed) => Weight::Packed(packed),
            None => Weight::Plain(weight.f_detach_copy()?),
        };
        Ok(Self {
            weight,
            bias,
            wide: false,
        })
    }

    /// For our own kernels; rounded to 8 bits when `bytes` says so, on so many threads.
    ///
    /// # Errors
    /// When there is not that much memory, or the weight is of a type that our own kernels have not.
    pub(super) fn for_own(
        parts: &[Tensor],
        bias: Option<Tensor>,
        (bytes, threads): (bool, NonZeroUsize),
    ) -> Result<Self, TchError> {
        let (mut outputs, mut inputs) = (0, 0);
        let mut whole = Vec::with_capacity(parts.len());
        for part in parts {
            let (rows, width) = part.size2()?;
            outputs += rows.unsigned_abs() as usize;
            inputs = width.unsigned_abs() as usize;
            whole.push(part.f_contiguous()?);
        }
        let rows = whole.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let pack = if bytes {
            OwnWeight::pack_bytes
        } else {
            OwnWeight::pack
        };
        Ok(Self {
            weight: Weight::Own(pack(&rows, [outputs, inputs], threads)?),
            bias: bias.map(|bias| bias.f_to_kind(Kind::Float)).transpose()?,
            wide: false,
        })
    }

    /// The same with results of 32 bits, where the kernels can give them: sums are of 32 bits, and what reads them need
    /// not see them rounded.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// `x` is `[rows, in]`, the product `[rows, out]`.
    pub(super) fn in_operators(&self, x: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Packed(weight) => weight.multiply(x, self.bias.as_ref()),
            Weight::Plain(weight) => x.f_linear(weight, self.bias.as_ref()),
            Weight::Own(_) => Err(TchError::Kind("this weight is of other kernels".to_owned())),
        }
    }
}
