//! Angles of the rotary position embedding (Su et al., arXiv 2104.09864). Owns: the tables, rounded as Hugging Face
//! transformers rounds them, so that 32-bit texts are equal.

use tch::{Device, Kind, TchError, Tensor};

/// How angles are stretched beyond the context of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies are divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// As Llama 3.1 does it.
    Llama3(Llama3),
}

/// Low frequencies are divided, high ones stay, those between are mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3 {
    /// By how much low frequencies are divided.
    pub factor: f64,
    /// Wavelengths above `original_context / low_freq_factor` count as low frequencies.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_context / high_freq_factor` count as high ones.
    pub high_freq_factor: f64,
    /// Context of training, in tokens.
    pub original_context: f64,
}

impl RopeScaling {
    fn apply(&self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / *factor as f32,
            Self::Llama3(llama3) => llama3.apply(frequency),
        }
    }
}

impl Llama3 {
    fn apply(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        let low = (self.original_context / self.low_freq_factor) as f32;
        let high = (self.original_context / self.high_freq_factor) as f32;
        let factor = self.factor as f32;
        if wavelength < high {
            frequency
        } else if wavelength > low {
            frequency / factor
        } else {
            let smooth = (self.original_context as f32 / wavelength - self.low_freq_factor as f32)
                / (self.high_freq_factor - self.low_freq_factor) as f32;
            (1.0 - smooth) * (frequency / factor) + smooth * frequency
        }
    }
}

/// Cosines and sines of every position.
#[derive(Debug)]
pub struct RopeTables {
    cos: Tensor,
    sin: Tensor,
}

/// What the tables are for.
#[derive(Debug, Clone, Copy)]
pub struct RopeShape {
    /// Positions.
    pub positions: i64,
    /// Numbers of a head.
    pub head_dim: i64,
    /// Base of the angles.
    pub theta: f64,
    /// Their stretching.
    pub scaling: RopeScaling,
}

impl RopeTables {
    /// Computes them in 32 bits and keeps them as `kind`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(shape: &RopeShape, kind: Kind, device: Device) -> Result<Self, TchError> {
        let options = (Kind::Float, Device::Cpu);
        let exponents = Tensor::f_arange_start_step(0, shape.head_dim, 2, options)?
            .f_div_scalar(shape.head_dim as f64)?;
        let plain: Vec<f32> = Tensor::f_pow_scalar(shape.theta, &exponents)?
            .f_reciprocal()?
            .try_into()?;
        let scaled: Vec<f32> = plain.iter().map(|f| shape.scaling.apply(*f)).collect();
        let positions = Tensor::f_arange(shape.positions, options)?;
        let angles = positions.f_outer(&Tensor::f_from_slice(&scaled)?)?;
        let (cos, sin) = (angles.f_cos()?, angles.f_sin()?);
        let finish = |halves: [&Tensor; 2]| {
            Tensor::f_cat(&halves, -1)?
                .f_unsqueeze(1)?
                .f_to_kind(kind)?
                .f_to_device(device)
        };
        Ok(Self {
            cos: finish([&cos, &cos])?,
            sin: finish([&sin.f_neg()?, &sin])?,
        })
    }

    /// Those of the given positions, `[tokens, 1, head_dim]` each; the first half of the sines is negated.
    ///
    /// # Errors
    /// When a position is beyond the tables.
    pub fn at(&self, positions: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        Ok((
            self.cos.f_index_select(0, positions)?,
            self.sin.f_index_select(0, positions)?,
        ))
    }
}
