//! Matrix products with weights. Owns: choosing the fastest exact way the device has, once, when a weight is loaded.

use tch::{Device, TchError, Tensor};

use crate::kernels::native::PackedWeight;

/// `x · weightᵀ + bias`.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Weight {
    Packed(PackedWeight),
    Plain(Tensor),
}

impl Linear {
    /// Takes `[out, in]` and, if there is one, the bias `[out]`.
    ///
    /// On a processor the weight is packed for oneDNN: 1.5 to 7 times the speed of the plain product for few rows.
    /// Where oneDNN has no kernel (bfloat16 on old processors) the plain product is used.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self, TchError> {
        if weight.device() == Device::Cpu {
            let weight = weight.f_contiguous()?;
            match PackedWeight::new(&weight) {
                Ok(packed) => {
                    return Ok(Self {
                        weight: Weight::Packed(packed),
                        bias,
                    });
                }
                Err(error) => tracing::debug!(%error, "weight stays unpacked"),
            }
        }
        Ok(Self {
            weight: Weight::Plain(weight.f_detach_copy()?),
            bias,
        })
    }

    /// `x` is `[rows, in]`, the product `[rows, out]`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Packed(weight) => weight.multiply(x, self.bias.as_ref()),
            Weight::Plain(weight) => x.f_linear(weight, self.bias.as_ref()),
        }
    }
}
