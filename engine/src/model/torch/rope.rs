//! Angles of the rotary position embedding (Su et al., arXiv 2104.09864). Owns: the tables, rounded as Hugging Face
//! transformers rounds them, so that 32-bit texts are equal.

use std::f64::consts::PI;

use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::Angles;
use crate::model::memory;

/// What the tables are for.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeShape {
    /// Numbers of a head that are turned, the first ones; even.
    pub rotated: i64,
    /// Base of the angles.
    pub theta: f64,
    /// Their stretching.
    pub scaling: RopeScaling,
}

/// How angles are stretched beyond the context of training.
#[derive(Debug, Clone, PartialEq)]
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
    /// As Qwen2.5 does it for long contexts.
    Yarn(Yarn),
    /// As Phi-3 does it.
    Long(LongRope),
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

/// YaRN (arXiv 2309.00071): as [`Llama3`], mixed along the places in a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// By how much low frequencies are divided.
    pub factor: f64,
    /// Cosines and sines are multiplied with this.
    pub attention_factor: f64,
    /// What turns more often than this within the context of training is a high frequency.
    pub beta_fast: f64,
    /// What turns less often is a low one.
    pub beta_slow: f64,
    /// Context of training, in tokens.
    pub original_context: f64,
    /// Whether the two ends of the mixture are whole places.
    pub truncate: bool,
}

/// LongRoPE (arXiv 2402.13753): a factor for each frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// Within the context of training.
    pub short: Vec<f64>,
    /// Beyond it.
    pub long: Vec<f64>,
    /// Context of training, in tokens.
    pub original_context: f64,
    /// Cosines and sines are multiplied with this.
    pub attention_factor: f64,
}

impl RopeShape {
    /// Whether the memory suffices for the angles of so many positions.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, positions: i64) -> Result<(), memory::Error> {
        memory::check_angles(positions.unsigned_abs(), self.rotated.unsigned_abs())
    }

    /// Frequencies for a context of so many positions, highest first, in 32 bits as transformers computes them.
    fn frequencies(&self, positions: i64) -> Result<Vec<f32>, TchError> {
        let options = (Kind::Float, Device::Cpu);
        let exponents = Tensor::f_arange_start_step(0, self.rotated, 2, options)?
            .f_div_scalar(self.rotated as f64)?;
        let powers: Vec<f32> = Tensor::f_pow_scalar(self.theta, &exponents)?.try_into()?;
        let plain = powers.iter().map(|power| 1.0 / power);
        Ok(match &self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / *factor as f32).collect(),
            RopeScaling::Llama3(llama3) => plain.map(|f| llama3.stretch(f)).collect(),
            RopeScaling::Yarn(yarn) => yarn.frequencies(&powers, self.theta),
            RopeScaling::Long(long) => long.frequencies(&powers, positions),
        })
    }

    fn attention_factor(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn(yarn) => yarn.attention_factor,
            RopeScaling::Long(long) => long.attention_factor,
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3(_) => 1.0,
        }
    }
}

impl Llama3 {
    fn stretch(&self, frequency: f32) -> f32 {
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

impl Yarn {
    fn frequencies(&self, powers: &[f32], theta: f64) -> Vec<f32> {
        let rotated = 2.0 * powers.len() as f64;
        // The place in a head whose frequency turns so often within the context of training.
        let place = |turns: f64| {
            rotated * (self.original_context / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln())
        };
        let (mut first, mut last) = (place(self.beta_fast), place(self.beta_slow));
        if self.truncate {
            (first, last) = (first.floor(), last.ceil());
        }
        (first, last) = (first.max(0.0), last.min(rotated - 1.0));
        if first == last {
            last += 0.001;
        }
        let (start, width) = (first as f32, (last - first) as f32);
        let mix = |(place, power): (usize, &f32)| {
            let kept = 1.0 - ((place as f32 - start) / width).clamp(0.0, 1.0);
            let divided = 1.0 / (self.factor as f32 * power);
            divided * (1.0 - kept) + (1.0 / power) * kept
        };
        powers.iter().enumerate().map(mix).collect()
    }
}

impl LongRope {
    /// Transformers changes factors when a text outgrows the context of training, and computes it anew from its first
    /// token. Here a page of keys serves every text that begins alike, so the longest text that is served decides, for
    /// all of them.
    fn frequencies(&self, powers: &[f32], positions: i64) -> Vec<f32> {
        let factors = if positions as f64 > self.original_context {
            tracing::info!(
                positions,
                original_context = self.original_context,
                "all texts take the long factors of longrope; a lower --max-model-len takes the short ones"
            );
            &self.long
        } else {
            &self.short
        };
        let stretched = factors.iter().zip(powers);
        stretched
            .map(|(factor, power)| 1.0 / (*factor as f32 * power))
            .collect()
    }
}

/// Cosines and sines of every position.
#[derive(Debug)]
pub struct RopeTables {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTables {
    /// Computes them for so many positions in 32 bits and keeps them as `kind`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(
        shape: &RopeShape,
        positions: i64,
        kind: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let frequencies = Tensor::f_from_slice(&shape.frequencies(positions)?)?;
        let positions = Tensor::f_arange(positions, (Kind::Float, Device::Cpu))?;
        let angles = positions.f_outer(&frequencies)?;
        let factor = shape.attention_factor();
        let cos = angles.f_cos()?.f_mul_scalar(factor)?;
        let sin = angles.f_sin()?.f_mul_scalar(factor)?;
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

    /// Those of the given positions.
    ///
    /// # Errors
    /// When a position is beyond the tables.
    pub fn at(&self, positions: &Tensor) -> Result<Angles, TchError> {
        Ok(Angles {
            cos: self.cos.f_index_select(0, positions)?,
            sin: self.sin.f_index_select(0, positions)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling, positions: i64) -> Vec<f32> {
        let shape = RopeShape {
            rotated: 8,
            theta: 10_000.0,
            scaling,
        };
        shape.frequencies(positions).unwrap()
    }

    #[test]
    fn a_context_beyond_training_takes_the_long_factors() {
        let long = LongRope {
            short: vec![1.0; 4],
            long: vec![2.0; 4],
            original_context: 64.0,
            attention_factor: 1.5,
        };
        let of = |positions| frequencies(RopeScaling::Long(long.clone()), positions);
        let plain = frequencies(RopeScaling::None, 64);
        assert_eq!(of(64), plain);
        let halved: Vec<f32> = plain.iter().map(|frequency| frequency / 2.0).collect();
        assert_eq!(of(65), halved);
    }

    #[test]
    fn yarn_keeps_high_frequencies_and_divides_low_ones() {
        let yarn = RopeScaling::Yarn(Yarn {
            factor: 4.0,
            attention_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 4096.0,
            truncate: true,
        });
        let plain = frequencies(RopeScaling::None, 64);
        let found = frequencies(yarn, 64);
        assert_eq!(found[0], plain[0]);
        assert_eq!(found[3], plain[3] / 4.0);
        assert!(
            found[2] < plain[2] && found[2] > plain[2] / 4.0,
            "{found:?}"
        );
    }
}
